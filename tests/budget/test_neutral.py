"""The calculators know no method: what can be attached can be counted and budgeted."""

from pathlib import Path

import minipeft
from minipeft.methods import METHODS

PACKAGE = Path(minipeft.__file__).parent


def test_no_file_of_the_calculators_names_a_method():
    """What papers print about one stands in discrepancies.toml."""
    configs = {config.__name__ for config in METHODS.values()}
    files = [file for folder in ("budget", "shapes") for file in (PACKAGE / folder).glob("*.py")]
    assert len(files) > 15
    for file in files:
        text = file.read_text("utf-8")
        for name in [*(f'"{method}"' for method in METHODS), *configs]:
            assert name not in text, (file.name, name)
