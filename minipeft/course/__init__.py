"""What the lessons need and the framework does not: set-up, training, figures, guesses, quizzes.

    from minipeft.course import start, train, evaluate, track, predict, reveal
    from minipeft.course import figure, COLORS, explore, quiz, Question

    here = start(lesson="03")                          # seeds, one thread, one printed line
    predict("03-loss", guess=None, example=1.2, unit="nats")
    history = train(model, task("pirate").train, steps=100, learning_rate=3e-3)
    reveal("03-loss", evaluate(model, task("pirate").test))
    fig, ax = plt.subplots(); ax.plot(history.losses, color=COLORS["lora"])
    alt = f"Training loss falls from {history.first:.1f} to {history.last:.1f} nats per token."
    figure(fig, alt=alt, data={"lora": history.losses})
    for rate in track([1e-3, 1e-2], "rates"): ...      # a bar for a loop that takes long
    explore(draw, r=(1, 32))                           # def draw(r=8): ... return fig, alt, data
    quiz(Question("...?", options={"yes": "why", "no": "why not"}, answer="yes"))

Rules that the tests hold lessons to:

- What a cell prints is the same on every run. Train with `steps=`, not `seconds=`; never print a
  wall time without its unit (" s" or " ms"), since tests skip such numbers.
- Numbers with a decimal point may differ by 5% between machines; whole numbers may not. Print a
  trained number rounded, and assert in the cell what must hold.
- No stderr, no warnings, no addresses, no absolute paths.
- Nothing that is shown needs `nbval-ignore-output`: figures and quizzes print the same text each
  time, and lines that begin with "This machine:" are skipped.
- `%matplotlib` and `plt.show()` are not needed; `figure` shows and closes.

matplotlib and ipywidgets are imported when first used, so that `load_base` stays quick.
"""

from importlib import import_module

from .lab.colors import COLORS
from .lab.history import History
from .lab.predict import Prediction, load_predictions, predict, reveal
from .lab.progress import track
from .lab.quiz import Question, quiz
from .lab.start import Machine, start
from .lab.train import evaluate, train

# Functions that need matplotlib: looked up when first asked for.
_LATER = {
    "figure": "lab.figure",
    "label_lines": "lab.figure",
    "use_style": "lab.figure",
    "plt": "lab.figure",
    "explore": "lab.explore",
    "lines": "lab.drawing",
    "panels": "lab.drawing",
}

__all__ = [
    "COLORS",
    "History",
    "Machine",
    "Prediction",
    "Question",
    "evaluate",
    "explore",
    "figure",
    "label_lines",
    "lines",
    "load_predictions",
    "panels",
    "plt",
    "predict",
    "quiz",
    "reveal",
    "start",
    "track",
    "train",
    "use_style",
]


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)
