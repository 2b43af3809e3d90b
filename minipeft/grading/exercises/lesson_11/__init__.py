"""Exercise 11, QLoRA on a GPU: what is asked, what is right, and what people get wrong.

The references are plain numpy and independent of the framework; tests compare them with PyTorch's
autograd, bitsandbytes and Hugging Face peft.
"""

from ...tasks import Exercise
from .asked import small_llama
from .counting import COUNT, SHEET
from .diagnosis import DIAGNOSE
from .layer import BACKWARD, FORWARD
from .paging import PAGES
from .reading import CARD, READ
from .start import START

EXERCISE = Exercise(
    number="11",
    notebook="11_qlora_on_a_gpu",
    tasks=[FORWARD, BACKWARD, COUNT, SHEET, PAGES, START, DIAGNOSE],
    by_hand=[READ, CARD],
    sheet=small_llama,
)
