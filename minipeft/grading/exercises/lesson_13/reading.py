"""Task 5b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_cache",
    title="5b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "Before the start nothing is adapted, so the first block gives the base's vectors."),
        (0.5, "A causal token sees no later one: the next blocks read the base's vectors, too."),
        (0.5, "Without the mask later tokens would leak back: all positions change after a block."),
        (0.5, "Choose aLoRA for a short step after a long history; it can't be merged."),
    ],
    levels=[
        (
            2,
            "Positions before the start are not adapted, so after the first block they hold what "
            "the base has there. Attention is causal: a position reads only itself and earlier "
            "ones, so the second block reads the base's vectors as well, and so on. If every token "
            "could see every other one, the adapted ones would change all after one block. I would "
            "use an aLoRA for a short check at the end of a long conversation, because the base's "
            "cache is kept; but no one matrix does what it does, so it can't be merged.",
        ),
        (
            1,
            "The mask is zero before the start, so the cache there stays. That saves time when "
            "the text is long. It can't be merged.",
        ),
        (
            0,
            "The adapter has a low rank, so it hardly changes the cache, and the base's cache can "
            "be used for all positions.",
        ),
    ],
)
