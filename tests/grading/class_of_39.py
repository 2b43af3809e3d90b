"""A made-up class: 39 ways to hand in, each with the mark that a fair person would give.

Right answers that Jupyter runs, answers that are partly right, follow-up mistakes, odd layouts of
cells, and the ways in which work reaches an instructor.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from .handing_in import EXERCISE, code_cell, grade_id, notebook

AUTOMATIC = EXERCISE.points - sum(part.points for part in EXERCISE.by_hand)
F = """def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + alpha / A.shape[0] * (x @ A.T @ B.T)
"""
UNWRITTEN = "def {name}(*given):\n    raise NotImplementedError('Not written yet')"


@dataclass(frozen=True)
class HandedIn:
    """Some cells of a right notebook replaced, and the points that are fair."""

    fair: float
    cells: dict[str, str | None] = field(default_factory=dict)
    change: Callable[[dict], None] = lambda made: None
    says: str = ""

    def notebook(self, student: str) -> dict:
        made = notebook(student, self.cells)
        self.change(made)
        return made


def place(made: dict, name: str) -> int:
    return next(n for n, cell in enumerate(made["cells"]) if grade_id(cell) == name)


def helper_below(made: dict) -> None:
    made["cells"].append(code_cell("def scaled(A, alpha):\n    return alpha / A.shape[0]"))


def helper_overwritten_below(made: dict) -> None:
    made["cells"].insert(place(made, "lora_forward"), code_cell("factor = 1"))
    made["cells"].append(code_cell("factor = 'a test of mine'"))


def without_ids(made: dict) -> None:
    for cell in made["cells"]:
        cell["metadata"] = {}


def split_cell(made: dict) -> None:
    where = place(made, "merge")
    first, second = dict(made["cells"][where]), dict(made["cells"][where])
    first["source"] = "def scale_of(A, alpha):\n    return alpha / A.shape[0]"
    second["source"] = (
        "def merge(weight, A, B, alpha):\n    return weight + scale_of(A, alpha) * B @ A"
    )
    made["cells"][where : where + 1] = [first, second]


def pictures(made: dict) -> None:
    image = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * (25 << 20)}}
    made["cells"][place(made, "merge")]["outputs"] = [image]


def played_below(made: dict) -> None:
    made["cells"].append(code_cell("def merge(*given):\n    return 'playing'"))
    made["cells"].append(code_cell("1 / 0"))


def slow_experiment(made: dict) -> None:
    made["cells"].append(code_cell("while True:\n    pass"))


def moved_to_one_cell(made: dict) -> None:
    sources = []
    for name in ("lora_forward", "merge"):
        cell = made["cells"][place(made, name)]
        sources.append("".join(cell["source"]))
        cell["source"] = ""
    made["cells"].insert(2, code_cell("\n\n".join(sources)))


BROKEN_FORWARD = F.replace("alpha / A.shape[0] * ", "")
TRAINS_WITH_FORWARD = """
def train_lora(x, target, weight, A, B, alpha, learning_rate, steps):
    A, B = A.clone().requires_grad_(), B.clone().requires_grad_()
    for _ in range(steps):
        loss = ((lora_forward(x, weight, A, B, alpha) - target) ** 2).mean()
        grad_A, grad_B = torch.autograd.grad(loss, [A, B])
        A = (A - learning_rate * grad_A).detach().requires_grad_()
        B = (B - learning_rate * grad_B).detach().requires_grad_()
    return A, B
"""
TRAINS_WITH_ADAMLIKE_IMPORT = """
def train_lora(x, target, weight, A, B, alpha, learning_rate, steps):
    A, B = torch.nn.Parameter(A.clone()), torch.nn.Parameter(B.clone())
    optimizer = torch.optim.SGD([A, B], lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        h = x @ weight.T + alpha / len(A) * x @ A.T @ B.T
        ((h - target) ** 2).mean().backward()
        optimizer.step()
    return A.detach(), B.detach()
"""
COUNTS = """
def my_counts():
    names = {"q and v": ["q_proj", "v_proj"], "attention": ["q_proj", "k_proj", "v_proj", "o_proj"]}
    names["all linear"] = names["attention"] + ["gate_proj", "up_proj", "down_proj"]
    return {name: count_lora(**sheet, targets=targets) for name, targets in names.items()}
"""
ONE_WRONG_COUNT = COUNTS.replace(
    "    return {", '    names["attention"] = ["q_proj"]\n    return {'
)
SUBCLASS = """
class NothingFound(ValueError):
    "Says more than a bare ValueError."

def find_targets(names, targets):
    found = [n for n in names if any(f".{n}".endswith(f".{t}") for t in targets)]
    if not found:
        raise NothingFound(targets)
    return found
"""
BLIND_TO_TWICE = """
def diagnose(record):
    r, d_in = record["A"].shape
    update = record["B"] @ record["A"]
    change = record["merged"] - record["weight"]
    if not record["start_A"].any():
        return "both start at zero"
    if record["start_A"].abs().max() > 1.5 / math.sqrt(d_in):
        return "A drawn without a scale"
    if any("lora_" not in name for name in record["trainable"]):
        return "base not frozen"
    return "scale dropped at the merge" if torch.allclose(change, update) else "healthy"
"""

ANNOTATED = "from __future__ import annotations\n" + F.replace("(x,", "(x: Nope,")
PRINTS = """
print('x' * 10**7)
def merge(weight, A, B, alpha):
    print('x' * 10**6)
    return weight + alpha / len(A) * B @ A
"""
IN_FLOAT64 = """
def merge(weight, A, B, alpha):
    return weight.double() + alpha / len(A) * (B.double() @ A.double())
"""
IN_PLACE = """
def merge(weight, A, B, alpha):
    weight += alpha / len(A) * B @ A
    return weight
"""
NEVER_RAISES = """
def find_targets(names, targets):
    return [n for n in names if any(f'.{n}'.endswith(f'.{t}') for t in targets)]
"""
START = "def lora_start(d_in, d_out, r):\n    return {A}, torch.zeros(d_out, r)"

CLASS = {
    # all right, and run by Jupyter
    "as-the-solution": HandedIn(AUTOMATIC),
    "timed": HandedIn(AUTOMATIC, {"lora_forward": "%%time\n" + F}),
    "captured": HandedIn(AUTOMATIC, {"lora_forward": "%%capture seen\n" + F}),
    "asks-for-help": HandedIn(AUTOMATIC, {"lora_forward": F + "\ntorch.zeros?\n?torch.ones"}),
    "lists-files": HandedIn(AUTOMATIC, {"lora_forward": "files = !ls\nif True:\n    !ls\n" + F}),
    "line-magics": HandedIn(
        AUTOMATIC, {"lora_forward": "%matplotlib inline\n%load_ext autoreload\n%time x = 1\n" + F}
    ),
    "displays": HandedIn(AUTOMATIC, {"lora_forward": "display(1)\n" + F + "display(math.pi)"}),
    "imports-display": HandedIn(
        AUTOMATIC, {"lora_forward": "from IPython.display import display, Markdown\n" + F}
    ),
    "awaits": HandedIn(
        AUTOMATIC, {"lora_forward": "import asyncio\nawait asyncio.sleep(0)\n" + F}
    ),
    "annotates": HandedIn(AUTOMATIC, {"lora_forward": ANNOTATED}),
    "helper-below": HandedIn(
        AUTOMATIC,
        {"lora_forward": F.replace("alpha / A.shape[0]", "scaled(A, alpha)")},
        helper_below,
    ),
    "helper-overwritten": HandedIn(
        AUTOMATIC,
        {"lora_forward": F.replace("alpha /", "factor * alpha /")},
        helper_overwritten_below,
    ),
    "no-metadata": HandedIn(AUTOMATIC, change=without_ids),
    "split-cell": HandedIn(AUTOMATIC, change=split_cell),
    "one-cell": HandedIn(AUTOMATIC, change=moved_to_one_cell),
    "25-MB-of-pictures": HandedIn(AUTOMATIC, change=pictures),
    "played-below": HandedIn(AUTOMATIC, change=played_below),
    "experiment-hangs": HandedIn(AUTOMATIC, change=slow_experiment),
    "optimizer": HandedIn(AUTOMATIC, {"train_lora": TRAINS_WITH_ADAMLIKE_IMPORT}),
    "own-exception": HandedIn(AUTOMATIC, {"find_targets": SUBCLASS}),
    "counts-by-function": HandedIn(AUTOMATIC, {"my_counts": COUNTS}),
    "writes-a-module": HandedIn(
        AUTOMATIC,
        {"lora_forward": "%%writefile mine.py\n" + F, "merge": None},
        lambda made: made["cells"].insert(
            place(made, "count_lora"),
            code_cell(
                "from mine import lora_forward\ndef merge(weight, A, B, alpha):\n"
                "    return lora_forward(torch.eye(weight.shape[1]), weight, A, B, alpha).T"
            ),
        ),
    ),
    "prints-much": HandedIn(AUTOMATIC, {"merge": PRINTS}),
    "floats-for-counts": HandedIn(
        AUTOMATIC, {"my_counts": COUNTS.replace("return {name: ", "return {name: 1.0 * ")}
    ),
    "in-float64": HandedIn(AUTOMATIC, {"merge": IN_FLOAT64}),
    # follow-up mistakes
    "forward-wrong-once": HandedIn(
        AUTOMATIC - 2,
        {"lora_forward": BROKEN_FORWARD, "train_lora": TRAINS_WITH_FORWARD},
        says="Judged with a right `lora_forward`",
    ),
    "forward-unwritten": HandedIn(
        AUTOMATIC - 2,
        {"lora_forward": UNWRITTEN.format(name="lora_forward"), "train_lora": TRAINS_WITH_FORWARD},
        says="Judged with a right `lora_forward`",
    ),
    "count-wrong-once": HandedIn(
        AUTOMATIC - 3,
        {"count_lora": "def count_lora(*given, **named):\n    return 1", "my_counts": COUNTS},
        says="Judged with a right `count_lora`",
    ),
    # partly right
    "one-count-wrong": HandedIn(AUTOMATIC - 0.33, {"my_counts": ONE_WRONG_COUNT}),
    "one-bug-missed": HandedIn(AUTOMATIC - 0.5, {"diagnose": BLIND_TO_TWICE}),
    "no-error-raised": HandedIn(
        AUTOMATIC - 0.5,
        {"find_targets": NEVER_RAISES},
        says="Raise a ValueError",
    ),
    "merges-in-place": HandedIn(
        AUTOMATIC - 1,
        {"merge": IN_PLACE},
        says="changes the weight",
    ),
    "start-unscaled": HandedIn(
        AUTOMATIC - 1,
        {"lora_start": START.format(A="torch.randn(r, d_in)")},
        says="randn without a scale",
    ),
    "one-step-only": HandedIn(
        AUTOMATIC - 2,
        {"train_lora": TRAINS_WITH_FORWARD.replace("range(steps)", "range(1)")},
    ),
    # nothing for nothing
    "start-not-random": HandedIn(
        AUTOMATIC - 2,
        {"lora_start": START.format(A="torch.ones(r, d_in) / d_in")},
    ),
    "all-healthy": HandedIn(
        AUTOMATIC - 3, {"diagnose": "def diagnose(record):\n    return 'healthy'"}
    ),
    "unwritten": HandedIn(
        1,
        {t.name: UNWRITTEN.format(name=t.name) for t in EXERCISE.tasks if t.name != "my_counts"},
        says="not written yet",
    ),
    "syntax-error-in-one": HandedIn(
        AUTOMATIC - 2,
        {"merge": "def merge(weight, A, B, alpha)\n    return weight"},
        says="SyntaxError",
    ),
    "experiment-exits": HandedIn(
        AUTOMATIC,
        change=lambda made: made["cells"].append(code_cell("exit()\nimport os\nos._exit(1)")),
    ),
}  # fmt: skip
