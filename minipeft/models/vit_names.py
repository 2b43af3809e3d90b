"""One set of names for a ViT's tensors, whichever class or version wrote them."""

import re
from collections.abc import Iterable

# transformers 5 calls these layers otherwise; the numbers are the same.
OLD_NAMES = {
    r"\blayers\.(\d+)\.": r"encoder.layer.\1.",
    r"\battention\.q_proj\.": "attention.attention.query.",
    r"\battention\.k_proj\.": "attention.attention.key.",
    r"\battention\.v_proj\.": "attention.attention.value.",
    r"\battention\.o_proj\.": "attention.output.dense.",
    r"\bmlp\.fc1\.": "intermediate.dense.",
    r"\bmlp\.fc2\.": "output.dense.",
}


def our_names(names: Iterable[str]) -> dict[str, str]:
    """For each tensor's name in a file, its name here.

    A bare ViTModel's tensors lie below `vit.`, where the classifier has them. Its pooler, which
    no classifier reads, is left out.
    """
    result = {}
    for name in names:
        ours = name
        for new, old in OLD_NAMES.items():
            ours = re.sub(new, old, ours)
        if not ours.startswith(("vit.", "classifier.")):
            ours = f"vit.{ours}"
        if not ours.startswith("vit.pooler."):
            result[name] = ours
    return result
