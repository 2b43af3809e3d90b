"""Exercise 10, quantization and NF4: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with
bitsandbytes.
"""

from ...tasks import Exercise
from .asked import matrices
from .counting import BITS, SHEET
from .diagnosis import DIAGNOSE
from .integers import INTEGERS
from .levels import LEVELS
from .packing import PACK, RESTORE
from .reading import EXPLAIN
from .use import ENTROPY

EXERCISE = Exercise(
    number="10",
    notebook="10_quantization_and_nf4",
    tasks=[INTEGERS, LEVELS, PACK, RESTORE, BITS, SHEET, DIAGNOSE, ENTROPY],
    by_hand=[EXPLAIN],
    sheet=matrices,
)
