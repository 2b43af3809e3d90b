"""Task 5b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_gates",
    title="5b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "Without a penalty nothing closes gates that change the loss little or not at all."),
        (0.5, "A middling penalty leaves the planted entries open, or nearly only these."),
        (0.5, "Too large a penalty costs more than small planted entries gain, so they close."),
        (0.5, "In a real model nobody knows the truth: choose by a held-out loss, or prune."),
    ],
    levels=[
        (
            2,
            "With penalty 0 the gates have no reason to close, so nearly all stay open. With 1e-3 "
            "an open gate must pay for itself: the planted ones do and stay open, the others do "
            "not. With 3e-2 even some planted entries gain less than they cost, they close, and "
            "part of the update is missing. In a real model I would try several penalties and "
            "compare the loss on held-out data, or prune to the size that I can afford.",
        ),
        (
            1,
            "A larger penalty closes more gates. If it is too large, some that are needed close "
            "too, so there is a best one in the middle.",
        ),
        (
            0,
            "The penalty makes the weights smaller, like weight decay, so the more of it the "
            "better the model generalizes.",
        ),
    ],
)
