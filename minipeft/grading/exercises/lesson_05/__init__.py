"""Exercise 05, memory budgets: what is asked, what is right, and what people get wrong.

The references are plain arithmetic, independent of the framework; tests compare them with what
torch's autograd keeps, with bitsandbytes and with torch's optimizers.
"""

from ...tasks import Exercise
from .asked import numbers_of_a_model
from .checkpoints import SEGMENT
from .diagnosis import DIAGNOSE
from .kept import KEPT
from .reading import EXPLAIN
from .rows import FOUR_BITS, SHEET, STATES

EXERCISE = Exercise(
    number="05",
    notebook="05_memory_budgets",
    tasks=[STATES, FOUR_BITS, KEPT, SHEET, DIAGNOSE, SEGMENT],
    by_hand=[EXPLAIN],
    sheet=numbers_of_a_model,
)
