"""Exercise 09, soft prompts: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with Hugging
Face peft, transformers and torch.
"""

from ...tasks import Exercise
from .asked import decoder_sheet
from .attention import ATTEND
from .cache import AS_CACHE
from .diagnosis import DIAGNOSE
from .nearest import NEAREST
from .prompt import WITH_PROMPT
from .reading import EXPLAIN
from .sizes import SHEET

EXERCISE = Exercise(
    number="09",
    notebook="09_soft_prompts",
    tasks=[WITH_PROMPT, AS_CACHE, ATTEND, SHEET, DIAGNOSE, NEAREST],
    by_hand=[EXPLAIN],
    sheet=decoder_sheet,
)
