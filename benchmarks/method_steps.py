"""How long is a training step of AdaLoRA, VeRA, (IA)^3 and prefix tuning, beside peft's?

    python -m benchmarks.method_steps [--device cuda] [--out results.json]

AdaLoRA's step includes its penalty and the allocation of ranks, here in every tenth step.
"""

from collections.abc import Iterator

from benchmarks.adapters import pair
from benchmarks.models import LINEAR, SMALL, Step, check_same
from benchmarks.record import Options, Row, main, timed

METHODS = {
    "AdaLoRA": (
        "AdaLoraConfig",
        {"init_r": 12, "target_r": 8, "tinit": 5, "deltaT": 10, "total_step": 10_000}
        | {"target_modules": LINEAR, "init_lora_weights": False},
    ),
    "VeRA": ("VeraConfig", {"r": 256, "target_modules": LINEAR, "init_weights": False}),
    "IA3": (
        "IA3Config",
        {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
        | {"init_ia3_weights": False},
    ),
    "Prefix tuning": ("PrefixTuningConfig", {"num_virtual_tokens": 20}),
}


def rows(options: Options) -> Iterator[Row]:
    """Each method against peft's."""
    (size,) = options.sizes(SMALL)
    tokens = options.place.tokens(size)
    for method, (config, fields) in METHODS.items():
        ours, theirs = (Step(m, tokens) for m in pair(options.place.twins(size), config, **fields))
        check_same(ours, theirs, options.dtype)
        times = options.turns({"ours": ours, "peft": theirs})
        yield timed(f"{method} step, {size}", times, "peft", 1.00, 0.90)


if __name__ == "__main__":
    main("method_steps", rows, __doc__)
