"""Exercise 16, vision: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with
transformers' ViT, torch and scikit-learn.
"""

from ...tasks import Exercise
from .asked import vit_sheet
from .attending import ATTENTION
from .counting import COUNT, SHEET
from .diagnosis import DIAGNOSE
from .probing import TRAIN_HEAD
from .reading import EXPLAIN
from .tokens import CUT, EMBED

EXERCISE = Exercise(
    number="16",
    notebook="16_vision",
    tasks=[CUT, EMBED, ATTENTION, COUNT, SHEET, DIAGNOSE, TRAIN_HEAD],
    by_hand=[EXPLAIN],
    sheet=vit_sheet,
)
