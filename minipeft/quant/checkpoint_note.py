"""The entry config.quantization_config of a transformers model with layers in four bits.

`save_pretrained` writes the tensors under bitsandbytes' names (bnb_format.py); this
entry says that `from_pretrained` has to read them as such, and which linear layers are dense.
"""

from typing import Any

from torch import nn

from minipeft.core.linear import is_4bit, is_linear
from minipeft.quant.linear4bit import Linear4bit


def note_quantization(model: nn.Module) -> None:
    """Write config.quantization_config anew, for the layers in four bits that the model has now.

    A model without such layers loses the entry; one without `save_pretrained` gets none.
    """
    config = getattr(model, "config", None)
    if not (hasattr(model, "save_pretrained") and hasattr(config, "to_dict")):
        return
    layers = [module for module in model.modules() if is_4bit(module)]
    ours = [layer for layer in layers if isinstance(layer, Linear4bit)]
    dense = [
        path for path, module in model.named_modules() if is_linear(module) and not is_4bit(module)
    ]
    note = getattr(config, "quantization_config", None)
    if not layers and note is not None:
        del config.quantization_config
    elif isinstance(note, dict):
        note["llm_int8_skip_modules"] = dense
    elif note is not None:  # transformers' own BitsAndBytesConfig
        note.llm_int8_skip_modules = dense
    elif ours:
        config.quantization_config = described(ours[0]) | {"llm_int8_skip_modules": dense}


def described(layer: Linear4bit) -> dict[str, Any]:
    """The fields of transformers' BitsAndBytesConfig for a layer of ours."""
    quantized = layer.quantized
    return {
        "quant_method": "bitsandbytes",
        "load_in_4bit": True,
        "bnb_4bit_quant_type": quantized.quant_type,
        "bnb_4bit_use_double_quant": quantized.offset is not None,
        "bnb_4bit_compute_dtype": str(layer.compute_dtype or quantized.dtype)[len("torch.") :],
        "bnb_4bit_quant_storage": "uint8",
    }
