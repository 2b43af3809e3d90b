"""`quiz`: quick questions. Each wrong answer names the misconception behind it.

A question is plain HTML: every option is a `<details>`, which opens on what it says about the
answer. That works in JupyterLab without a kernel, so also in a lesson that is opened again, in a
saved page without a network, and on GitHub. Where scripts run, arrow keys move between options.
"""

import hashlib
import html
from dataclasses import dataclass

from .screen import PROSE, show

# JupyterLab takes arrow keys for itself, except inside an element with this attribute.
KEYS_ARE_OURS = 'data-lm-suppress-shortcuts="true"'
ARROWS = """<script>
document.querySelectorAll(".minipeft-quiz:not([data-arrows])").forEach((quiz) => {
  quiz.dataset.arrows = "on";
  quiz.addEventListener("keydown", (event) => {
    const step = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
    const options = [...quiz.querySelectorAll("summary")];
    const here = options.indexOf(document.activeElement);
    if (!step || here < 0) return;
    event.preventDefault();
    options[(here + step + options.length) % options.length].focus();
  });
});
</script>"""


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        text: the question.
        options: {"answer": "why it is right, or what one would have to believe to pick it"}.
        answer: the right one of the options.
    """

    text: str
    options: dict[str, str]
    answer: str

    def __post_init__(self):
        if len(self.options) < 2:
            raise ValueError(f"the question {self.text!r} needs at least two options")
        if self.answer not in self.options:
            raise ValueError(f"answer={self.answer!r} is not among {list(self.options)}")
        silent = [option for option, why in self.options.items() if not why.strip()]
        if silent:
            raise ValueError(f"the option {silent[0]!r} has no explanation")

    def shuffled(self, place: int) -> list[str]:
        """The options in an order that says nothing, the right one at `place` modulo their number.

        The same each time, so that a lesson that is run again looks the same.
        """
        wrong = [option for option in self.options if option != self.answer]
        wrong.sort(key=lambda option: _digest(self.text, option))
        wrong.insert(place % len(self.options), self.answer)
        return wrong

    def verdict(self, option: str) -> str:
        """What is said to someone who picks this option."""
        return f"{'Right.' if option == self.answer else 'Not quite.'} {self.options[option]}"


def quiz(*questions: Question) -> None:
    """Ask questions; an option that is picked opens and says what is right or wrong about it."""
    if not questions:
        raise ValueError("quiz() needs at least one Question")
    # Each right answer stands one further than the last, from a place that nobody chose.
    first = int(_digest(*[question.text for question in questions]), 16)
    asked = [(n, question, question.shuffled(first + n)) for n, question in enumerate(questions, 1)]
    body = "\n".join(_html(*each) for each in asked)
    page = f'<div class="minipeft-quiz" {KEYS_ARE_OURS}>\n{body}\n</div>{ARROWS}'
    plain = "\n".join(_plain(*each) for each in asked)
    show({"text/html": page, "text/plain": plain})


def _html(number: int, question: Question, order: list[str]) -> str:
    # Options that share a name close each other.
    group = f"quiz-{_digest(question.text)}"
    options = "\n".join(
        f'<details name="{group}"><summary>{html.escape(option)}</summary>'
        f'<p style="margin: 0 0 0.6em 1.2em">{html.escape(question.verdict(option))}</p></details>'
        for option in order
    )
    return (
        f'<div style="{PROSE}; margin-bottom: 1em"><b>{number}. {html.escape(question.text)}</b>\n'
        f"{options}</div>"
    )


def _plain(number: int, question: Question, order: list[str]) -> str:
    options = "\n".join(f"   - {option}" for option in order)
    return f"{number}. {question.text}\n{options}"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]
