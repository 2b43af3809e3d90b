"""What lesson 13 computes of many adapters behind one base: bytes, files, what a server takes.

A step is one new token for each request of a batch. Reading the weights is most of its time on a
GPU, so bytes read stand for it:

    one by one   sum over requests of (base + its adapter)
    by adapter   sum over distinct adapters of (base + adapter)
    mixed        base + sum over distinct adapters

The last is what the kernels of Punica (Chen et al. 2023, arXiv 2310.18547) and S-LoRA (Sheng et
al. 2023, arXiv 2311.03285) reach for; a simpler one that copies a pair for each request reads more.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from minipeft import inspect_adapter
from minipeft.budget import Architecture
from minipeft.command.inspect import Inspection
from minipeft.core.errors import check_choice
from minipeft.core.meta_adapter import meta_adapter
from minipeft.course.base import DATA
from minipeft.methods import METHODS
from minipeft.several.mixed import BASE

WAYS = ("one by one", "by adapter", "mixed")
RANKS_OF_VLLM = 16  # max_lora_rank where nothing else is said
NEEDED_BY_VLLM = ("r", "lora_alpha", "target_modules")


def passes(way: str, names: Sequence[str]) -> list[list[int]]:
    """Which requests share a pass through the model, for one of WAYS.

    names: the adapter that each request asks for. Raises ValueError for another way.
    """
    check_choice("way", way, list(WAYS))
    everyone = list(range(len(names)))
    if way == "mixed":
        return [everyone]
    if way == "one by one":
        return [[i] for i in everyone]
    return [[i for i in everyone if names[i] == name] for name in dict.fromkeys(names)]


def bytes_read(way: str, base: int, adapters: Mapping[str, int], names: Sequence[str]) -> int:
    """Bytes of weights that one step of a batch reads: each pass the base and its adapters once.

    base, adapters: bytes of the base, and of each adapter by name. names: as in `passes`; BASE is
    the base alone. Raises ValueError for another way, KeyError for an adapter that isn't there.
    """
    sizes = {BASE: 0, **adapters}
    groups = passes(way, names)
    return sum(base + sum(sizes[name] for name in {names[i] for i in rows}) for rows in groups)


def milliseconds(call: Callable[[], object], tries: int = 10) -> float:
    """The time of the quickest of some calls."""
    took = []
    for _ in range(tries):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return 1000 * min(took)


def weighed(
    W0: Mapping[str, Tensor], updates: Sequence[Mapping[str, Tensor]], weights: Sequence[float]
) -> dict[str, Tensor]:
    """W0 + sum_i w_i D_i of each layer, (out, in), exactly."""
    pairs = list(zip(weights, updates, strict=True))
    return {path: W + sum(w * D[path] for w, D in pairs) for path, W in W0.items()}


@dataclass(frozen=True)
class Published:
    """An adapter_config.json that stands in a public place, and the sizes of its base.

    name: ours. source: the kind of place. base: the base's name. config, base_config: the fields.
    """

    name: str
    source: str
    base: str
    config: dict[str, Any]
    base_config: dict[str, Any]

    def inspect(self) -> Inspection:
        """What `inspect_adapter` says of it on its own base."""
        return inspect_adapter(self.config, self.base_config)

    def added(self) -> int | None:
        """How many numbers it adds to its base; None where it can't be put on it."""
        kind = METHODS.get(self.config["peft_type"])
        if kind is None:
            return None
        known = {option.name for option in fields(kind)} & self.config.keys()
        config = kind.from_dict({name: self.config[name] for name in known})
        base = Architecture.from_config(self.base_config).but(head=config.task_type)
        try:
            return meta_adapter(
                base.model, replace(config, inference_mode=True), new=False
            ).count()[1]
        except ValueError:
            return None


def published_adapters() -> list[Published]:
    """The dozen of data/published_adapters.json."""
    held = json.loads((DATA / "published_adapters.json").read_text(encoding="utf-8"))
    return [
        Published(**one, base_config=held["bases"][one["base"]] | {"_name_or_path": one["base"]})
        for one in held["adapters"]
    ]


def refused_by_vllm(config: Mapping[str, Any], max_lora_rank: int = RANKS_OF_VLLM) -> list[str]:
    """Why vLLM would not take an adapter with this config; empty where its check lets it pass.

    The rules are those of `PEFTHelper` in vLLM's vllm/lora/peft_helper.py, as read in 2026: other
    versions have others. The file of weights and the base's architecture are looked at later.
    """
    missing = [name for name in NEEDED_BY_VLLM if name not in config]
    if missing:
        return [f"no {name}" for name in missing]
    reasons = []
    if config.get("modules_to_save"):
        reasons.append("modules_to_save")
    if config.get("use_dora"):
        reasons.append("DoRA")
    if config["r"] > max_lora_rank:
        reasons.append(f"rank {config['r']} > {max_lora_rank}")
    if config.get("bias", "none") != "none":
        reasons.append("biases")
    return reasons


def commands(base: str, adapters: Mapping[str, str], r: int) -> dict[str, list[str]]:
    """How two servers are started on a base with these adapters, {"server": its command}.

    base: a model's name or folder. adapters: {name: folder}. r: the largest rank.
    Options as in vLLM's and SGLang's documentation of LoRA, read in 2026; SGLang gives the bare
    base a place of its own in a batch.
    """
    named = [f"{name}={folder}" for name, folder in adapters.items()]
    vllm = ["vllm", "serve", base, "--enable-lora", "--lora-modules", *named]
    sglang = ["python", "-m", "sglang.launch_server", "--model-path", base, "--enable-lora"]
    return {
        "vLLM": [*vllm, "--max-loras", str(len(named)), "--max-lora-rank", str(r)],
        "SGLang": [*sglang, "--lora-paths", *named, "--max-loras-per-batch", str(len(named) + 1)],
    }
