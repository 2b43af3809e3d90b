"""Task 5b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_bandit",
    title="5b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "By count both tasks fit: 11 and 15 bits, 16 numbers, and as many episodes."),
        (0.5, "Rank 1 has one factor a prompt: only two actions can ever be the likeliest."),
        (0.5, "So bits bound what can be learned; which rank is enough, the task decides."),
        (0.5, "A limit: planted, one matrix, 200 steps; rank 2 could hold it and does not yet."),
    ],
    levels=[
        (
            2,
            "Counted in bits both tasks are small, 11 and 15 bits, and 16 numbers could hold "
            "either; the episodes give the same 12,800 bits at most. But with rank 1 the logits of "
            "a prompt are one number times the same column B, so only the actions with the largest "
            "and the smallest entry of B can be likeliest. That is enough for two answers and "
            "never for eight, at any rate. So few bits don't show that rank 1 is enough: they "
            "bound what can be learned, and the shape of the task decides the rank. This was one "
            "planted matrix; a model with rank 1 in each of its matrices can do more.",
        ),
        (
            1,
            "Rank 1 is enough for the task with two answers but not for that with eight, because "
            "those logits have a higher rank. So reinforcement learning does not always get along "
            "with rank 1.",
        ),
        (
            0,
            "Rank 1 has fewer numbers, so it learns less, and with a better rate it would catch "
            "up. An episode gives one bit, so rank 1 is always enough for reinforcement learning.",
        ),
    ],
)
