"""Exercise 15, choosing a method: what is asked, what is right, and what people get wrong.

The references are plain Python and independent of the framework; tests compare them with Hugging
Face peft, the adapters library, bitsandbytes, torch and scipy.
"""

from ...tasks import Exercise
from .asked import shape_and_budget
from .budgets import SHEET
from .diagnosis import DIAGNOSE
from .errors import BEYOND, Z_SCORE
from .overlap import CONTENDERS
from .pareto import PARETO
from .reading import EXPLAIN
from .settings import COMPARE
from .tuning import REPORT

EXERCISE = Exercise(
    number="15",
    notebook="15_choosing_a_method",
    tasks=[SHEET, REPORT, CONTENDERS, Z_SCORE, BEYOND, DIAGNOSE, COMPARE, PARETO],
    by_hand=[EXPLAIN],
    sheet=shape_and_budget,
)
