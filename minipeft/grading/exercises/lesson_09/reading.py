"""Task 2b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_prefix",
    title="2b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "The share of the prefix grows with its keys, and all of the text shrinks alike."),
        (0.5, "The ratio of two tokens of the text stays: it contains no prefix."),
        (0.5, "So in one layer a prefix can't make the text look elsewhere within itself."),
        (0.5, "What can: changed weights; or layers above, whose queries and keys have changed."),
    ],
    levels=[
        (
            2,
            "With larger keys the prefix gets more of the attention, up to nearly all, and what is "
            "left for the text shrinks. The ratio between two tokens of the text stays the same to "
            "the last digit, since both are divided by the same sum. So inside this layer the "
            "prefix can't turn the attention of the text to another of its tokens. Changing the "
            "weights of queries or keys (LoRA) can, and in deeper layers the hidden states that go "
            "in have changed.",
        ),
        (
            1,
            "The share goes up with the size of the prefix and the ratio stays constant, because "
            "the softmax divides all by the same sum.",
        ),
        (
            0,
            "A larger prefix changes the attention between all tokens, so it can learn any task if "
            "it is long enough.",
        ),
    ],
)
