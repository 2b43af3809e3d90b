"""Task 5b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_averaging",
    title="5b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "The product of the means has cross terms: B1 meets A2, and so on."),
        (0.5, "From one start, A differs little at first, so the cross terms are nearly right."),
        (0.5, "The further the processes drift apart, the more the mean of factors is off."),
        (0.5, "Average gradients in every step, or stack the adapters (rank p r), and say why."),
    ],
    levels=[
        (
            2,
            "The mean of A times the mean of B holds B1 A2 and B2 A1 as well, a quarter of each "
            "product. As long as both processes have nearly the same A, because they started from "
            "one, these terms are nearly what the mean would have, and the error is small. The "
            "longer they train apart, the more A1 and A2 differ, and the error grows. I would "
            "average gradients in each step, which costs the adapter's bytes only, or stack both "
            "adapters into one of twice the rank, which is exact.",
        ),
        (
            1,
            "Averaging A and B is not the same as averaging BA, so there is an error, and it gets "
            "larger the longer they train on their own. One should average more often.",
        ),
        (
            0,
            "Averaging always loses half of what each process learned, so the loss must get worse.",
        ),
    ],
)
