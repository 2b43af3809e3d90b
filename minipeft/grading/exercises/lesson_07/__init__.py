"""Exercise 07, adapters: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with
AdapterHub's `adapters`, peft and torch.
"""

from ...tasks import Exercise
from .asked import adapted_model
from .bend import BEND
from .counting import SHEET
from .diagnosis import DIAGNOSE
from .layer import ADAPTER, BLOCK
from .merging import MERGE
from .reading import EXPLAIN

EXERCISE = Exercise(
    number="07",
    notebook="07_adapters",
    tasks=[ADAPTER, BLOCK, MERGE, SHEET, DIAGNOSE, BEND],
    by_hand=[EXPLAIN],
    sheet=adapted_model,
)
