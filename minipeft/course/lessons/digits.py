"""Lesson 16's images: scikit-learn's digits, a small ViT for them, and its adaptation.

    split = Digits(seed=0)                    # digits 0 to 5 are old, 6 to 9 are new
    base = pretrained(split)                  # a ViT that has seen the old digits alone
    model = adapted(base, "lora", seed=0)     # with a fresh head for the new ones
    fit(model, *split.few(20), rate=1e-2, seed=0)
    accuracy(model, *split.new_test), old_accuracy(model, base.classifier, split)

Images are (count, 1, 8, 8), pixels from -1 to 1; labels are int64 and count from zero within the
old and within the new digits. Source of the images: UCI's test set of "Optical Recognition of
Handwritten Digits" (Alpaydin and Kaynak 1998), as in `sklearn.datasets.load_digits`.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.core.errors import nearest
from minipeft.methods.bitfit import BitFitConfig
from minipeft.methods.lora import LoraConfig
from minipeft.methods.partial import PartialConfig
from minipeft.model import get_peft_model
from minipeft.models.vit import ViT, ViTConfig, ViTModel

OLD = 6  # the digits 0 to 5
NEW = 10 - OLD
VALIDATION, MOST = 40, 80  # images of each new digit: to choose a rate with, to train on
SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 8,
    "patch_size": 2,
    "num_channels": 1,
}
HEAD = ["classifier"]
# The four methods; each trains the new head as well. "full" needs no adapter.
CONFIGS = {
    "lora": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["query", "key", "value", "dense"],
        modules_to_save=HEAD,
    ),
    "bitfit": BitFitConfig(modules_to_save=HEAD),
    "head": PartialConfig(modules_to_save=HEAD),
}
METHODS = ("full", *CONFIGS)
Labelled = tuple[Tensor, Tensor]  # images (count, 1, 8, 8), labels (count,)


class Digits:
    """The 1,797 images in the random order of a seed, split by their digit and by their use.

    Attributes:
        old_train, old_test: of the old digits, four fifths and one fifth.
        new_test, new_validation: of the new ones, never trained on.
    """

    def __init__(self, seed: int) -> None:
        images, labels = digits()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        images, labels, self.seed = images[order], labels[order], seed
        is_old = labels < OLD
        old, cut = (images[is_old], labels[is_old]), int(is_old.sum()) * 4 // 5
        self.old_train, self.old_test = [tuple(t[s] for t in old) for s in _halves(cut)]
        self._new = images[~is_old], labels[~is_old] - OLD
        self.new_validation = self._of_each(MOST, MOST + VALIDATION)
        self.new_test = self._of_each(MOST + VALIDATION, None)

    def few(self, count: int) -> Labelled:
        """Training images, the first `count` of each new digit.

        Raises ValueError for more than are set aside for training.
        """
        if not 0 < count <= MOST:
            raise ValueError(f"count={count} images of each digit; there are 1 to {MOST}")
        return self._of_each(0, count)

    def _of_each(self, first: int, last: int | None) -> Labelled:
        images, labels = self._new
        chosen = [(labels == digit).nonzero().flatten()[first:last] for digit in range(NEW)]
        places = torch.cat(chosen)
        return images[places], labels[places]


def _halves(cut: int) -> tuple[slice, slice]:
    return slice(cut), slice(cut, None)


def digits() -> Labelled:
    """All images and the digit that each shows, in scikit-learn's order."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = torch.tensor(data.images, dtype=torch.float32)  # (count, 8, 8), from 0 to 16
    return scaled(pixels)[:, None], torch.tensor(data.target, dtype=torch.int64)


def scaled(pixels: Tensor) -> Tensor:
    """Pixels from 0 to 16 as numbers from -1 to 1."""
    return pixels / 8 - 1


def pretrained(split: Digits, steps: int = 400, positions: bool = True) -> ViT:
    """A ViT trained from scratch on the old digits; without `positions` it has none to learn."""
    model = fresh(OLD, split.seed)
    if not positions:
        embeddings = model.vit.embeddings
        nn.init.zeros_(embeddings.position_embeddings)
        embeddings.position_embeddings.requires_grad_(False)
    fit(model, *split.old_train, rate=4e-3, seed=split.seed, steps=steps)
    return model.requires_grad_(True)


def fresh(labels: int, seed: int) -> ViT:
    """A ViT of random weights for so many labels."""
    torch.manual_seed(seed)
    return ViT(ViTConfig(**SIZES, num_labels=labels))


def adapted(base: ViT, method: str, seed: int) -> nn.Module:
    """A copy of the base with a random new head for the new digits, and a method on it.

    method: one of METHODS.

    Raises ValueError for another one.
    """
    if method not in METHODS:
        raise ValueError(f"no method {method!r} in lesson 16; {nearest(method, METHODS)}")
    model = with_new_head(base, seed)
    return model if method == "full" else get_peft_model(model, CONFIGS[method])


def with_new_head(base: ViT, seed: int) -> ViT:
    """A copy of the base with a random classifier for the new digits."""
    torch.manual_seed(seed)
    model = copy.deepcopy(base)
    model.classifier = nn.Linear(base.config.hidden_size, NEW)
    model.vit.initialize(model.classifier)
    return model


def fit(model, images, labels, rate: float, seed: int, steps: int = 100, batch: int = 32) -> None:
    """Train what is trainable: cross entropy, AdamW, batches drawn at random, a falling rate."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    draws = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20) * (1 - 0.9 * step / steps)
        rows = torch.randint(len(labels), (batch,), generator=draws)
        loss = F.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def accuracy(model, images: Tensor, labels: Tensor) -> float:
    """The share of images whose largest logit is the right one."""
    return float((model(images).argmax(1) == labels).float().mean())


@torch.no_grad()
def loss(model, images: Tensor, labels: Tensor) -> float:
    """Mean cross entropy in nats."""
    return float(F.cross_entropy(model(images), labels))


def body(model: nn.Module) -> ViTModel:
    """What lies below the head, with whatever adapter is active on it."""
    return next(module for module in model.modules() if isinstance(module, ViTModel))


def old_accuracy(model: nn.Module, old_head: nn.Linear, split: Digits) -> float:
    """What is left of the old digits: the old head reads the adapted body."""
    return accuracy(lambda images: old_head(body(model)(images)[:, 0]), *split.old_test)


@torch.no_grad()
def size(model: nn.Module, base: ViT) -> float:
    """||W - W0|| / ||W0|| over all numbers of the body, biases and norms among them."""
    model = copy.deepcopy(model)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    before = torch.cat([p.flatten() for p in base.vit.parameters()])
    tuned = dict(model.vit.named_parameters())
    after = torch.cat([tuned[name].flatten() for name, _ in base.vit.named_parameters()])
    return float((after - before).norm() / before.norm())


def trained(model: nn.Module) -> int:
    """How many numbers require a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
