"""Task 5b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_memory",
    title="5b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "Longer segments keep fewer inputs, but more layers are there at once: a trade."),
        (0.5, "A transformer's layer keeps many times its input, so one layer at a time is best."),
        (0.5, "The price is about one more forward pass, whatever the segment's length."),
        (0.5, "LoRA does not change it: its activations are nearly those of full fine-tuning."),
    ],
    levels=[
        (
            2,
            "With segments of k layers there are n/k inputs to keep, but k layers have to be there "
            "while one segment is recomputed. In the first line a layer holds 22 inputs' worth, "
            "so adding layers to the segment costs more than the inputs it saves and k = 1 wins. "
            "Any k costs one more forward. LoRA needs the same inputs for A and for the "
            "nonlinear parts, so the table would be about the same.",
        ),
        (
            1,
            "If segments are long, you keep fewer inputs but have to recompute more layers at "
            "once. For the transformer each layer is so big that you only want one at a time.",
        ),
        (
            0,
            "Bigger segments always save more memory because fewer things are stored. With LoRA "
            "you do not need checkpointing because only A and B get gradients.",
        ),
    ],
)
