"""Exercise 17, beyond one machine: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with torch,
its FSDP2 and its gloo, and with the bytes that were recorded.
"""

from ...tasks import Exercise
from .asked import small_cluster
from .averaging import AVERAGE, WEIGH
from .diagnosis import DIAGNOSE
from .reading import EXPLAIN
from .sharding import REDUCE_SCATTER, ROWS
from .traffic import SHEET

EXERCISE = Exercise(
    number="17",
    notebook="17_beyond_one_machine",
    tasks=[WEIGH, ROWS, REDUCE_SCATTER, SHEET, DIAGNOSE, AVERAGE],
    by_hand=[EXPLAIN],
    sheet=small_cluster,
)
