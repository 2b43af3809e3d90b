"""Task 4c, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_subspace",
    title="4c. Read the experiment",
    points=2,
    rubric=[
        (0.5, "Ten conditions ask for ten numbers; the other 990 directions change nothing."),
        (0.5, "Ten random directions meet a solution, fewer come nearer but never reach it."),
        (0.5, "The change has full rank as a matrix: few trained numbers are not low rank."),
        (0.5, "So d = 10 says nothing of LoRA's r: rank and trained numbers differ."),
    ],
    levels=[
        (
            2,
            "The loss asks for ten sums only, so 990 of the 1,000 directions are free. A random "
            "subspace of ten dimensions meets that set of solutions, one of nine or fewer misses "
            "it and stops at a loss above zero. P touches every weight, so the change has rank "
            "25, all that a 25 x 40 matrix can have. Ten trained numbers are therefore no matrix "
            "of low rank, and from d = 10 I can't tell which r a LoRA would need.",
        ),
        (
            1,
            "With ten numbers the loss gets to zero because there are ten conditions, and fewer "
            "numbers are not enough. So the problem has the intrinsic dimension ten.",
        ),
        (
            0,
            "The loss goes down with d because more numbers are always better. The change has "
            "rank ten, so LoRA with r = 10 would solve it.",
        ),
    ],
)
