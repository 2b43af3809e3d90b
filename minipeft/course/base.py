"""The base model that ships with the course: 1.8 million parameters, pretrained on the world."""

from importlib import resources

from tokenizers import Tokenizer

from minipeft.models.llama import Llama, load_pretrained

DATA = resources.files("minipeft.course") / "data"


def load_base() -> tuple[Llama, Tokenizer]:
    """The pretrained model in float32, ready to be trained on, and its tokenizer.

    Each call gives a model of its own. `scripts/pretrain.py` made the weights from
    `World(seed=0)`; `data/pretraining.json` records how, and how close to the floor they are.
    """
    with resources.as_file(DATA) as folder:
        return load_pretrained(folder), load_tokenizer()


def load_tokenizer() -> Tokenizer:
    """The base model's tokenizer alone."""
    return Tokenizer.from_str((DATA / "tokenizer.json").read_text(encoding="utf-8"))
