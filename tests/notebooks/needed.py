"""Which cells of a lesson another cell needs: those that bind the names that it reads.

The names are taken from the code; nothing runs. A cell too many costs a second, and one too few is
a NameError in the test that asked.
"""

import ast
import symtable
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field


def needed(sources: Sequence[str], wanted: Iterable[int]) -> list[int]:
    """The places of the wanted cells, and of all cells above that these need, in order."""
    cells, found = [names_of(source) for source in sources], set()
    imported = {name for cell in cells for name in cell.imported}
    for cell in cells:
        cell.changed -= imported  # torch.manual_seed(0) makes no other torch
    for cell in wanted:
        found |= _needed_by(cells, cell)
    return sorted(found)


@dataclass
class Names:
    """The names that a cell reads before it binds them, and what it does to others."""

    read: set[str] = field(default_factory=set)
    read_when_called: set[str] = field(default_factory=set)  # by its functions
    bound: set[str] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)  # of objects that it may change


def _needed_by(cells: Sequence[Names], cell: int) -> set[int]:
    found, called = {cell}, set(cells[cell].read_when_called)
    while True:
        before, open_names = set(found), cells[cell].read | called
        for place in range(cell - 1, -1, -1):
            names = cells[place]
            if place in found or open_names & (names.bound | names.changed):
                found.add(place)
                open_names = (open_names - names.bound) | names.read
                called |= names.read_when_called  # it may be bound between here and the call
        if found == before:
            return found


def names_of(source: str) -> Names:
    """What one cell reads, binds and changes."""
    names = Names()
    for statement in ast.parse(source).body:
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
        inside = {name for child in table.get_children() for name in _globals(child)}
        here = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.read_when_called |= inside
        else:
            here |= inside  # a comprehension runs at once, a lambda perhaps
        names.read |= here - names.bound
        names.changed |= set(_changed(statement)) - names.bound
        names.imported |= {s.get_name() for s in table.get_symbols() if s.is_imported()}
        names.bound |= {s.get_name() for s in table.get_symbols() if s.is_assigned()}
        names.bound |= names.imported
    return names


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """The global names that a function reads, and those within it."""
    for symbol in table.get_symbols():
        if symbol.is_global() and symbol.is_referenced():
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


def _changed(statement: ast.stmt) -> Iterator[str]:
    """The objects that a statement may change: `a.b = 1`, `a[0] += 1`, `a.append(1)`."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            yield from _owner(node)
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            yield from _owner(call.func)


def _owner(node: ast.AST) -> Iterator[str]:
    """The name of the object to which `a.b[c].d` belongs."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id
