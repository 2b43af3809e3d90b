"""Task 6b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_costs",
    title="6b. Read the comparison",
    points=2,
    rubric=[
        (0.5, "Reads learning and forgetting together, from the same rows of the table."),
        (0.5, "Says that fewer trained numbers do not mean less forgetting: here rather more."),
        (0.5, "Names a cost that the table does not show (disk, memory or FLOPs), with its order."),
        (0.5, "Names a limit: one small base, one easy task, 120 steps, three seeds."),
    ],
    levels=[
        (
            2,
            "Full fine-tuning comes nearest to the chef's floor and of the five it is also the one "
            "that loses least of its own world, though 1.3 nats is a lot. The norms train 1,728 "
            "numbers and lose 11 nats, so few trained numbers are no protection here. The table "
            "doesn't show memory: full holds 16 bytes for each of 1.8 million numbers in fp32, the "
            "norms hardly more than the weights. It is one small model, one task, 120 steps and "
            "three seeds, so I would not carry the order over to a 7B model.",
        ),
        (
            1,
            "Full fine-tuning learns best and also forgets least. The cheaper methods learn less "
            "and forget more. But they need less memory because they have fewer gradients.",
        ),
        (
            0,
            "Full fine-tuning is the best method because its loss is lowest. The norms are worst "
            "because they have the fewest parameters.",
        ),
    ],
)
