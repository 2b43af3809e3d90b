"""Task 5b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_erasing",
    title="5b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "The weights lie on levels already; a small update doesn't reach half a gap."),
        (0.5, "So they round back to where they were, and the share erased is near one."),
        (0.5, "A larger update crosses into other levels: the share falls towards zero."),
        (0.5, "Merge into 16 bits (onto the dequantized weights), or keep the adapter apart."),
    ],
    levels=[
        (
            2,
            "The base is already quantized, so every weight sits exactly on a level. A small "
            "update moves it by less than half the distance to the next level, and rounding puts "
            "it back: nearly all of the update is erased. When the update gets as large as the "
            "gaps, most weights land on another level and the share goes to about zero, with "
            "noise on top. I would merge into the dequantized weights in bf16 or not merge.",
        ),
        (
            1,
            "Four bits have few levels, so small changes get rounded away and large ones don't. "
            "The share erased goes down with the size.",
        ),
        (
            0,
            "Quantization loses about 10% of every weight, so 10% of the adapter is lost as well, "
            "whatever its size.",
        ),
    ],
)
