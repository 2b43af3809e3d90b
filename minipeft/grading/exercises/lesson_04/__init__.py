"""Exercise 04, counting parameters: what is asked, what is right, and what people get wrong.

The references are plain arithmetic, independent of the framework; tests compare them with
transformers and Hugging Face peft.
"""

from ...tasks import Exercise
from .asked import decoder
from .budget import BUDGET
from .diagnosis import DIAGNOSE
from .loaded import LOADED
from .methods import AT_MATRICES, IN_BLOCKS
from .model import MODEL
from .reading import EXPLAIN
from .sheet import SHEET

EXERCISE = Exercise(
    number="04",
    notebook="04_counting_parameters",
    tasks=[MODEL, AT_MATRICES, IN_BLOCKS, SHEET, LOADED, DIAGNOSE, BUDGET],
    by_hand=[EXPLAIN],
    sheet=decoder,
    preload=("numpy",),
)
