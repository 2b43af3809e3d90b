"""Task 5c, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_turning",
    title="5c. Read the experiment",
    points=2,
    rubric=[
        (0.5, "OFT keeps the length of every row, whatever it learns: R is orthogonal."),
        (0.5, "So it learns the turned target and stops above zero where rows got longer."),
        (0.5, "A length for each row (m) repairs just that; m alone can't turn a row."),
        (0.5, "Which is needed depends on the task: measure before choosing (or: as in the lesson, "
         "where directions carried the update)."),
    ],
    levels=[
        (
            2,
            "R is orthogonal, so OFT can turn a row but never make it longer. The turned target it "
            "learns to nearly nothing; on the stretched one its loss stays, because the lengths "
            "differ. With one number per row more, the lengths are learned as well, and lengths "
            "alone do nothing for the turned target. On the base of the lesson nearly all of the "
            "update was direction, so there OFT might do; I would try before I choose.",
        ),
        (
            1,
            "OFT is a rotation and can't stretch, that's why the second number is bad. With the "
            "magnitude it gets better.",
        ),
        (
            0,
            "OFT has too few parameters for the second target and needs a larger block.",
        ),
    ],
)  # fmt: skip
