"""Exercise 06, DoRA and relatives: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with Hugging
Face peft, torch's autograd and the package's counts.
"""

from ...tasks import Exercise
from .asked import decoder
from .core import FORWARD, GRADIENTS, MOVED
from .counting import SHEET
from .diagnosis import DIAGNOSE
from .oft import ROTATION, SAVED
from .reading import EXPLAIN

EXERCISE = Exercise(
    number="06",
    notebook="06_dora_and_relatives",
    tasks=[FORWARD, GRADIENTS, MOVED, SHEET, DIAGNOSE, ROTATION, SAVED],
    by_hand=[EXPLAIN],
    sheet=decoder,
    preload=("torch", "minipeft"),
)
