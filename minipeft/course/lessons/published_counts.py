"""Published counts beside arithmetic: what a paper or a library prints, and what the shapes give.

data/published_counts.toml holds what was printed, and so does the framework's list of figures that
do not follow. Neither holds a right answer: that is counted here, when it is asked for.
"""

import ast
import math
import operator
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from minipeft.budget import ARCHITECTURES, ParameterCount
from minipeft.budget.count import counted
from minipeft.budget.discrepancies import DISCREPANCIES
from minipeft.core.config import PeftConfig
from minipeft.course.base import DATA
from minipeft.methods import METHODS
from minipeft.shapes.naming import model_for

UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "%": 1}
COUNTED: dict[tuple[str, str, str], ParameterCount] = {}
FOLLOWS = ("exact", "rounded", "cut off")
OPERATORS = {ast.Add: operator.add, ast.Mult: operator.mul, ast.Pow: operator.pow}
METHOD_NAMES = {"LORA": "LoRA", "VERA": "VeRA", "IA3": "(IA)3", "BITFIT": "BitFit"}
METHOD_NAMES |= {"PROMPT_TUNING": "prompt", "PREFIX_TUNING": "prefix", "BOTTLENECK": "adapter"}


@dataclass(frozen=True)
class Figure:
    """One number in print.

    what: "trained", "share" (per cent of base and adapter together) or "total".
    printed: as the source writes it. counted: what the shapes give, in the same unit.
    verdict: "exact", "rounded", "cut off" (digits dropped where rounding would go up) or "differs".
    """

    what: str
    printed: str
    counted: float
    verdict: str

    @property
    def follows(self) -> bool:
        return self.verdict in FOLLOWS

    @property
    def ratio(self) -> float:
        """What is printed over what is counted."""
        return in_print(self.printed) / self.counted


@dataclass(frozen=True)
class Published:
    """What one source prints for one method on one model.

    config None: the model's own total, or, with `arithmetic`, a method that minipeft does not
    build. sizes: changes of the published architecture. why: the reason where it does not follow.
    """

    source: str
    model: str
    printed: Mapping[str, str]
    config: PeftConfig | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    arithmetic: str = ""
    why: str = ""

    @property
    def method(self) -> str:
        """The method in a few words: "LoRA 8, q v"."""
        return self.arithmetic or (named(self.config) if self.config else "no adapter")

    @property
    def paper(self) -> str:
        """The source without its table."""
        return "tutorials" if "tutorial" in self.source else self.source.partition(",")[0]

    def counts(self) -> dict[str, float]:
        """{"trained", "total", "share"} from the shapes."""
        if self.arithmetic:
            trained = calculated(self.arithmetic)
            total = ARCHITECTURES[self.model].total + trained
        else:
            count = count_of(self)
            trained, total = count.trainable, count.total
        return {"trained": trained, "total": total, "share": 100 * trained / total}

    def figures(self) -> list[Figure]:
        """Each of the printed numbers with what is counted."""
        right = self.counts()
        return [
            Figure(what, text, right[what], verdict(right[what], text))
            for what, text in self.printed.items()
        ]


def published_counts() -> list[Published]:
    """Every figure that the course knows: those of the table, then the framework's list."""
    table = tomllib.loads((DATA / "published_counts.toml").read_text(encoding="utf-8"))
    found = []
    for entry in table["counts"]:
        given = entry.pop("config", None)
        config = given and METHODS[given["peft_type"]].from_dict(given)
        found.append(Published(config=config, **entry))
    for one in DISCREPANCIES:
        what = "total" if one.config is None else "share" if "%" in one.printed else "trained"
        found.append(Published(one.source, one.model, {what: one.printed}, one.config, why=one.why))
    return found


def reasons(rows: Sequence[Published]) -> list[str]:
    """Of the figures that do not follow: what is printed, what is counted, and why they differ."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one in rows:
        for figure in one.figures():
            if not figure.follows:
                share = figure.what == "share"
                right = f"{figure.counted:.3f}%" if share else f"{figure.counted:,}"
                said = found.setdefault((one.source, one.model, one.why), [])
                said.append(f"{figure.printed} (counted: {right})")
    return [
        f"{source}, {model}: {', '.join(printed)}: {why}"
        for (source, model, why), printed in found.items()
    ]


def count_of(one: Published) -> ParameterCount:
    """The count of a method on a model; several sources print the same, which is counted once."""
    asked = one.model, str(one.sizes), str(one.config)
    if asked not in COUNTED:
        architecture = ARCHITECTURES[one.model]
        architecture = architecture.but(**one.sizes) if one.sizes else architecture
        COUNTED[asked] = counted(model_for(architecture, one.config), one.config)
    return COUNTED[asked]


def verdict(value: float, printed: str) -> str:
    """How a printed figure follows from a counted one.

    Without a unit it must be equal. With one it may be rounded to the digits that are printed
    (zeros at the end of a whole number are no digits), or cut off after them.
    """
    digits = printed.rstrip("".join(UNITS)).replace(",", "")
    if digits == printed.replace(",", "") and "." not in digits:
        return "exact" if value == int(digits) else "differs"
    places = len(digits.partition(".")[2])
    value = value / UNITS[printed[-1]]
    if f"{value:.{places}f}" == digits:
        return "rounded"
    significant = len(digits.rstrip("0"))
    if not places and float(f"{value:.{significant - 1}e}") == float(digits):
        return "rounded"
    cut = math.floor(value * 10**places) / 10**places
    return "cut off" if f"{cut:.{places}f}" == digits else "differs"


def in_print(text: str) -> float:
    """The number that a text such as "37.7M", "0.06%" or "4,194,304" means."""
    return float(text.rstrip("".join(UNITS)).replace(",", "")) * UNITS.get(text[-1], 1)


def named(config: PeftConfig) -> str:
    """A config in a few words."""
    method = METHOD_NAMES.get(config.peft_type, "partial")
    if getattr(config, "use_dora", False):
        method = "DoRA"
    if method == "partial":
        return f"last {config.last_layers} blocks" if config.last_layers else "norms alone"
    sizes = (getattr(config, n, None) for n in ("r", "bottleneck_size", "num_virtual_tokens"))
    size = next((f" {size}" for size in sizes if size), "")
    targets = getattr(config, "target_modules", None) or []
    if isinstance(targets, str) or len(targets) > 6:
        return f"{method}{size}, all linear"
    words = " ".join(target.removesuffix("_proj") for target in targets)
    head = " + head" if getattr(config, "task_type", None) == "SEQ_CLS" else ""
    head = " + head" if "classifier" in (getattr(config, "modules_to_save", None) or ()) else head
    return f"{method}{size}{', ' if words else ''}{words}{head}"


def calculated(sum_of_products: str) -> int:
    """The value of a text of whole numbers with +, * and **."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant):
            return node.value
        return OPERATORS[type(node.op)](value(node.left), value(node.right))

    return value(ast.parse(sum_of_products, mode="eval").body)
