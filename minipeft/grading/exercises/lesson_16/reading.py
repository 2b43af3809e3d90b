"""Task 5b, read by a person: its rubric, and an answer at each of three levels."""

from ...tasks import ByHand

EXPLAIN = ByHand(
    name="explain_probe",
    title="5b. Read the experiment",
    points=2,
    rubric=[
        (0.5, "The probe leaves the body alone, so the old head reads exactly what it read."),
        (0.5, "It reads fewer new images: frozen features were not made for the new classes."),
        (0.5, "Training the body moves the features away from the old head: it forgets."),
        (0.5, "To serve both: keep the update apart and switch, or the probe if it is enough."),
    ],
    levels=[
        (
            2,
            "The probe trains only the new head, so the features and the old head's answers stay "
            "the same to the last digit. Its new accuracy is lower because the body was trained "
            "for other classes and can't be changed. With the body trained too the features fit "
            "the new classes but move, and the old head was made for the old ones, so it gets "
            "worse. I would keep the update as an adapter and switch it off for old classes, or "
            "use the probe when its accuracy is enough.",
        ),
        (
            1,
            "The probe doesn't change the body so nothing is forgotten. Training everything gives "
            "better results on the new classes but the old ones get worse.",
        ),
        (
            0,
            "The probe has fewer parameters, so it overfits less and therefore forgets less than "
            "the full model.",
        ),
    ],
)
