"""`explore`: a figure with sliders, and the same figure for paper, GitHub and the next morning.

Three outputs: a picture, its words, and the widget with a picture and words of its own. JupyterLab
shows the widget in place of the first two as long as a kernel drives it. Where none does (a lesson
opened again, a page on the web), the widget is hidden, since all it could say is "model not found",
and the picture is what is left. So do the rules in TWIN; where pages drop them, as GitHub does, no
widget is shown at all.
"""

import base64
import html
import inspect
import math

from .figure import caption, digest, png, show_picture, words, words_html
from .screen import show, watched

CHILD = ".jp-OutputArea-child"
TWIN = f"""<style>
{CHILD}:has(.minipeft-twin) + {CHILD}:not(:has(.minipeft-live)),
.jp-OutputArea:has(.minipeft-live) > {CHILD}:has(.minipeft-twin),
.jp-OutputArea:has(.minipeft-live) > {CHILD}:has(+ {CHILD} .minipeft-twin) {{ display: none; }}
</style>"""


def explore(function, **sliders) -> None:
    """Show a figure that follows its sliders.

    Args:
        function: called with one value for each slider; returns (fig, alt, data), as `figure`
            takes them. It should draw in well under half a second. The default values of its
            arguments are where the sliders start.
        sliders: for each argument of `function` one of
            (low, high) or (low, high, step): whole numbers or fractions;
            (low, high, "log"): a logarithmic slider;
            [value, value, ...]: one of these;
            {"label": value, ...}: one of these, by label;
            True or False: a box to tick.

    Where nobody watches (tests, `make notebooks`), both ends of each slider are tried, so that
    an error that waits there shows up early, and the picture is shown alone.

    Raises:
        ValueError: a slider that the function has no argument for, or a malformed range.
    """
    explorer = Explorer(function, sliders)
    if not watched():
        explorer.try_ends()
    explorer.show_twin()
    if watched():
        explorer.show()


class Explorer:
    """The controls, the picture and the text of one `explore` call."""

    def __init__(self, function, sliders: dict):
        import ipywidgets

        self.function = function
        starts = _starts(function, sliders)
        self.controls = {
            name: _control(name, choice, starts[name]) for name, choice in sliders.items()
        }
        self.picture = ipywidgets.HTML()
        self.words = ipywidgets.HTML()
        self.values = {name: control.value for name, control in self.controls.items()}
        self.png, self.alt, self.data = self._draw(self.values)
        self._show_drawing(self.png, self.alt, self.data)
        for control in self.controls.values():
            control.observe(self._redraw, names="value")
        self.widget = ipywidgets.VBox([*self.controls.values(), self.picture, self.words])
        self.widget.add_class("minipeft-live")

    def show(self) -> None:
        """Display the widget."""
        from IPython.display import display

        display(self.widget)

    def show_twin(self) -> None:
        """Display the picture and the words as they are at the start."""
        where = ", ".join(f"{name} = {_shown(value)}" for name, value in self.values.items())
        twin = words(self.alt, self.data, where)
        hint = f"Run this cell to move {' and '.join(self.controls)}."
        twin["text/html"] += f'<p class="minipeft-twin">{html.escape(hint)}</p>'
        if watched():
            twin["text/html"] += TWIN
        show_picture(self.png, self.alt)
        show(twin)

    def try_ends(self) -> None:
        """Draw with each control at its first and last position, the others at their start."""
        for name, control in self.controls.items():
            for value in _ends(control):
                if value != self.values[name]:
                    self._draw({**self.values, name: value})

    def _draw(self, values: dict) -> tuple[bytes, str, dict]:
        fig, alt, data = self.function(**values)
        caption(alt), digest(data)  # refuse bad words or numbers at any position
        return png(fig), alt.strip(), data

    def _redraw(self, change) -> None:
        values = {name: control.value for name, control in self.controls.items()}
        try:
            self._show_drawing(*self._draw(values))
        except Exception as error:  # an error in a callback would vanish unseen
            message = html.escape(f"{type(error).__name__}: {error}")
            self.words.value = f'<p role="alert"><b>This position fails.</b> {message}</p>'

    def _show_drawing(self, picture: bytes, alt: str, data: dict) -> None:
        source = base64.b64encode(picture).decode()
        text = html.escape(alt, quote=True)
        style = "max-width: 100%; height: auto"
        self.picture.value = (
            f'<img alt="{text}" style="{style}" src="data:image/png;base64,{source}">'
        )
        self.words.value = f'<div aria-live="polite">{words_html(alt, digest(data))}</div>'


def _starts(function, sliders: dict) -> dict:
    """The function's default for each slider, None where it has none."""
    parameters = inspect.signature(function).parameters
    unknown = [name for name in sliders if name not in parameters]
    if unknown:
        raise ValueError(
            f"{function.__name__} has no argument {unknown[0]!r}; it has {', '.join(parameters)}"
        )
    if not sliders:
        raise ValueError("explore() needs at least one slider, as in r=(1, 32)")
    defaults = {name: parameters[name].default for name in sliders}
    return {name: None if d is inspect.Parameter.empty else d for name, d in defaults.items()}


def _control(name: str, choice, start):
    """The widget for one argument. It reports when let go, so that drawing never lags."""
    import ipywidgets

    common = {"description": name, "continuous_update": False}
    common["style"] = {"description_width": "initial"}
    if isinstance(choice, bool):
        value = choice if start is None else start
        return ipywidgets.Checkbox(value=value, description=name)
    if isinstance(choice, list | dict) and choice:
        values = list(choice.values() if isinstance(choice, dict) else choice)
        options = list(choice.items()) if isinstance(choice, dict) else choice
        value = values[len(values) // 2] if start is None else start
        if value not in values:
            raise ValueError(f"{name} starts at {value!r}, which is not one of {values}")
        return ipywidgets.SelectionSlider(options=options, value=value, **common)
    return _range_control(name, choice, start, common)


def _range_control(name: str, choice, start, common: dict):
    import ipywidgets

    log = isinstance(choice, tuple) and len(choice) == 3 and choice[2] == "log"
    numbers = choice[:2] if log else choice
    fine = isinstance(choice, tuple) and len(choice) in (2, 3)
    fine = fine and all(isinstance(number, int | float) for number in numbers)
    if not fine or numbers[0] >= numbers[1] or (log and numbers[0] <= 0):
        raise ValueError(
            f"{name}={choice!r} is no range; choose (low, high), (low, high, step), "
            '(low, high, "log"), a list of values, or a dictionary of labels'
        )
    low, high = numbers[:2]
    whole = not log and all(isinstance(number, int) for number in numbers)
    middle = (low * high) ** 0.5 if log else (low + high) // 2 if whole else (low + high) / 2
    value = middle if start is None else start
    if not low <= value <= high:
        raise ValueError(f"{name} starts at {value}, outside {low} to {high}")
    if log:
        ends = {"min": math.log10(low), "max": math.log10(high)}
        return ipywidgets.FloatLogSlider(value=value, **ends, readout_format=".2g", **common)
    step = numbers[2] if len(numbers) == 3 else 1 if whole else (high - low) / 100
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return kind(value=value, min=low, max=high, step=step, **common)


def _ends(control) -> tuple:
    if hasattr(control, "options"):
        values = [option[1] if isinstance(option, tuple) else option for option in control.options]
        return values[0], values[-1]
    if hasattr(control, "base"):
        return control.base**control.min, control.base**control.max
    if hasattr(control, "min"):
        return control.min, control.max
    return False, True


def _shown(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
