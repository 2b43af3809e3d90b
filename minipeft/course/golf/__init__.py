"""Adapter golf: reach a bound with as few trained numbers as you can, and hand in the file.

    hole = HOLES["chef"]                              # a task of the course, and a bound to reach
    card = hand_in(model, hole, "rank 1")             # what the FILE scores on a fresh base
    board = Scoreboard(); board.add(card)             # kept beside the notebooks
    print(board.table(hole))

Ranking, among the entries within the bound: fewest numbers in the file, then fewest bytes, then
fewest FLOPs, then the smallest loss. Every number that the file holds counts as trained.
"""

from .board import Scoreboard
from .card import Card, hand_in, in_fewer_bits, score
from .entry import Entry, Refused, read_entry
from .holes import HOLES, Hole
from .ranking import dominates, pareto, ranked, table
from .recorded import Recorded, recorded_entries

__all__ = [
    "HOLES",
    "Card",
    "Entry",
    "Hole",
    "Recorded",
    "Refused",
    "Scoreboard",
    "dominates",
    "hand_in",
    "in_fewer_bits",
    "pareto",
    "ranked",
    "read_entry",
    "recorded_entries",
    "score",
    "table",
]
