"""Task 5, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_strategy",
    title="5. Explain your strategy",
    points=3,
    rubric=[
        (1, "One rank for all spends numbers on layers with little to learn."),
        (1, "A direction is worth its squared singular value for each number that it costs."),
        (0.5, "On the base the update is not known beforehand: it must be found by training."),
        (0.5, "Something that the count does not show: forgetting, training, FLOPs, luck."),
    ],
    levels=[
        (
            3,
            "I take directions one at a time, always the one whose squared singular value divided "
            "by d_in + d_out is largest, until the bound is reached. The same rank everywhere pays "
            "for directions in layers that hardly change. On the real base I do not know the "
            "update, so I would train a larger adapter first, look at its spectrum by layer and "
            "cut there; and I would look at the loss on the old world, which the count ignores.",
        ),
        (
            1.5,
            "Some layers need more rank than others, and big layers are more expensive, so the "
            "ranks should differ. You can see it in the table.",
        ),
        (
            0,
            "Rank 1 everywhere is always best because it has the fewest parameters.",
        ),
    ],
)
