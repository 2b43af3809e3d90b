"""Task 6b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_line",
    title="6b. Read a printed line",
    points=2,
    rubric=[
        (0.5, "887,042 is LoRA and the new head together; LoRA alone is 294,912, which is 0.3M."),
        (0.5, "The head is 592,130, two thirds of the trained numbers."),
        (0.5, "All params holds the head twice: the frozen original and the trained copy."),
        (
            0.5,
            "For a comparison: LoRA without the head (or both apart), since every method has it.",
        ),
    ],
    levels=[
        (
            2,
            "0.3M is only A and B: 12 layers, two matrices, 8 * (768 + 768) = 294,912. The line "
            "also counts the classification head, 887,042 - 294,912 = 592,130, because the head is "
            "new and trained. All params has base + head + adapter, and the head is in it twice as "
            "modules_to_save keeps the original next to the trained copy. I would quote 294,912 and "
            "say that the head comes on top, because the head is the same for any method.",
        ),
        (
            1,
            "The 0.3M don't have the classifier in it and the 887,042 do, so it's no "
            "contradiction. You should say 0.3M when you compare since each method trains a head.",
        ),
        (
            0,
            "The paper used another rank, or rounded. 0.7066% is what counts because the percentage "
            "is independent of the model, so I would compare the percentages.",
        ),
    ],
)
