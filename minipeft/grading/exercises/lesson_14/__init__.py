"""Exercise 14, learning and forgetting: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with torch,
SciPy, scikit-learn and Hugging Face peft.
"""

from ...tasks import Exercise
from .asked import comparison_sheet
from .bandit import GRADIENT
from .comparing import AT_EQUAL, RATES
from .counting import SHEET
from .diagnosis import DIAGNOSE
from .intruding import INTRUDERS
from .reading import EXPLAIN
from .spread import CLEAR

EXERCISE = Exercise(
    number="14",
    notebook="14_learn_less_forget_less",
    tasks=[INTRUDERS, SHEET, RATES, AT_EQUAL, CLEAR, DIAGNOSE, GRADIENT],
    by_hand=[EXPLAIN],
    sheet=comparison_sheet,
)
