"""What `count` and `memory` share on the command line: a model, a method and its options."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from minipeft.core.config import PeftConfig
from minipeft.core.errors import nearest
from minipeft.methods import METHODS

# Name on the command line -> the config's peft_type, its presets, and the option that --r sets.
NAMES: dict[str, tuple[str | None, dict[str, Any], str | None]] = {
    "full": (None, {}, None),
    "lora": ("LORA", {}, "r"),
    "dora": ("LORA", {"use_dora": True}, "r"),
    "adalora": ("ADALORA", {"total_step": 1000, "target_r": 1}, "init_r"),
    "vera": ("VERA", {}, "r"),
    "ia3": ("IA3", {}, None),
    "houlsby": ("BOTTLENECK", {"style": "houlsby"}, "bottleneck_size"),
    "pfeiffer": ("BOTTLENECK", {"style": "pfeiffer"}, "bottleneck_size"),
    "parallel": ("BOTTLENECK", {"style": "parallel"}, "bottleneck_size"),
    "bitfit": ("BITFIT", {}, None),
    "diff-pruning": ("DIFF_PRUNING", {}, None),
    "partial": ("PARTIAL", {}, None),
    "prompt": ("PROMPT_TUNING", {}, None),
    "prefix": ("PREFIX_TUNING", {}, None),
    "p-tuning": ("P_TUNING", {}, None),
}


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the method, and --json."""
    parser.add_argument("model", help="a model's name, such as llama-7b, or a config.json")
    parser.add_argument("--method", default="full", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--r", type=int, help="the rank, or an adapter's bottleneck")
    parser.add_argument("--targets", help="names with commas between them, or all-linear")
    parser.add_argument("--tokens", type=int, help="how many virtual tokens a prompt has")
    parser.add_argument("--task", help="SEQ_CLS, CAUSAL_LM, ...: which head the model has")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other option of the method's config, such as use_rslora=true",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")


def config_of(options: argparse.Namespace) -> PeftConfig | None:
    """The config that the options ask for. Raises ValueError and TypeError as configs do."""
    if options.method not in NAMES:
        raise ValueError(
            f"--method {options.method!r} is not known; {nearest(options.method, NAMES)}"
        )
    kind, fields, rank = NAMES[options.method]
    fields = fields | dict(map(setting, options.set))
    given = {"target_modules": targets(options.targets), "num_virtual_tokens": options.tokens}
    given["task_type"] = options.task
    if options.r is not None and rank is None:
        raise ValueError(f"--r {options.r} means nothing to the method {options.method!r}")
    given[rank or ""] = options.r
    fields |= {name: value for name, value in given.items() if value is not None}
    if kind is None:
        if fields:
            raise ValueError(f"{', '.join(fields)}: full fine-tuning has no options; give --method")
        return None
    return METHODS[kind](**fields)


def targets(text: str | None) -> list[str] | str | None:
    """q_proj,v_proj -> a list of names."""
    if text is None or text == "all-linear":
        return text
    return [name.strip() for name in text.split(",")]


def setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, with the value as JSON or else as a string. Raises ValueError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"--set {text!r} must be NAME=VALUE, such as use_rslora=true")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def report(make: Callable[[], str]) -> int:
    """Print what `make` gives, or the error that it raises. Returns an exit status."""
    try:
        print(make())
    except (OSError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
