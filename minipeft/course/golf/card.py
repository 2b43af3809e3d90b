"""The score card of an entry: what its FILE does on a fresh base, on texts that nobody has seen.

The texts are drawn from a seed that is made of the file's own bytes. So they can be drawn again by
everybody, and not before the file is finished: whoever trains on them has another file, and with it
other texts. (Who hands in many files may take the luckiest; a teacher adds a word of their own.)
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from minipeft import PeftModel
from minipeft.core.disk import atomic_write_all
from minipeft.course.base import load_base
from minipeft.course.batches import floor, make_batches
from minipeft.course.lab.train import evaluate
from minipeft.course.lessons.run_log import fingerprint, of_base
from minipeft.course.world import World
from minipeft.interop.files import CONFIG, WEIGHTS

from .entry import Entry, Refused, entry_of, read_entry, read_files
from .holes import HOLES, Hole

LENGTH = 64  # tokens of the text whose FLOPs are counted
SAME = 0.02  # nats by which the file and the model that wrote it may differ


@dataclass(frozen=True)
class Card:
    """What an entry scores.

    numbers: in the file. bytes: of the folder. flops: for a token, beyond the base's own; matrix
    products alone, over a text of 64 tokens. above: loss on the fresh texts, nats above their
    floor. own: that on the base's own world. digest: of the files.
    """

    name: str
    hole: str
    method: str
    numbers: int
    bytes: int
    flops: int
    above: float
    own: float
    digest: str
    folder: str = ""  # where the files lie

    @property
    def within(self) -> bool:
        """Whether it reaches the hole's bound."""
        return self.above <= HOLES[self.hole].bound

    @property
    def under_par(self) -> int:
        """Strokes under par."""
        return HOLES[self.hole].under_par(self.numbers)

    def __str__(self) -> str:
        """All of it in two narrow lines."""
        reached = "in" if self.within else f"not within {HOLES[self.hole].bound:g}"
        return (
            f"{self.name}: {self.above:.1f} above the floor ({reached}), own world {self.own:.1f}\n"
            f"  {self.numbers:,} numbers, {self.bytes:,} bytes, {self.flops:,} FLOPs more a token, "
            f"{self.under_par} under par"
        )


def score(folder: str | Path, hole: Hole, name: str = "", word: str = "") -> Card:
    """The card of the entry in a folder.

    word: a teacher's own, which changes the texts. Raises Refused for an entry against the rules.
    """
    return score_files(read_files(Path(folder)), hole, name, str(folder), word)


def score_files(
    contents: Mapping[str, bytes], hole: Hole, name: str = "", folder: str = "", word: str = ""
) -> Card:
    """The card of the entry that these files are. Raises as `score`."""
    entry = entry_of(contents)
    measured = measure(put_on(load_base()[0], entry), hole, entry.digest, word)
    return Card(
        name=name or str.__str__(entry.config.peft_type),
        hole=hole.name,
        method=str.__str__(entry.config.peft_type),
        numbers=entry.numbers,
        bytes=entry.bytes,
        digest=entry.digest,
        folder=folder,
        **measured,
    )


def put_on(base: nn.Module, entry: Entry) -> PeftModel:
    """A base with an entry on it. Raises Refused where a tensor is missing, spare or of no fit."""
    try:
        return PeftModel(base, entry.config, tensors=entry.tensors).eval()
    except (TypeError, ValueError) as error:
        raise Refused(f"the base can't take the file: {error}") from error


def measure(model: nn.Module, hole: Hole, digest: str, word: str = "") -> dict[str, float | int]:
    """Loss on the texts that belong to a digest, loss on the own world, FLOPs."""
    batches, lowest = hole.texts(seed_of(digest, hole, word))
    own, own_floor = own_world()
    return {
        "flops": flops_of(model) - base_flops(),
        "above": evaluate(model, batches) - lowest,
        "own": evaluate(model, own) - own_floor,
    }


def seed_of(digest: str, hole: Hole, word: str = "") -> int:
    """The seed of an entry's texts."""
    return int(hashlib.sha256(f"{hole.name} {word} {digest}".encode()).hexdigest()[:15], 16)


@cache
def own_world() -> tuple[list, float]:
    """Texts of the base's own world, and their floor."""
    texts = World(seed=0).documents(128, seed=10**9)
    batches = make_batches(load_base()[1], texts, batch_size=16)
    return batches, floor(texts, batches)


@torch.no_grad()
def flops_of(model: nn.Module) -> int:
    """FLOPs of the matrix products for a token of a text of 64, two to a multiplication."""
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, LENGTH, dtype=torch.long))
    return counter.get_total_flops() // LENGTH


@cache
def base_flops() -> int:
    """Of the base alone."""
    return flops_of(load_base()[0])


@cache
def base_fingerprint() -> str:
    """Of the weights that ship with the course."""
    return fingerprint(load_base()[0].state_dict())


def hand_in(
    model: PeftModel, hole: Hole, name: str, folder: str | Path | None = None, word: str = ""
) -> Card:
    """Write the active adapter of a model to a folder, and give the card of what was written.

    folder: a temporary one by default. Raises Refused where the base was changed, or where the file
    does not do what the model does.
    """
    check_base(model)
    place = Path(folder or tempfile.mkdtemp(prefix="golf"))
    model.save_pretrained(place, selected_adapters=[model.active_adapter])
    if model.active_adapter != "default":
        place = place / model.active_adapter
    card = score(place, hole, name, word)
    check_same(model, put_on(load_base()[0], read_entry(place)), hole.texts(seed=0, n=64)[0])
    return card


def check_same(model: nn.Module, read: nn.Module, batches: list) -> None:
    """Raise Refused unless the model read from the file does what the one in memory does."""
    in_memory, in_file = evaluate(model, batches), evaluate(read, batches)
    if abs(in_memory - in_file) > SAME:
        raise Refused(
            f"the loss of the file is {in_file:.2f} and that of the model in memory "
            f"{in_memory:.2f}: something that was trained is not in the file; allowed is a "
            f"difference of {SAME}"
        )


def check_base(model: PeftModel) -> None:
    """Raise Refused unless a model is an adapter on the course's own base, bit for bit."""
    if not isinstance(model, PeftModel):
        raise Refused(
            f"the model is a {type(model).__name__}; allowed is what get_peft_model returns"
        )
    if of_base(model) == base_fingerprint():
        return
    fresh = load_base()[0].state_dict()
    with model.disable_adapter():
        held = model.get_base_model().state_dict()
        other = [n for n in fresh if n not in held or not torch.equal(fresh[n], held[n].cpu())]
    other += sorted(held.keys() - fresh.keys())
    raise Refused(
        f"the base was changed: tensors that are not those of the course: {len(other)}, the first "
        f"of them {other[0]!r}; allowed is the base as load_base() gives it, frozen"
    )


def in_fewer_bits(folder: str | Path, dtype: torch.dtype, into: str | Path) -> Path:
    """The same entry with its tensors in another dtype, say torch.bfloat16, in a new folder."""
    entry = read_entry(folder)
    tensors = {name: tensor.to(dtype) for name, tensor in entry.tensors.items()}
    into = Path(into)
    atomic_write_all(
        {
            into / WEIGHTS: safetensors.torch.save(tensors, metadata={"format": "pt"}),
            into / CONFIG: (Path(folder) / CONFIG).read_bytes(),
        }
    )
    return into


def to_json(card: Card) -> bytes:
    """A card as it is kept; where the files lie is not part of it."""
    return (json.dumps(asdict(card) | {"folder": ""}, indent=1) + "\n").encode()
