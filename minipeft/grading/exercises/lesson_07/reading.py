"""Task 5b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_bend",
    title="5b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "For small inputs swish is nearly a line, v / 2: the adapter is nearly straight."),
        (0.5, "For large inputs it is nearly ReLU: no line follows its kink, at any size."),
        (0.5, "The fit holds for these inputs alone; other texts may be elsewhere on the curve."),
        (0.5, "A parallel adapter beside an MLP, even a straight one, has no matrix to go into."),
    ],
    levels=[
        (
            2,
            "Near zero swish is v / 2 plus a small square, so with small inputs the whole adapter "
            "is almost an affine map, and the copy misses next to nothing. With large inputs it "
            "is zero on one side and v on the other: the copy misses the kink, at any size. The "
            "number is only about the inputs of the fit. Even if it were zero I could not merge the "
            "parallel adapter: between x and h lie a norm and an MLP and no single matrix.",
        ),
        (
            1,
            "Small inputs stay on the straight part of swish and large ones reach the bend, so "
            "the number grows. If it is small one can merge the adapter.",
        ),
        (
            0,
            "The adapter has few parameters, so it is always nearly linear, and can be merged.",
        ),
    ],
)
