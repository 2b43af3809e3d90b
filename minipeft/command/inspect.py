"""Does a published adapter fit a base? Read from the two configs, before anything is loaded.

    python -m minipeft inspect ADAPTER --base BASE [--json]

ADAPTER is an adapter's folder or its adapter_config.json, BASE a model's folder or its config.json.
The exit status is 0 where the adapter fits and 1 where it doesn't.

On forgetting it says what has been published, by rank, and predicts nothing: the measure of
Biderman et al. 2024, "LoRA Learns Less and Forgets Less" (section 4.2), the mean accuracy of
Llama-2-7B on HellaSwag, ARC-challenge and WinoGrande after it learned something else.
"""

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from minipeft.core.adapter import layers_for
from minipeft.core.config import NOTES_OF_PEFT, LayerConfig, PeftConfig
from minipeft.core.disk import read_json
from minipeft.core.errors import nearest
from minipeft.core.linear import is_linear
from minipeft.core.meta_adapter import meta_adapter
from minipeft.core.patterns import matches
from minipeft.core.target_checks import without_unmatched_names
from minipeft.core.targets import HEADS, unmatched_names
from minipeft.interop.files import CONFIG, UNREAD, WEIGHTS
from minipeft.interop.loading import load_tensors
from minipeft.methods import METHODS
from minipeft.methods.lora import LoraConfig
from minipeft.shapes.architectures import Architecture

OK, NOTE, WRONG = "ok", "note", "wrong"
LFS = b"version https://git-lfs"  # how a Git LFS pointer begins
ROWS_ARE_LABELS = (
    "score.weight",
    "classifier.weight",
    "classifier.out_proj.weight",
    "qa_outputs.weight",
)
Shapes = dict[str, tuple[int, ...]]  # of a file's tensors, by name


@dataclass
class Finding:
    """One thing that was looked at. verdict: "ok", "note" (look at it) or "wrong" (won't work)."""

    subject: str
    verdict: str
    text: str


@dataclass
class Inspection:
    """All findings, and for LoRA the published evidence on forgetting at its rank."""

    findings: list[Finding] = field(default_factory=list)
    forgetting: dict[str, Any] | None = None

    @property
    def fits(self) -> bool:
        """Whether nothing was found that keeps the adapter from working on this base."""
        return all(finding.verdict != WRONG for finding in self.findings)

    def add(self, subject: str, verdict: str, text: str) -> None:
        self.findings.append(Finding(subject, verdict, text))

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"fits": self.fits, **dataclasses.asdict(self)}

    def table(self) -> str:
        """The findings a line each, then the evidence with its sources."""
        lines = [f"{f.verdict:<6}{f.subject:<12}{f.text}" for f in self.findings]
        if self.forgetting is not None:
            low, high = self.forgetting["range"]
            lines.append(
                f"{NOTE:<6}{'forgetting':<12}published: LoRA kept {low:.3f} to {high:.3f} more of "
                f"the old tasks' mean accuracy than full fine-tuning; {self.forgetting['remark']}"
            )
            lines += [f"{'':<18}[{n}] {s}" for n, s in enumerate(self.forgetting["sources"], 1)]
        return "\n".join(
            [*lines, "The adapter fits." if self.fits else "The adapter does not fit."]
        )


def inspect_adapter(
    adapter_config: dict[str, Any] | str | Path, base_config: dict[str, Any] | str | Path
) -> Inspection:
    """Compare an adapter with a base: method, fields, base, targets, shapes, scale, embeddings.

    What loading would do is tried out on the meta device: shapes without numbers.

    adapter_config: its fields, its adapter_config.json, or its folder (then the file of weights is
    looked at as well: names and shapes, no values). base_config: the fields of a config.json, its
    path, or its folder. Raises FileNotFoundError, and ValueError for what is no JSON object or a
    base of an unknown architecture; what is wrong with the adapter is a finding.
    """
    report = Inspection()
    fields, shapes = read_adapter_fields(report, adapter_config)
    base = base_config if isinstance(base_config, dict) else read_json(base_config)
    architecture = read_architecture(report, base)
    config = check_fields(report, fields)
    check_base(report, fields, base)
    if config is None:
        return report
    model = check_head(report, config, architecture, shapes).model
    if isinstance(config, LoraConfig):
        check_scale(report, config)
    if isinstance(config, LayerConfig):
        check_targets(report, config, model)
    check_embeddings(report, config, model, shapes)
    if report.fits:
        check_shapes(report, config, model, shapes)
    return report


def read_adapter_fields(
    report: Inspection, source: dict[str, Any] | str | Path
) -> tuple[dict[str, Any], Shapes | None]:
    """The fields of an adapter's config, and the shapes of the tensors in its file, if any."""
    if isinstance(source, dict):
        return source, None
    fields, path = read_json(source, CONFIG), Path(source)
    weights = (path if path.is_dir() else path.parent) / WEIGHTS
    if not weights.is_file():
        if weights.with_suffix(".bin").is_file():
            text = "adapter_model.bin is a pickle, which can run code, and isn't loaded here"
            report.add("file", WRONG, f"{text}; convert it to {WEIGHTS}")
        return fields, None
    if weights.open("rb").read(len(LFS)) == LFS:
        raise ValueError(f"{weights} is a Git LFS pointer, not the tensors: run 'git lfs pull'")
    try:
        with safe_open(weights, framework="pt") as file:
            names = list(file.keys())
            read = [name for name in names if not any(part in name for part in UNREAD)]
            return fields, {name: tuple(file.get_slice(name).get_shape()) for name in read}
    except SafetensorError as error:
        raise ValueError(f"{weights} is damaged or not safetensors: {error}") from error


def read_architecture(report: Inspection, base: dict[str, Any]) -> Architecture:
    """The base's architecture; where its class isn't known, the usual one of its family."""
    try:
        return Architecture.from_config(base)
    except ValueError as error:
        if not base.get("architectures"):
            raise
        usual = Architecture.from_config(base | {"architectures": None})
        report.add("base", NOTE, f"{error}: taken for a {usual.model_type} with {usual.head}")
        return usual


def check_head(
    report: Inspection, config: PeftConfig, architecture: Architecture, shapes: Shapes | None
) -> Architecture:
    """The architecture with the head that the adapter's task needs, and as many labels as it has.

    A base that has this head already keeps its own labels.
    """
    task = config.task_type
    if task in (None, architecture.head) or task not in architecture.shape.tasks:
        return architecture  # a task that is no head of this family: the base's own stays
    rows = [shape[0] for name, shape in (shapes or {}).items() if name.endswith(ROWS_ARE_LABELS)]
    if task not in HEADS or not rows:
        return architecture.but(head=task)
    text = f"the adapter brings a head of {rows[-1]} labels: load the base with num_labels="
    report.add("head", NOTE, f"{text}{rows[-1]}")
    return architecture.but(head=task, num_labels=rows[-1])


def check_fields(report: Inspection, fields: dict[str, Any]) -> PeftConfig | None:
    """The config, its unknown fields being reported; None for an unknown method."""
    method = fields.get("peft_type")
    if method not in METHODS:
        report.add(
            "method", WRONG, f"peft_type={method!r} is not known; {nearest(method, METHODS)}"
        )
        return None
    known = {option.name for option in dataclasses.fields(METHODS[method])}
    strange = sorted(fields.keys() - known - NOTES_OF_PEFT - {"peft_type"})
    for name in (name for name in strange if fields[name]):
        text = f"{name}={fields[name]!r} is not known here, and would change the numbers"
        report.add("fields", WRONG, f"{text}; {nearest(name, known)}")
    if off := [name for name in strange if not fields[name]]:
        report.add("fields", NOTE, f"not known here, but off: {', '.join(off)}")
    try:
        config = METHODS[method].from_dict({name: fields[name] for name in fields.keys() & known})
    except (ValueError, TypeError) as error:
        report.add("fields", WRONG, str(error))
        return None
    report.add("method", OK, f"{method}, {METHODS[method].__name__} here")
    return config


def check_base(report: Inspection, fields: dict[str, Any], base: dict[str, Any]) -> None:
    """Whether the adapter names this base. Names are compared by their last part."""
    wanted, given = fields.get("base_model_name_or_path"), base.get("_name_or_path")
    if not wanted or not given:
        missing = "the adapter" if not wanted else "the base"
        told = f" (the adapter was trained on {wanted})" if wanted else ""
        report.add("base", NOTE, f"{missing} doesn't say its name{told}: shapes alone are compared")
    elif last_part(wanted) == last_part(given):
        report.add("base", OK, f"trained on {wanted}")
    else:
        report.add("base", NOTE, f"trained on {wanted}, but this base calls itself {given}")


def last_part(name: str) -> str:
    """The name of a model without its owner or folder."""
    return name.rstrip("/").rpartition("/")[2].lower()


def check_scale(report: Inspection, config: LoraConfig) -> None:
    """What B A x is multiplied by, and what is published on forgetting at this rank."""
    divisor = f"sqrt({config.r})" if config.use_rslora else f"{config.r}"
    scale = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
    patterns = [name for name in ("rank_pattern", "alpha_pattern") if getattr(config, name)]
    other = f"; other values for some layers in {' and '.join(patterns)}" if patterns else ""
    text = f"{config.lora_alpha} / {divisor} = {scale:.4g} times B A x{other}"
    report.add("scale", OK, text)
    report.forgetting = forgetting_evidence(config.r)


def check_targets(report: Inspection, config: LayerConfig, model: nn.Module) -> None:
    """Whether the names in the config are in the base."""
    modules = dict(model.named_modules(remove_duplicate=False))
    lost = list(unmatched_names(modules, config))
    linear = {path.rpartition(".")[2] for path, module in modules.items() if is_linear(module)}
    for option, name in lost:
        text = f"{option}={name!r} matches nothing in this base; {nearest(name, linear)}"
        report.add("targets", WRONG if option == "target_modules" else NOTE, text)
    if not any(option == "target_modules" for option, _ in lost):
        report.add("targets", OK, f"{config.target_modules!r}")


def check_embeddings(
    report: Inspection, config: PeftConfig, model: nn.Module, shapes: Shapes | None
) -> None:
    """Whether tokens were added to the base before the adapter was trained."""
    modules = dict(model.named_modules(remove_duplicate=False))
    tables = {path for path, module in modules.items() if isinstance(module, nn.Embedding)}
    head = model.get_output_embeddings()
    tables |= {path for path, module in modules.items() if module is head}
    for path in sorted(tables):
        rows = modules[path].weight.shape[0]
        place = f"{config.file_prefix}{path}"
        own, frozen = (
            (shapes or {}).get(f"{place}{end}") for end in (".weight", ".base_layer.weight")
        )
        found = own or frozen
        if found and found[0] != rows:
            text = f"{path} has {found[0]} rows in the adapter's file and {rows} in the base"
            report.add("embeddings", WRONG, f"{text}: resize_token_embeddings({found[0]}) first")
        elif matches(path, list(getattr(config, "modules_to_save", None) or [])):
            same = "as many rows as the base" if found else f"the base has {rows} rows"
            report.add("embeddings", OK if found else NOTE, f"{path} is trained and saved; {same}")
        elif frozen:
            text = f"the file has the weight under the adapter on {path}, as peft writes it"
            report.add("embeddings", NOTE, f"{text}: it loads where the base's own has its numbers")
        elif own:
            text = f"the file has {path}, with as many rows as the base"
            report.add("embeddings", NOTE, f"{text}: other numbers are loaded as modules_to_save")


def check_shapes(
    report: Inspection, config: PeftConfig, model: nn.Module, shapes: Shapes | None
) -> None:
    """Whether the adapter can be loaded on this base: its file's tensors have the right shapes."""
    config = replace(config, inference_mode=True)
    try:
        adapter = meta_adapter(model, config, new=False)
        if shapes is not None:
            with torch.device("meta"):
                load_tensors(adapter, {name: torch.empty(shape) for name, shape in shapes.items()})
    except (ValueError, TypeError) as error:
        report.add("shapes", WRONG, str(error))
        return
    added = adapter.count()[1]
    seen = f"{len(shapes)} tensors" if shapes else "no file of weights was given; the config alone"
    report.add("shapes", OK, f"{seen}; {added:,} parameters are added to the base")
    if shapes is None and isinstance(config, LayerConfig):
        try:
            layers_for(model, without_unmatched_names(model, config), new=True)
        except ValueError as error:
            report.add("shapes", NOTE, f"it loads, but a new one would be refused: {error}")


@dataclass(frozen=True)
class Measured:
    """One published pair: the mean accuracy that was left, with LoRA and with full fine-tuning."""

    rank: int
    task: str
    lora: float
    full: float

    @property
    def kept(self) -> float:
        """What LoRA kept beyond full fine-tuning, in points of accuracy between 0 and 1."""
        return round(self.lora - self.full, 3)


MEASURED = (
    Measured(64, "instruction tuning on code", lora=0.509, full=0.414),
    Measured(256, "continued pretraining on 20B tokens of code", lora=0.617, full=0.545),
)
SOURCES = (
    "Biderman et al. 2024, LoRA Learns Less and Forgets Less, section 4.2: Llama-2-7B, mean "
    "accuracy on HellaSwag, ARC-challenge and WinoGrande after learning code",
    "Kalajdzievski 2024, Scaling Laws for Forgetting (arXiv 2401.05605): LoRA still forgets, more "
    "with more trained parameters and more steps, and no choice of either avoids it",
    "Shuttleworth et al. 2024, LoRA vs Full Fine-tuning (arXiv 2410.21228): LoRA forgets less than "
    "full fine-tuning; what it forgets is due to new singular directions of the weights",
)


def forgetting_evidence(rank: int) -> dict[str, Any]:
    """The published range of what LoRA keeps beyond full fine-tuning, and where `rank` lies.

    rank: of the adapter. Returns rank, range (low, high), measured (each point), remark, sources.
    """
    ranks = [point.rank for point in MEASURED]
    kept = [point.kept for point in MEASURED]
    if rank in ranks:
        remark = f"measured at r={rank}, on one model and one task"
    elif rank < min(ranks):
        remark = f"r={rank} is below all measured ranks; the nearest is r={min(ranks)}"
    elif rank > max(ranks):
        remark = f"r={rank} is above all measured ranks; the nearest is r={max(ranks)}"
    else:
        remark = f"r={rank} lies between the measured ranks {min(ranks)} and {max(ranks)}"
    return {
        "rank": rank,
        "range": (min(kept), max(kept)),
        "measured": [vars(point) | {"kept": point.kept} for point in MEASURED],
        "remark": remark + "; other data, models and steps give other numbers",
        "sources": list(SOURCES),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m minipeft inspect`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("adapter", help="an adapter's folder, or its adapter_config.json")
    parser.add_argument("--base", required=True, help="a model's folder, or its config.json")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")


def main(options: argparse.Namespace) -> int:
    """Print what was found; 0 where the adapter fits, 1 where not, 2 where it can't be read."""
    try:
        report = inspect_adapter(options.adapter, options.base)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(report.to_dict(), indent=2) if options.json else report.table())
    return 0 if report.fits else 1
