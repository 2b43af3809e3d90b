"""Exercise 12, merging: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with Hugging
Face peft, bitsandbytes and torch.
"""

from ...tasks import Exercise
from .asked import layer_sheet
from .diagnosis import DIAGNOSE
from .erasing import ERASED
from .lowrank import NEEDED, TO_LORA
from .merges import MERGE, MERGE_DORA
from .reading import EXPLAIN
from .sizes import SHEET

EXERCISE = Exercise(
    number="12",
    notebook="12_merging",
    tasks=[MERGE, MERGE_DORA, TO_LORA, NEEDED, SHEET, DIAGNOSE, ERASED],
    by_hand=[EXPLAIN],
    sheet=layer_sheet,
)
