"""Write the table of methods into README.md: `python scripts/methods_table.py`.

Each row is asked of the code: the paper stands in the docstring of the method's file, a formula is
worked out on a real layer, a merge is tried on a small model, and peft's own register says whether
it reads the files. --check changes nothing and says whether the README's table is out of date.
"""

import argparse
import ast
import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftType
from torch import nn

import minipeft
from minipeft.core.config import PeftConfig
from minipeft.core.disk import atomic_write
from minipeft.core.layer import NotMergeable
from minipeft.methods import dora, lora, pissa
from minipeft.models.llama import Llama, LlamaConfig

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- methods: made by scripts/methods_table.py -->", "<!-- end of methods -->"
HEAD = "| Method | Trained | Numbers | Merges | Files open in | Paper | Code |"
D_IN, D_OUT, D, L, R, N, H = 12, 20, 12, 2, 3, 5, 7  # of the layer and model that are counted


@dataclass
class Row:
    """One method. count: a formula in d_in, d_out, d, r, n, L, h for what `config` trains."""

    name: str
    config: PeftConfig
    trained: str
    count: str
    remark: str = ""
    module: object = None  # where the paper is, if not where the config is

    @property
    def file(self) -> Path:
        return Path(inspect.getfile(self.module or type(self.config)))

    @property
    def paper(self) -> str:
        """The first paper that the file names: its authors and year."""
        text = " ".join(ast.get_docstring(ast.parse(self.file.read_text("utf-8"))).split())
        return re.search(r"(?:[A-Z]\w+ )?[A-Z]\w+(?:, \w+)* (?:et al\.|(?:&|and) \w+) \d{4}", text)[
            0
        ]

    @property
    def formula(self) -> str:
        return f"{self.count.replace(' * ', ' ')}{self.remark}"


UP = ["up_proj"]  # the layer (D_OUT, D_IN) of `model()`


def rows() -> list[Row]:
    """Every method, in the order of the course."""
    return [*low_rank(), *beside_and_inside(), *soft()]


def low_rank() -> list[Row]:
    """LoRA and its relatives."""
    return [
        Row(
            "LoRA",
            minipeft.LoraConfig(r=R, target_modules=UP),
            "A, B",
            "r * (d_in + d_out)",
            module=lora,
        ),
        Row(
            "DoRA",
            minipeft.LoraConfig(r=R, use_dora=True, target_modules=UP),
            "A, B, magnitude m",
            "r * (d_in + d_out) + d_out",
            module=dora,
        ),
        Row(
            "PiSSA",
            minipeft.LoraConfig(r=R, init_lora_weights="pissa", target_modules=UP),
            "A, B, from W's singular vectors",
            "r * (d_in + d_out)",
            module=pissa,
        ),
        Row(
            "AdaLoRA",
            minipeft.AdaLoraConfig(init_r=R, target_r=2, total_step=9, target_modules=UP),
            "A, E, B; ranks fall",
            "r * (d_in + d_out + 1)",
        ),
        Row(
            "VeRA",
            minipeft.VeraConfig(r=R, target_modules=UP),
            "vectors d, b; A, B are random",
            "r + d_out",
        ),
    ]


def beside_and_inside() -> list[Row]:
    """What scales or adds activations, and what trains the base's own numbers."""
    return [
        Row(
            "(IA)³",
            minipeft.IA3Config(target_modules=UP, feedforward_modules=[]),
            "a factor for each output",
            "d_out",
            " (d_in in the MLP)",
        ),
        Row(
            "Bottleneck adapters",
            minipeft.BottleneckConfig(style="houlsby", bottleneck_size=R),
            "down, up and their biases",
            "2 * d * r + r + d",
        ),
        Row("BitFit", minipeft.BitFitConfig(target_modules=UP), "biases", "d_out"),
        Row(
            "Diff pruning",
            minipeft.DiffPruningConfig(target_modules=UP),
            "a sparse difference and its gates",
            "2 * d_in * d_out + 1",
            ", few in the end",
        ),
        Row(
            "Partial fine-tuning",
            minipeft.PartialConfig(last_layers=0, norms=True),
            "the last blocks, or the norms",
            "(2 * L + 1) * d",
            " (Llama's norms)",
        ),
    ]


def soft() -> list[Row]:
    """Learned vectors before the text."""
    return [
        Row(
            "Prompt tuning",
            minipeft.PromptTuningConfig(num_virtual_tokens=N),
            "vectors before the text",
            "n * d",
        ),
        Row(
            "P-tuning",
            minipeft.PromptEncoderConfig(num_virtual_tokens=N, encoder_hidden_size=H),
            "vectors and their encoder",
            "n * d + 2 * d * h + h * h + 2 * h + d",
        ),
        Row(
            "Prefix tuning, P-tuning v2",
            minipeft.PrefixTuningConfig(num_virtual_tokens=N),
            "keys and values of each layer",
            "2 * n * L * d",
            " (d of keys and values)",
        ),
    ]


def model() -> nn.Module:
    """A Llama of L blocks of width D, whose up_proj is (D_OUT, D_IN)."""
    torch.manual_seed(0)
    return Llama(LlamaConfig(9, D, D_OUT, L, 2, 2))


def trained(row: Row) -> int:
    """What the method trains on one layer, or on the whole model where it isn't about layers."""
    adapted = minipeft.get_peft_model(model(), row.config)
    layers = len(adapted.adapters["default"].layers) or 1
    return adapted.get_nb_trainable_parameters()[0] // layers


def worked_out(row: Row) -> int:
    """What the row's formula says of the same."""
    sizes = {"d_in": D_IN, "d_out": D_OUT, "d": D, "r": R, "n": N, "L": L, "h": H}
    return eval(row.count, {"__builtins__": {}}, sizes)


def merges(row: Row) -> bool:
    """Whether merging works; it is tried."""
    try:
        minipeft.get_peft_model(model(), row.config).merge_and_unload()
    except NotMergeable:
        return False
    return True


def table() -> str:
    """The table in Markdown, each row checked against the code."""
    lines = [HEAD, "|---|---|---|---|---|---|---|"]
    for row in rows():
        if (said := worked_out(row)) != (found := trained(row)):
            raise AssertionError(f"{row.name}: {row.count} is {said}, but {found} are trained")
        peft = "peft" if row.config.peft_type in PeftType.__members__ else "minipeft"
        code = row.file.relative_to(ROOT).as_posix()
        lines.append(
            f"| {row.name} | {row.trained} | {row.formula} "
            f"| {'yes' if merges(row) else 'no'} | {peft} | {row.paper} "
            f"| [{row.file.name}]({code}) |"
        )
    return "\n".join(lines)


def readme(text: str) -> str:
    """README.md with the table of now. Raises ValueError where its two marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks {BEGIN!r} or {END!r}, between which the table stands")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status, 1 where --check finds an old table."""
    parser = argparse.ArgumentParser(description="Write the table of methods into README.md.")
    parser.add_argument("--check", action="store_true", help="only say whether it is out of date")
    options = parser.parse_args(arguments)
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = readme(old)
    if options.check:
        print("README.md is up to date" if new == old else "README.md: the table is out of date")
        return int(new != old)
    atomic_write(path, new.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
