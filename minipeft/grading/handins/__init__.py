"""What was handed in, by whom: any download of a learning platform, or a plain folder."""

from .collected import Class, HandIn, find_handins
from .recognised import recognised
from .roster import Roster, Student, read_roster

__all__ = [
    "Class",
    "HandIn",
    "Roster",
    "Student",
    "find_handins",
    "read_roster",
    "recognised",
]
