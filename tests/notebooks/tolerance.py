"""Lets nbval accept measured numbers that differ a little, as they do between processors.

A number with a decimal point or an exponent is a measurement. It agrees within RELATIVE, or one
step of its last printed digit, or TINY: rounding noise in float32. A whole per cent agrees within
two points. Any other whole number is a count, and must be the same.
"""

import copy
import re

from nbval.plugin import IPyNbCell

RELATIVE = 0.05
TINY = 1e-6
POINTS = 2

# With the spaces around it: a column's padding depends on how many digits a number has. A comma
# belongs to a number where three digits follow; elsewhere it separates, as in "100, 200".
NUMBER = re.compile(
    r"(?P<number> *(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
    r"(?P<decimals>\.\d+)?(?P<exponent>[eE][-+]?\d+)?) *(?![\w]|\.\d)(?P<percent>%?)"
)


def agree(reference: re.Match, computed: re.Match) -> bool:
    """Whether two printed numbers say the same."""
    if reference["percent"] != computed["percent"]:
        return False
    left, right = (float(match["number"].replace(",", "")) for match in (reference, computed))
    if _is_whole(reference) and _is_whole(computed):
        return abs(left - right) <= (POINTS if reference["percent"] else 0)
    step = 10.0 ** (1 - len(reference["decimals"] or ".")) if not reference["exponent"] else 0
    return abs(left - right) <= max(RELATIVE * abs(left), 1.001 * step, TINY)


def _is_whole(match: re.Match) -> bool:
    return not (match["decimals"] or match["exponent"])


def borrow(reference: str, computed: str) -> str:
    """The computed text, with the reference's own words for every number that agrees."""
    ours, theirs = list(NUMBER.finditer(reference)), list(NUMBER.finditer(computed))
    if len(ours) != len(theirs):
        return computed  # another shape: nbval shows the difference
    pieces, end = [], 0
    for our, their in zip(ours, theirs, strict=True):
        pieces += [computed[end : their.start()], (our if agree(our, their) else their)[0]]
        end = their.end()
    return "".join([*pieces, computed[end:]])


def _texts(outputs) -> dict[str, list]:
    """The comparable texts of a cell by kind, each as (holder, key), in nbval's order."""
    found: dict[str, list] = {}
    for output in outputs:
        if output["output_type"] == "stream":
            found.setdefault(output["name"], []).append((output, "text"))
        for kind in output.get("data", {}):
            if isinstance(output["data"][kind], str) and not kind.startswith("image/"):
                found.setdefault(kind, []).append((output["data"], kind))
    return found


def _compare_with_tolerance(self, test, ref, skip_compare=None):
    test, ref = copy.deepcopy(test), copy.deepcopy(ref)
    computed, reference = _texts(test), _texts(ref)
    for kind in computed.keys() & reference.keys():
        for (mine, key), (theirs, _) in zip(computed[kind], reference[kind], strict=False):
            theirs[key] = self.sanitize(theirs[key])
            mine[key] = borrow(theirs[key], self.sanitize(mine[key]))
    return _compare_exactly(self, test, ref, skip_compare)


_compare_exactly = IPyNbCell.compare_outputs


def install() -> None:
    """Make nbval compare this way in this process."""
    IPyNbCell.compare_outputs = _compare_with_tolerance
