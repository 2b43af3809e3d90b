"""Pictures of single lessons: a lesson says what they show, a file here how they are drawn."""

from .frontier import frontier
from .lesson_00 import area_squares, block_picture, word_bars
from .lesson_02 import cut_picture, spectrum_picture
from .lesson_03 import detour_picture, first_step_picture

__all__ = [
    "area_squares",
    "block_picture",
    "cut_picture",
    "detour_picture",
    "first_step_picture",
    "frontier",
    "spectrum_picture",
    "word_bars",
]
