"""Glossary, notation and bibliography say what the notebooks say, no more and no less."""

import dataclasses
import html.parser
import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest

from minipeft.course import reference
from minipeft.course.reference import bibliography, citations, glossary, look_up, notation, table

ROOT = Path(__file__).resolve().parents[2]
# Students have no solutions; exercises hold the same sources, so both are read where they are.
FOLDERS = [ROOT / name for name in ("notebooks", "solutions", "exercises")]
RECORDS = {"glossary": glossary(), "notation": notation(), "bibliography": bibliography()}


@pytest.fixture(scope="module")
def texts():
    """The prose of every lesson, its exercise with it."""
    return reference.lesson_texts(*FOLDERS)


def cells(*kinds):
    """{"03": the sources of the cells of these kinds of lesson 03}."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))["cells"]
        chosen = ["".join(cell["source"]) for cell in notebook if cell["cell_type"] in kinds]
        found[path.name[:2]] = chosen
    return found


def in_a_line(texts):
    return " ".join("\n\n".join(texts).replace("*", "").split())


@pytest.fixture(scope="module")
def sources():
    """The prose and the code of every lesson."""
    return {lesson: in_a_line(texts) for lesson, texts in cells("markdown", "code").items()}


@pytest.fixture(scope="module")
def equations():
    """The prose of every lesson, and its formulas."""
    return {
        lesson: (in_a_line(texts), " ".join(map(formulas, texts)))
        for lesson, texts in cells("markdown").items()
    }


@pytest.mark.parametrize("name", RECORDS)
def test_keys_are_in_order_and_every_sentence_is_one(name):
    keys = list(tomllib.loads((ROOT / f"minipeft/course/reference/{name}.toml").read_text("utf-8")))
    assert keys == sorted(keys, key=str.casefold)
    for record in RECORDS[name]:
        for told in (getattr(record, "meaning", "A."), str(record)):
            assert told == " ".join(told.split())
            assert "  " not in told
        assert getattr(record, "meaning", "A.")[-1] in ".?)"


def test_no_word_means_two_things():
    named = [name.casefold() for one in glossary() for name in dict.fromkeys((one.term, *one.also))]
    assert sorted(set(named)) == sorted(named)
    signs = [one.symbol for one in notation()]
    assert {one.symbol for one in glossary()} - {""} <= set(signs)
    assert len({one.title for one in bibliography() if one.year}) == len(
        [one for one in bibliography() if one.year]
    )


def missing_terms(terms, sources):
    """Terms that do not occur in the lesson that they name."""
    return [
        one.term
        for one in terms
        if not any(occurs(name, sources.get(one.lesson, "")) for name in (one.term, *one.also))
    ]


def occurs(name, text):
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def formulas(text):
    """All formulas of a text cell, without words inside them; a sign of money in code is none."""
    prose = re.sub(r"```.*?```|`[^`]*`", " ", text, flags=re.DOTALL)
    found = " ".join(re.findall(r"\$\$?(.+?)\$\$?", prose, re.DOTALL))
    return re.sub(r"\\(?:text|mathrm|operatorname)\{[^}]*\}", " ", found)


def unused_symbols(symbols, equations):
    """Symbols that a lesson which they name does not use, as (symbol, lesson)."""
    return [
        (one.symbol, lesson)
        for one in symbols
        for lesson in (one.lesson, *one.elsewhere)
        if not is_written(one, *equations.get(lesson, ("", "")))
    ]


def is_written(symbol, prose, found):
    if not symbol.latex:  # a unit
        return occurs(symbol.symbol, prose)
    if len(symbol.latex) == 1:  # a letter: not one of a command, nor of an index in words
        return symbol.latex in re.sub(r"\\[A-Za-z]+|_\{[A-Za-z]{2,}\}", " ", found)
    return re.search(re.escape(symbol.latex) + r"(?![A-Za-z])", found) is not None


def test_each_term_occurs_in_its_lesson(sources):
    assert missing_terms(glossary(), sources) == []


def test_each_symbol_is_used_where_it_says(equations):
    assert unused_symbols(notation(), equations) == []


def test_every_word_of_pefts_is_pefts():
    package = Path(importlib.util.find_spec("peft").origin).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    words = {one.peft.partition("=")[0] for one in glossary()} - {""}
    assert len(words) > 30
    assert [word for word in sorted(words) if not occurs(word, code)] == []


def test_each_work_is_cited_and_each_citation_is_listed(texts):
    assert reference.disagreements(texts) == []
    assert {lesson for one in bibliography() for lesson in one.lessons} == set(texts)


def test_mentions_of_all_kinds_are_found(texts):
    seen = [one.words for lesson in texts for one in citations.mentions(texts[lesson])]
    for words in (
        *("2106.09685", "https://arxiv.org/abs/2106.09685", "Hu et al. (2021", "issue 23530"),
        *("Eckart and Young, 1936", "Hayou, Ghosh, Yu (2024", "Kalajdzievski, 2023"),
        *("Li and others (2018", "Ben Zaken et al., 2022", "LoRA Without Regret (2025"),
    ):
        assert any(words in one for one in seen), words
    assert len(seen) > 400


def without(key):
    return [one for one in bibliography() if one.key != key]


def changed(key, **fields):
    return [dataclasses.replace(o, **fields) if o.key == key else o for o in bibliography()]


@pytest.mark.parametrize(
    ("works", "complaint"),
    [
        (without("2106.09685"), "lesson 03 cites '2106.09685', which is not listed"),
        (without("shannon-1948"), "lesson 00 cites 'C. E. Shannon"),
        (without("eckart-young-1936"), "lesson 12 cites 'Eckart and Young, 1936'"),
        (without("peft-432"), "lesson 06 cites 'issue 432'"),
        (without("transformers-gpu-memory"), "lesson 01 cites \"transformers' documentation"),
        (changed("2312.03732", year=2024), "lesson 03 cites 'Kalajdzievski (2023'"),
        (changed("2110.04366", authors="K. He and others"), None),
        (changed("2110.04366", authors="J. Her and others"), "lesson 07 cites 'He et al."),
        (changed("2310.19698", lessons=("08", "09")), "2310.19698: names lessons ('08', '09')"),
        (changed("2405.09673", lessons=("01",)), "and ('01', '02', '03'"),
        (changed("vllm-lora", url="https://docs.vllm.ai"), None),
        (changed("vllm-lora", url="https://docs.vllm.ai/en/lates"), "vllm-lora: names lessons"),
    ],
)
def test_what_is_wrong_is_told(texts, works, complaint):
    told = reference.disagreements(texts, works)
    assert (told == []) if complaint is None else any(complaint in one for one in told)


@pytest.mark.parametrize(
    "added",
    [
        "See arXiv 1706.03762.",
        "as Vaswani et al. say",
        "(Vaswani et al., 2017)",
        "Vaswani and Shazeer (2017) do so.",
        "Hu et al. (2020) do so.",
        "see [here](https://example.com/paper)",
        "(peft issue 4321)",
        "\n\n## References\n\n- A. Vaswani, *Attention*",
        "\n\nSource: A. Vaswani, *Attention*.",
    ],
)
def test_a_citation_that_is_new_is_told(texts, added):
    told = reference.disagreements(texts | {"03": f"{texts['03']} {added}"})
    assert told
    assert all("lesson 03 cites" in one for one in told)


@pytest.mark.parametrize(
    "added", ["In May 2024 it was so.", "1234.56789 nats", "arXiv 2106.09685 again", "LoRA 2 wins"]
)
def test_what_is_no_new_citation_is_passed_over(texts, added):
    assert reference.disagreements(texts | {"03": f"{texts['03']} {added}"}) == []


def test_a_term_or_a_symbol_in_the_wrong_lesson_is_told(sources, equations):
    shard, hat = look_up("shard"), look_up("Ŵ")
    assert missing_terms([dataclasses.replace(shard, lesson="03")], sources) == ["shard"]
    assert missing_terms([dataclasses.replace(shard, lesson="99")], sources) == ["shard"]
    moved = dataclasses.replace(hat, lesson="03", elsewhere={"11": "another", "12": "a third"})
    assert unused_symbols([moved], equations) == [("Ŵ", "03"), ("Ŵ", "12")]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("rank", "rank"),
        ("Rank", "rank"),
        (" SVD ", "singular value decomposition"),
        ("lora_alpha", "alpha"),
        ("FSDP2", "FSDP2"),
        ("fully_shard", "FSDP2"),
    ],
)
def test_a_word_is_looked_up(word, found):
    assert look_up(word).term == found


def test_symbols_and_works_are_looked_up_too():
    assert look_up("B").shape == "d_out x r"
    assert look_up("b").symbol == "b"
    assert look_up("W_0") == look_up("W0")
    assert look_up("2106.09685").title.startswith("LoRA:")
    assert look_up("LoRA Without Regret").year == 2025
    for one in (*glossary(), *notation(), *bibliography()):
        if one not in notation() or one.latex:  # units are terms, too
            assert look_up(one.names[0]) == one


def test_a_word_that_is_not_there_gets_the_nearest():
    with pytest.raises(ValueError, match=r"look_up\('rnak'\): no such .* nearest: 'rank'"):
        look_up("rnak")
    with pytest.raises(ValueError, match=r"look_up\(3\): no such term, symbol or work; "):
        look_up(3)
    with pytest.raises(ValueError, match="choose from"):
        look_up("")


class Cells(html.parser.HTMLParser):
    """The headers and the links of a table."""

    def __init__(self, page):
        super().__init__()
        self.scopes, self.links, self.open = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.scopes += [dict(attrs)["scope"]] if tag == "th" else []
        self.links += [dict(attrs)["href"]] if tag == "a" else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_shown_as_a_table(shown, name):
    records = RECORDS[name]
    table(records, name)
    [(bundle, _)] = shown.bundles
    lines = bundle["text/plain"].splitlines()
    assert lines[0] == f"{name} ({len(records)})"
    assert [line.strip() for line in lines[1:]] == [str(record) for record in records]
    page = Cells(bundle["text/html"])
    assert page.scopes.count("row") == len(records)
    assert page.scopes.count("col") >= 3
    assert page.links == [record.url for record in records if getattr(record, "url", "")]


def test_a_single_record_is_unfolded_and_signs_are_escaped(shown):
    table([dataclasses.replace(look_up("rank"), meaning="a < b & c")], "One")
    page = shown.bundles[0][0]["text/html"]
    assert '<details class="minipeft-table" open>' in page
    assert "a &lt; b &amp; c" in page


@pytest.mark.parametrize(
    ("records", "kinds"),
    [([], "nothing"), ([*glossary()[:1], *notation()[:1]], "Symbol, Term"), (["a"], "str")],
)
def test_other_things_are_no_table(records, kinds):
    with pytest.raises(ValueError, match=rf"table\(records\) of {kinds}; give terms"):
        table(records, "Things")
