"""Is a merged model as fast as the bare base?

    python -m benchmarks.merged_forward [--device cuda] [--out results.json]

It should be: the same products. What is left after `merge_adapter` is one more Python call for each
layer; after `merge_and_unload`, nothing.
"""

from collections.abc import Iterator

from benchmarks.adapters import LORA, pair
from benchmarks.models import LARGE, SMALL, Forward
from benchmarks.record import Options, Row, main, timed


def rows(options: Options) -> Iterator[Row]:
    """Each size, merged in both ways, against a base that never had an adapter."""
    for size in options.sizes(SMALL, LARGE):
        place, tokens = options.place, options.place.tokens(size)
        merged, _ = pair(place.twins(size), **LORA)
        merged.merge_adapter()
        unloaded = pair(place.twins(size), **LORA)[0].merge_and_unload()
        models = {"merged": merged, "unloaded": unloaded, "bare base": place.llama(size)}
        times = options.turns({name: Forward(model, tokens) for name, model in models.items()})
        for how, name in (("merge_adapter", "merged"), ("merge_and_unload", "unloaded")):
            what = f"Forward after {how}, {size}"
            yield timed(what, times, "bare base", 1.02, 1.00, ours=name)


if __name__ == "__main__":
    main("merged_forward", rows, __doc__)
