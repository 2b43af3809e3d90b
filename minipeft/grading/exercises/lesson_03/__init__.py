"""Exercise 03, LoRA from scratch: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with Hugging
Face peft.
"""

from ...tasks import Exercise
from .asked import architecture
from .counting import COUNT, SHEET
from .diagnosis import DIAGNOSE
from .experiment import EXPERIMENT
from .layer import FORWARD, MERGE, START
from .reading import EXPLAIN
from .targets import TARGETS

EXERCISE = Exercise(
    number="03",
    notebook="03_lora_from_scratch",
    tasks=[FORWARD, START, MERGE, COUNT, SHEET, TARGETS, DIAGNOSE, EXPERIMENT],
    by_hand=[EXPLAIN],
    sheet=architecture,
)
