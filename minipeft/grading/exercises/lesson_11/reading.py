"""Tasks 4b and 6, read by a person: their rubrics, and answers at each of three levels."""

from ...tasks import ByHand

READ = ByHand(
    name="explain_start",
    title="4b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "The error of quantization is nearly noise: no few singular values stand out."),
        (0.5, "So the first r hold a small part where r is small, whatever the iterations."),
        (0.5, "With one iteration Q is plain NF4, so A and B fit anybody's copy of the base."),
        (0.5, "With more, Q is another one: it must be shipped, or the adapter does not fit."),
    ],
    levels=[
        (
            2,
            "The error W - Q is like random noise: its singular values fall slowly and none stand "
            "out, so the first 2 of 64 can't hold much of it. More iterations cannot change that. "
            "After one iteration Q is just quantize(W), which everyone has, so the adapter file "
            "is enough. After more, Q = quantize(W - BA) is another one, and I would have to ship "
            "it too.",
        ),
        (
            1,
            "A low rank can only fix a part of the error because the error is random. More "
            "iterations help a bit more.",
        ),
        (0, "The distance falls slowly because the learning rate of LoftQ is small."),
    ],
)

CARD = ByHand(
    name="explain_card",
    title="6. One card",
    points=2,
    rubric=[
        (0.5, "65B in four bits are more than 32 GB of weights: they alone exceed 24 GB."),
        (0.5, "They are needed in the forward and in the backward pass, so they must be there."),
        (0.5, "A paged optimizer moves AdamW's states alone, never weights or activations."),
        (0.5, "Checkpointing makes activations smaller, and no weight."),
    ],
    levels=[
        (
            2,
            "No. 65 billion weights at 4.127 bits are about 33.5 GB, more than the card has, and "
            "every layer is needed in the forward and again in the backward pass. Paging only "
            "moves the optimizer's m and v, and checkpointing only shrinks activations. Neither "
            "touches the weights.",
        ),
        (1, "No, 65B in 4 bit is about 33 GB so it does not fit, paging won't help enough."),
        (0, "Yes, because the weights are paged to the CPU when they are not used."),
    ],
)
