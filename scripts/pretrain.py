"""Pretrain the base model of the course on documents of the world, and write its folder.

    python scripts/pretrain.py                  # the shipped weights, about half an hour
    python scripts/pretrain.py --steps 20 --out somewhere

Every step sees documents that no other step has seen. The folder is written at regular intervals
and at the end, each time as a whole, so an interrupted run leaves usable weights behind.
"""

import argparse
import json
import math
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save
from tokenizers import Tokenizer

from minipeft.core.disk import atomic_write_all
from minipeft.course.batches import (
    BEGIN,
    END,
    Batch,
    collate,
    count_predictions,
    encode,
    floor,
    make_batches,
)
from minipeft.course.lab.train import evaluate, token_losses
from minipeft.course.world import KINDS, World
from minipeft.course.world.tokenizer import train_tokenizer
from minipeft.models.llama import Llama, LlamaConfig

DATA = Path(__file__).parents[1] / "minipeft" / "course" / "data"
VOCABULARY = 1024
TOKENIZER_DOCUMENTS = 20_000
HELD_OUT_SEED, HELD_OUT_DOCUMENTS = 1_000_003, 4_000
PIECES = 4  # parts of a batch, by length, so that little of it is padding
SAVE_EVERY, PRINT_EVERY = 500, 100


def base_config(tokenizer: Tokenizer) -> LlamaConfig:
    """1.8 million parameters: small enough for two cores, deep enough for the world's facts."""
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(BEGIN),
        eos_token_id=tokenizer.token_to_id(END),
    )


def training_pieces(world: World, tokenizer: Tokenizer, step: int, size: int) -> list[Batch]:
    """One step's documents, cut by length into pieces whose rows are about equally long."""
    texts = [document.text for document in world.documents(size, seed=step)]
    rows = sorted(encode(tokenizer, texts), key=len)
    cuts = [size * i // PIECES for i in range(PIECES + 1)]
    return [collate(rows[a:b]) for a, b in pairwise(cuts) if a < b]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over the first 3%, then half a cosine down to 2% of the peak."""
    warm = max(1, steps * 3 // 100)
    if step < warm:
        return peak * (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    return peak * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)


def train_one_step(model, optimizer, pieces: list[Batch]) -> float:
    """One AdamW step on the mean loss of all pieces; gives that loss."""
    count = count_predictions(pieces)
    optimizer.zero_grad()
    total = 0.0
    for piece in pieces:
        loss = token_losses(model, *piece)[0] / count
        loss.backward()
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return total


def write_folder(folder: Path, model: Llama, tokenizer: Tokenizer, record: dict) -> None:
    """Config, tokenizer, weights and the record of the run: all four or none."""
    tensors = {k: v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    config = {"architectures": ["LlamaForCausalLM"], **model.config.to_dict()}
    atomic_write_all(
        {
            folder / "config.json": (json.dumps(config, indent=2) + "\n").encode(),
            folder / "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
            folder / "model.safetensors": save(tensors, metadata={"format": "pt"}),
            folder / "pretraining.json": (json.dumps(record, indent=2) + "\n").encode(),
        }
    )


def report(model: Llama, tokenizer: Tokenizer, world: World) -> dict:
    """Held-out loss, floor and their ratio, for all kinds of documents and for each."""
    result = {}
    for kind in (None, *world.writers):
        size = HELD_OUT_DOCUMENTS if kind is None else HELD_OUT_DOCUMENTS // 10
        documents = world.documents(size, seed=HELD_OUT_SEED, kind=kind)
        batches = make_batches(tokenizer, sorted(documents, key=lambda d: len(d.text)), 100)
        least, loss = floor(documents, batches), evaluate(model, batches)
        if kind is not None:  # the base has to guess the kind as well, from the first words
            least -= math.log(KINDS[kind]) * len(documents) / count_predictions(batches)
        result[kind or "all"] = {
            "held_out_loss": round(loss, 4),
            "floor": round(least, 4),
            "ratio": round(loss / least, 4),
        }
    return result


def description(options, model: Llama, steps: int, tokens: int, minutes: float) -> dict:
    """How the weights were made."""
    settings = ("seed", "steps", "batch_size", "learning_rate", "threads")
    flags = " ".join(f"--{s.replace('_', '-')} {getattr(options, s)}" for s in settings)
    return {
        "command": f"python scripts/pretrain.py {flags}",
        "seed": options.seed,
        "steps": steps,
        "steps_planned": options.steps,
        "tokens": tokens,
        "minutes": round(minutes, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def pretrain(options: argparse.Namespace) -> None:
    """The whole run."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    world = World(seed=0)
    texts = (d.text for d in world.documents(TOKENIZER_DOCUMENTS, seed=HELD_OUT_SEED + 1))
    tokenizer = train_tokenizer(texts, VOCABULARY)
    model = Llama(base_config(tokenizer))
    # Vectors of length one, far from each other: a token that the world never uses keeps most of
    # its own, and can be told from the others when a downstream task brings it up.
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=model.config.hidden_size**-0.5)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    start, tokens, losses = time.perf_counter(), 0, []
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps, options.learning_rate)
        # seeds of documents never meet those of another run, nor the held-out one
        seed = (options.seed + 1) * 10_000_000 + step
        pieces = training_pieces(world, tokenizer, seed, options.batch_size)
        losses.append(train_one_step(model, optimizer, pieces))
        tokens += count_predictions(pieces)
        done, seconds = step + 1, time.perf_counter() - start
        if done == options.steps or done % PRINT_EVERY == 0:
            mean = sum(losses[-PRINT_EVERY:]) / len(losses[-PRINT_EVERY:])
            print(f"step {done}: loss {mean:.4f}, {tokens / seconds:.0f} tokens/s", flush=True)
        if done == options.steps or done % SAVE_EVERY == 0:
            record = description(options, model, done, tokens, seconds / 60)
            record |= report(model, tokenizer, world)
            print(record["all"], flush=True)
            write_folder(options.out, model, tokenizer, record)


def main(arguments: list[str]) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2800)
    parser.add_argument("--batch-size", type=int, default=128, help="documents for each step")
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="at its peak")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=DATA, help="folder to write")
    pretrain(parser.parse_args(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
