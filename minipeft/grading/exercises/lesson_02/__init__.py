"""Exercise 02, low rank: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with torch,
scikit-learn and Hugging Face peft.
"""

from ...tasks import Exercise
from .asked import matrix_sheet
from .cutting import COPY, ERRORS
from .diagnosis import DIAGNOSE
from .reading import EXPLAIN
from .sizes import FACTORS, SHEET
from .strength import BUILD, STABLE
from .subspace import GRADIENT, TRAIN

EXERCISE = Exercise(
    number="02",
    notebook="02_how_low_is_low_rank",
    tasks=[COPY, ERRORS, FACTORS, SHEET, BUILD, STABLE, GRADIENT, TRAIN, DIAGNOSE],
    by_hand=[EXPLAIN],
    sheet=matrix_sheet,
)
