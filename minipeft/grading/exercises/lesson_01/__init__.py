"""Exercise 01, what full fine-tuning costs: what is asked, what is right, what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with torch's own
tensors, torch's counter of FLOPs, and transformers' collator.
"""

from ...tasks import Exercise
from .answers import ANSWERS
from .asked import company
from .comparison import COMPARE
from .diagnosis import DIAGNOSE
from .flops import FLOPS
from .memory import BYTES, SHEET
from .reading import EXPLAIN

EXERCISE = Exercise(
    number="01",
    notebook="01_what_does_full_fine_tuning_cost",
    tasks=[BYTES, SHEET, ANSWERS, FLOPS, DIAGNOSE, COMPARE],
    by_hand=[EXPLAIN],
    sheet=company,
)
