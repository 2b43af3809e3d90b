"""What of an answer is compared, where several exercises ask alike; also in the students' copy."""


class Unseen(int):
    """A number that no message prints: the sheet's answers are for the student to work out."""

    def __repr__(self) -> str:
        return "a number"


def unseen(value: object) -> object:
    """The student's numbers by name, in a form that is compared but not printed."""
    return {name: Unseen(n) if type(n) is int else n for name, n in dict(value).items()}


def kind_and_count(value: object) -> dict:
    """The count and its type: a number of parameters is whole."""
    return {"type": type(value).__name__, "count": value}
