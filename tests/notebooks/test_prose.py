"""Numbers in a lesson's text are numbers that the lesson printed.

As far as a test can see: a number with three or more significant digits must stand in some
output or in the code, rounded as the text likes. Left out are formulas, code, links, years, arXiv
numbers, the references, and what a text cell lists in its metadata under "numbers", which is for
figures quoted from a publication.
"""

import re

import pytest

from tests.notebooks.reading import LESSONS, code, code_cells, named, read, texts

NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w]|\.\d)")
NOT_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|<!--.*?-->|<[^>]+>|\]\([^)]*\)|https?://\S+",
    flags=re.DOTALL,
)
ARXIV = re.compile(r"\d{4}\.\d{4,5}")


def value(text: str) -> float:
    return float(text.replace(",", ""))


def significant_digits(text: str) -> int:
    mantissa = re.split("[eE]", text)[0]
    return len(re.sub(r"\D", "", mantissa).lstrip("0"))


def claims(source: str) -> list[str]:
    """The numbers in a text that have to come from somewhere."""
    found = [n.rstrip(",") for n in NUMBER.findall(NOT_PROSE.sub(" ", source))]
    return [
        number
        for number in found
        if significant_digits(number) >= 3
        and not ARXIV.fullmatch(number)
        and not re.fullmatch(r"(19|20)\d\d", number)
    ]


def numbers(text: str) -> set[float]:
    return {value(n.rstrip(",")) for n in NUMBER.findall(text)}


def supported(claim: str, known: set[float]) -> bool:
    """Whether one of the known numbers rounds to the claim."""
    decimals = len(claim.split(".")[1]) if "." in claim and "e" not in claim.lower() else 0
    step = 10.0**-decimals if "e" not in claim.lower() else 0.01 * value(claim)
    return any(abs(number - value(claim)) <= 0.501 * step for number in known)


@pytest.mark.parametrize("path", LESSONS, ids=named)
def test_numbers_in_the_text_were_printed(path):
    notebook = read(path)
    printed = [text for cell in code_cells(notebook) for text in texts(cell)]
    known = set().union(*(numbers(text) for text in [*printed, code(notebook)]))
    unsupported = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "## References" not in cell.source:
            quoted = {value(str(number)) for number in cell.metadata.get("numbers", [])}
            unsupported += [
                (cell.id, claim)
                for claim in claims(cell.source)
                if not supported(claim, known | quoted)
            ]
    assert not unsupported, "print them, or list quoted ones in the cell's metadata"


def test_claims_are_found():
    text = "In 2021, 25,330 of 29,554 (`r=512`, $d=768$) at 1.06, [a](http://x/1234), 2106.09685."
    assert claims(text) == ["25,330", "29,554", "1.06"]


@pytest.mark.parametrize(
    ("claim", "number", "expected"),
    [
        ("1.06", 1.0649, True),
        ("1.06", 1.0661, False),
        ("25,330", 25330, True),
        ("25,330", 25331, False),
        ("110", 110.3, True),
    ],
)
def test_rounding_is_allowed_and_nothing_more(claim, number, expected):
    assert supported(claim, {number}) is expected
