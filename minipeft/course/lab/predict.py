"""`predict` and `reveal`: write down a guess before you see the answer.

Guesses and answers are kept as JSON lines in the folder `.minipeft` beside the notebooks, or
where the environment variable MINIPEFT_HOME points. They never leave the machine. Lesson 18
draws how well your confidence matched your hits.
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from .numerals import rounded
from .screen import watched

_session: list[dict] = []  # what this kernel has seen, so that reveal works without a file


@dataclass(frozen=True)
class Prediction:
    """A guess and, once revealed, the answer. `hit` is None until then."""

    key: str
    guess: float | str
    confidence: float | None
    unit: str
    truth: float | str | None = None
    hit: bool | None = None


def predict(key: str, guess=None, example=None, confidence: float | None = None, unit: str = ""):
    """Record a guess, before the cell that shows the answer.

    Args:
        key: the lesson and a word, as in "03-zero-gradient". `reveal` takes the same.
        guess: a number or a short answer; None as long as the student has not chosen.
        example: shown in place of a missing guess, so that the lesson reads well; not recorded.
        confidence: how sure, from 0 to 1, that the guess will count as right.
        unit: printed after numbers.

    Raises:
        ValueError: a guess that is no finite number or text, or a confidence out of range.
    """
    guess = _plain(guess)
    _check_value("guess", guess)
    _check_value("example", example)
    if confidence is not None and not 0 <= confidence <= 1:
        raise ValueError(f"confidence={confidence} is out of range; choose 0 to 1, as in 0.8")
    if guess is None:
        _session.append({"key": key, "example": example, "unit": unit})
        shown = f" Example: {_with_unit(example, unit)}." if example is not None else ""
        print(f"No prediction yet: put yours in place of None.{shown}")
        return
    _record({"key": key, "guess": guess, "confidence": confidence, "unit": unit})
    sure = "" if confidence is None else f" ({confidence:.0%} sure)"
    print(f"Your prediction: {_with_unit(guess, unit)}{sure}")


def reveal(key: str, truth, tolerance: float = 0.1) -> None:
    """Print the answer beside the guess, and keep both for the calibration plot.

    Args:
        key: as given to `predict`.
        truth: the measured number or the right answer.
        tolerance: a number counts as right within this fraction of the truth.
    """
    truth = _plain(truth)
    _check_value("truth", truth)
    mine = [entry for entry in _entries() if entry["key"] == key and "truth" not in entry]
    guesses = [entry for entry in mine if "guess" in entry]
    # A guess of the student's counts, also where the cell said None before or after it.
    last = (guesses or mine or [{}])[-1]
    unit = last.get("unit", "")
    guess = last.get("guess", last.get("example"))
    print(f"Answer:          {_with_unit(truth, unit)}")
    if guess is None:
        print("You made no prediction here. Guessing first, even wildly, makes it stick.")
        return
    whose = "Your prediction:" if guesses else "Example guess:  "
    print(f"{whose} {_with_unit(guess, unit)}, {_distance(guess, truth, tolerance, unit)}")
    if guesses:
        _record({"key": key, "truth": truth, "tolerance": tolerance})


def load_predictions() -> list[Prediction]:
    """All predictions, one for each key, in the order in which they were made.

    What counts is the last guess before the answer was first shown; later ones know too much.
    """
    guesses, truths = {}, {}
    for entry in _entries():
        key = entry["key"]
        if "guess" in entry and key not in truths:
            guesses[key] = entry
        elif "truth" in entry and key in guesses:
            truths.setdefault(key, entry)
    found = []
    for key, entry in guesses.items():
        truth = truths.get(key, {})
        hit = _is_hit(entry["guess"], truth["truth"], truth["tolerance"]) if truth else None
        found.append(
            Prediction(
                key, entry["guess"], entry["confidence"], entry["unit"], truth.get("truth"), hit
            )
        )
    return found


def home() -> Path:
    """The student's folder: MINIPEFT_HOME, or `.minipeft` beside the notebook."""
    return Path(os.environ.get("MINIPEFT_HOME") or ".minipeft")


def _record(entry: dict) -> None:
    _session.append(entry)
    if not (watched() or os.environ.get("MINIPEFT_HOME")):
        return  # nobody's guess: a test or CI runs the notebook
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps(entry, ensure_ascii=False) + "\n"
    # One write to a file opened for appending is not torn by another kernel's write.
    descriptor = os.open(
        folder / "predictions.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
    )
    try:
        os.write(descriptor, line.encode("utf-8"))
    finally:
        os.close(descriptor)


def _entries() -> list[dict]:
    """What is on disk, then what only this kernel knows; a damaged line is passed over."""
    path = home() / "predictions.jsonl"
    stored = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(entry, dict) and "key" in entry:
                stored.append(entry)
    return stored + [entry for entry in _session if entry not in stored]


def _is_hit(guess, truth, tolerance: float) -> bool:
    if _in_words(guess, truth):
        return str(guess).strip().casefold() == str(truth).strip().casefold()
    return abs(guess - truth) <= tolerance * abs(truth) + 1e-12


def _in_words(*values) -> bool:
    """Whether one of the values is a text or yes/no, which is right or wrong, never close."""
    return any(isinstance(value, str | bool) for value in values)


def _distance(guess, truth, tolerance: float, unit: str) -> str:
    """In words, how far the guess is from the truth."""
    if _is_hit(guess, truth, tolerance):
        return "right" if guess == truth or _in_words(guess, truth) else "close enough"
    if _in_words(guess, truth):
        return "not this time"
    if unit.startswith("%"):
        points = rounded(abs(guess - truth))
        return f"{points} percentage points too {'large' if guess > truth else 'small'}"
    if truth == 0 or guess == 0 or (guess < 0) != (truth < 0):
        return f"off by {rounded(abs(guess - truth))}"
    ratio = guess / truth
    if ratio >= 2:
        return f"{rounded(ratio)} times too large"
    if ratio <= 0.5:
        return f"{rounded(1 / ratio)} times too small"
    return f"{abs(ratio - 1):.0%} too {'large' if ratio > 1 else 'small'}"


def _plain(value):
    """A tensor or array of one number as that number."""
    try:
        return value.item()
    except (AttributeError, ValueError, RuntimeError):  # no array, or one of several numbers
        return value


def _check_value(name: str, value) -> None:
    if value is None or isinstance(value, str | bool):
        return
    if not isinstance(value, int | float):
        raise ValueError(
            f"{name} is a {type(value).__name__}, neither a number nor a short text; if you mean "
            f'a word, use quotes, as in {name}="A"'
        )
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r} is not a finite number")


def _with_unit(value, unit: str) -> str:
    if isinstance(value, str | bool):
        return str(value)
    return f"{rounded(value)} {unit}".strip()
