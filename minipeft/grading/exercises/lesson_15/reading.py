"""Task 6, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_choice",
    title="6. Advise a customer",
    points=2,
    rubric=[
        (0.5, "LILY and rsLoRA are within two standard errors, and each row is one seed."),
        (0.5, "rsLoRA's row has four times the scale, so it says nothing of the method alone."),
        (
            0.5,
            "Forty files: 33 GB of LILY, and far less of other rows on the front; forgetting, too.",
        ),
        (
            0.5,
            "Tune two or three on the clinic's own validation texts, several seeds, then decide.",
        ),
    ],
    levels=[
        (
            2,
            "LILY's lead over rsLoRA is less than one standard error, of one seed each, so the "
            "table does not say which is better. rsLoRA was trained with scale 8 and LoRA with "
            "scale 2 at one rate for both: LoRA with a larger scale or rate might do as well, and "
            "among so many pairs a z of 2 is no proof. Forty files of LILY take 33 GB, forty of "
            "LoRA r = 10 on the MLP 1.5 GB; it is on the front, and forgets far less. I would "
            "tune the rate of that LoRA and of one or two others on a validation split of the "
            "clinic's own texts, repeat the best with three seeds or more, and take the smaller "
            "file where they overlap.",
        ),
        (
            1,
            "The first rows are too close to call with one seed and this many questions, and LILY's "
            "files are large. I would take LoRA, which is smaller.",
        ),
        (
            0,
            "LILY has the highest accuracy, so it is the best method. If it is too large, rsLoRA, "
            "which is second and four points better than LoRA.",
        ),
    ],
)
