"""Exercise 08, (IA)^3 and selective methods: what is asked, what is right, what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with Hugging
Face peft, transformers and torch.
"""

from ...tasks import Exercise
from .asked import model_sheet
from .counting import SHEET
from .diagnosis import DIAGNOSE
from .gates import EXPECTED, GATE
from .pruning import PRUNE
from .reading import EXPLAIN
from .scaling import MERGE, SCALE

EXERCISE = Exercise(
    number="08",
    notebook="08_ia3_and_selective_methods",
    tasks=[SCALE, MERGE, GATE, EXPECTED, SHEET, DIAGNOSE, PRUNE],
    by_hand=[EXPLAIN],
    sheet=model_sheet,
)
