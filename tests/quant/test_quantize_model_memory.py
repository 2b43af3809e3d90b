"""Never two copies: bytes alive at each moment, by the allocator's own ledger."""

import pytest
import transformers
from torch import nn

import minipeft
from minipeft.course.lessons.memory import allocations
from minipeft.models.llama import Llama, LlamaConfig, load_pretrained

SIZE = 64
LAYER = 4 * SIZE * SIZE  # bytes of the largest weight in 32 bits
WORK = 5 * LAYER  # quantizing one weight takes some temporaries of its size
CONFIG = {
    "model_type": "llama",
    "vocab_size": SIZE,
    "hidden_size": SIZE,
    "intermediate_size": SIZE,
    "num_hidden_layers": 16,
    "num_attention_heads": 4,
}


def live_bytes(call, before=lambda: None):
    """What `call` gives back, and the bytes alive during it: at its start, its most, its end.

    before: makes the argument for the call, under the same ledger.
    """
    there = {}

    def make():
        there["given"] = before()

    def work():
        there["result"] = call(there.pop("given"))

    during = allocations({"before": make, "the call": work})["the call"]
    return there["result"], during[0], max(during), during[-1]


def stored(model: nn.Module) -> int:
    tensors = [*model.parameters(), *model.buffers()]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


def dense_llama() -> Llama:
    return Llama(LlamaConfig.from_config(CONFIG))


def test_a_model_in_memory_only_shrinks():
    minipeft.quantize_model(dense_llama())  # makes the tables of levels
    model, start, most, end = live_bytes(minipeft.quantize_model, dense_llama)
    assert start == stored(dense_llama()) > 100 * LAYER
    assert most <= start + WORK  # a second copy of all layers, in 4 bits, is 14 * LAYER
    assert end == stored(model) < 0.16 * start


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of 16 bits in many shards."""
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).bfloat16()
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 20
    return tmp_path


def test_a_checkpoint_never_lies_in_memory_whole(folder):
    shard = max(file.stat().st_size for file in folder.iterdir())  # mapped while a tensor is read
    model, _, most, end = live_bytes(lambda _: minipeft.quantize_model(folder, progress=False))
    assert end == stored(model) < 0.16 * stored(dense_llama())
    assert most <= end + shard + WORK
    model, _, most, end = live_bytes(lambda _: load_pretrained(folder))
    assert end == stored(model) == stored(dense_llama())
    assert most <= end + shard + LAYER  # dense, too, one tensor is read at a time
