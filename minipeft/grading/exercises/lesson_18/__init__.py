"""Exercise 18, adapter golf: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with
Hugging Face peft, the course's own scoreboard, scipy and exhaustive search.
"""

from ...tasks import Exercise
from .asked import model_sheet
from .counting import SHEET
from .diagnosis import DIAGNOSE
from .fronts import PARETO, RANKING
from .playing import PLAY
from .reading import EXPLAIN

EXERCISE = Exercise(
    number="18",
    notebook="18_capstone_adapter_golf",
    tasks=[SHEET, PARETO, RANKING, DIAGNOSE, PLAY],
    by_hand=[EXPLAIN],
    sheet=model_sheet,
)
