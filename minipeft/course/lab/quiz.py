"""`quiz`: quick questions. Each wrong answer names the misconception behind it."""

import html
from dataclasses import dataclass

from .screen import show_widget


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


def quiz(*questions: Question) -> None:
    """Ask questions: radio buttons in JupyterLab, text with folded answers on GitHub."""
    if not questions:
        raise ValueError("quiz() needs at least one Question")
    import ipywidgets

    parts = [QuestionView(number, question) for number, question in enumerate(questions, 1)]
    widget = ipywidgets.VBox([part.widget for part in parts])
    twin = {
        "text/html": "\n".join(_folded(n, q) for n, q in enumerate(questions, 1)),
        "text/plain": "\n".join(_plain(n, q) for n, q in enumerate(questions, 1)),
    }
    show_widget(widget, twin)


class QuestionView:
    """A question as radio buttons, with the explanation of what is chosen under them."""

    def __init__(self, number: int, question: Question):
        import ipywidgets

        self.question = question
        heading = ipywidgets.HTML(f"<b>{number}. {html.escape(question.text)}</b>")
        self.buttons = ipywidgets.RadioButtons(
            options=list(question.options),
            value=None,
            layout=ipywidgets.Layout(width="auto"),
        )
        self.verdict = ipywidgets.HTML()
        self.buttons.observe(self._explain, names="value")
        self.widget = ipywidgets.VBox([heading, self.buttons, self.verdict])

    def _explain(self, change) -> None:
        option = change["new"]
        if option is None:
            self.verdict.value = ""
            return
        why = html.escape(self.question.options[option])
        verdict = "Right." if option == self.question.answer else "Not quite."
        self.verdict.value = f'<p role="status"><b>{verdict}</b> {why}</p>'


def _folded(number: int, question: Question) -> str:
    """The static form: options in the open, verdicts folded away."""
    options = "".join(f"<li>{html.escape(option)}</li>" for option in question.options)
    verdicts = "".join(
        f"<li><b>{html.escape(option)}</b>: "
        f"{'right. ' if option == question.answer else 'not quite. '}{html.escape(why)}</li>"
        for option, why in question.options.items()
    )
    return (
        f"<p><b>{number}. {html.escape(question.text)}</b></p><ul>{options}</ul>"
        f"<details><summary>Answer</summary><ul>{verdicts}</ul></details>"
    )


def _plain(number: int, question: Question) -> str:
    options = "\n".join(f"   - {option}" for option in question.options)
    return f"{number}. {question.text}\n{options}"
