"""Task 6b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_blocks",
    title="6b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "A larger block has a larger absmax, so its levels lie further apart."),
        (0.5, "A small block pays for its constant: 32 bits shared by few weights."),
        (
            0.5,
            "What is divided by the absmax isn't normal with one fixed spread: it is narrower the "
            "larger the block, so levels made for one block size can't suit all.",
        ),
        (
            0.5,
            "Even use is not least error: from block 4 to 16 the entropy rises, and so does the "
            "error. Entropy counts codes, the error weighs distances.",
        ),
    ],
    levels=[
        (
            2,
            "The absmax of more normal numbers is larger, so dividing by it squeezes the rest "
            "towards zero: the outer levels are hardly used and the steps are wide where the "
            "weights are. Smaller blocks fix that but each one costs 32 bits, 8 bits a weight at "
            "block 4. NF4's quantiles assume one fixed spread of w/absmax, but the spread depends "
            "on the block, so it can't be optimal for all. And the codes are used most evenly at "
            "block 16, where the error is twice that of block 4, so even use isn't a small error.",
        ),
        (
            1,
            "Bigger blocks have a bigger maximum so there is more rounding error. Small blocks are "
            "better but need more memory for the absmax values.",
        ),
        (
            0,
            "Bigger blocks have more numbers, so more errors add up. NF4 is optimal for normal "
            "weights, so the block size should be as large as possible.",
        ),
    ],
)
