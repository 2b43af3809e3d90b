"""Task 6b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_start",
    title="6b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "A's gradient has B as a factor, and B is zero at the start: A stands still."),
        (0.5, "B's gradient has A x as a factor, which is not zero: B moves, and from then on A."),
        (0.5, "Both zero: both gradients are zero in every step, so nothing is ever learned."),
        (0.5, "Both random: both move at once, but step 0 no longer answers like the base."),
    ],
    levels=[
        (
            2,
            "The gradient of A is (alpha/r) B^T times something, and B = 0 at the start, so A gets "
            "no gradient in step 1. B's gradient contains A x, which isn't 0, so B moves and then "
            "A can too. If both are zero, each gradient has a zero factor and nothing ever moves. "
            "If both are random both move right away but the first output isn't the base's.",
        ),
        (
            1,
            "A does not move because B is zero and the gradient goes through B. After the first "
            "step B is not zero any more. With both zero it would not train.",
        ),
        (
            0,
            "A moves slower than B because its learning rate is smaller at the start. With random "
            "values it would train faster.",
        ),
    ],
)
