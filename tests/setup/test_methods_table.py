"""The README's table of methods says what the code does."""

import pytest

from minipeft.methods import METHODS
from scripts import methods_table

from .project import ROOT


def test_the_table_is_up_to_date():
    """Formulas are worked out and merges tried on the way."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert methods_table.readme(text) == text, "run python scripts/methods_table.py"


def test_no_method_and_no_paper_is_missing():
    rows = methods_table.rows()
    assert {row.config.peft_type for row in rows} == set(METHODS)
    files = (ROOT / "minipeft" / "methods").glob("*.py")
    papers = {path for path in files if "Trained: " in path.read_text(encoding="utf-8")}
    shared = {"soft_prompt", "hard_concrete", "lora_plus"}  # parts of methods, and an optimizer
    assert {row.file for row in rows} == {path for path in papers if path.stem not in shared}


def test_a_wrong_formula_is_found(monkeypatch):
    rows = methods_table.rows()
    rows[0].count = "r * d_in * d_out"
    monkeypatch.setattr(methods_table, "rows", lambda: rows)
    with pytest.raises(AssertionError, match="LoRA: r"):
        methods_table.table()


def test_a_readme_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="lacks"):
        methods_table.readme("# minipeft")
