"""Exercise 13, many adapters on one base: what is asked, what is right, what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with Hugging
Face peft and with torch.
"""

from ...tasks import Exercise
from .activated import ALORA
from .asked import model_sheet
from .diagnosis import DIAGNOSE
from .mixing import MIXED
from .reading import EXPLAIN
from .sizes import SHEET
from .weighing import CROSS, SUMMED

EXERCISE = Exercise(
    number="13",
    notebook="13_many_adapters_one_base",
    tasks=[MIXED, SUMMED, CROSS, SHEET, DIAGNOSE, ALORA],
    by_hand=[EXPLAIN],
    sheet=model_sheet,
)
