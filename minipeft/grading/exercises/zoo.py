"""What every bug zoo needs: its cases, and the answers that name one bug for all."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from ..tasks import Cases


def every_twice(
    generator: np.random.Generator,
    specimen: Callable[[np.random.Generator, str], object],
    bugs: Sequence[str],
) -> Cases:
    """Every specimen twice, in a random order."""
    return [[specimen(generator, str(bug))] for bug in generator.permutation([*bugs] * 2)]


def always(bug: str, record: object) -> str:
    """One name for every specimen."""
    return bug


def misnamed(diagnose: Callable[[dict], str], names: Mapping[str, str], record: dict) -> str:
    """The right diagnosis, but for the bugs that get another's name: {found: called}."""
    found = diagnose(record)
    return names.get(found, found)


def one_name_for_all(bugs: Sequence[str]) -> list[Callable[[object], str]]:
    """The trivial answers of a zoo: they look at nothing."""
    return [partial(always, bug) for bug in bugs]
