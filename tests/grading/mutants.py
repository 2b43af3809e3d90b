"""Small changes of a right answer, one at a time, as people make mistakes.

What no answer depends on is left alone: docstrings, the text of an error, the tolerance of a
comparison, and the sides of one that is symmetric.
"""

import ast
import copy
from collections.abc import Iterator

SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.GtE: ast.Lt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
SYMMETRIC = ("allclose", "isclose", "equal")
NAMES = {"any": "all", "all": "any", "max": "min", "min": "max", "sum": "max", "mean": "sum"}
NAMES |= {"zeros": "ones", "endswith": "startswith", "abs": "neg"}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """(what was changed, the changed source) for every place where a change fits."""
    tree = ast.parse(source)
    within = {id(part) for node in ast.walk(tree) for part in _left_alone(node)}
    places = [node for node in ast.walk(tree) if id(node) not in within]
    for place in places:
        for told, change in _changes(place):
            changed = copy.deepcopy(tree)
            if change(_twin(tree, changed, place)) is not False:
                line = getattr(place, "lineno", 0)
                text = ast.unparse(ast.fix_missing_locations(changed))
                yield f"line {line}: {told} in {ast.unparse(place)[:60]!r}", text


def _left_alone(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below this one of which no answer depends."""
    if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
        yield from ast.walk(node.body[0])
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        for argument in node.exc.args:
            yield from ast.walk(argument)
    if isinstance(node, ast.keyword) and node.arg in ("atol", "rtol"):
        yield from ast.walk(node)


def _twin(tree: ast.AST, other: ast.AST, node: ast.AST) -> ast.AST:
    """The node of a copy that stands where `node` stands in the original."""
    return next(b for a, b in zip(ast.walk(tree), ast.walk(other), strict=True) if a is node)


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    for kinds, fits, told, change in CHANGES:
        if isinstance(node, kinds) and fits(node):
            yield told, change
    for body in ("body", "orelse"):
        statements = getattr(node, body, None)
        for number in range(len(statements) if isinstance(statements, list) else 0):
            yield f"statement {number + 1} dropped", _drop(body, number)


def _drop(body: str, number: int) -> object:
    def drop(node: ast.AST) -> bool | None:
        statement = getattr(node, body)[number]
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if is_text or isinstance(statement, ast.FunctionDef | ast.Pass):
            return False
        getattr(node, body)[number] = ast.Pass()
        return None

    return drop


def _swap_sides(node: ast.BinOp) -> bool | None:
    if isinstance(node.op, ast.Add | ast.Mult):
        return False  # the same number
    node.left, node.right = node.right, node.left
    return None


def _become(node: ast.AST, other: ast.AST) -> None:
    """Turn a node into another one, in place."""
    node.__class__ = other.__class__
    node.__dict__ = dict(other.__dict__)


def _other(value: object) -> object:
    if isinstance(value, bool):
        return not value
    return value + "x" if isinstance(value, str) else value + 1


def _rename(node: ast.AST) -> None:
    name = "attr" if isinstance(node, ast.Attribute) else "id"
    setattr(node, name, NAMES[getattr(node, name)])


def _always(node: ast.AST) -> bool:
    return True


def _has_order(node: ast.Call) -> bool:
    return len(node.args) > 1 and getattr(node.func, "attr", "") not in SYMMETRIC


def _has_keyword(node: ast.Call) -> bool:
    return bool(node.keywords) and node.keywords[-1].arg not in ("atol", "rtol")


def _swaps(node: ast.AST) -> bool:
    return type(node.ops[0] if isinstance(node, ast.Compare) else node.op) in SWAPS


# (kinds of node, whether the change fits, what it is called, the change)
CHANGES = [
    (ast.BinOp, _swaps, "another operator", lambda n: setattr(n, "op", SWAPS[type(n.op)]())),
    (ast.BinOp, _swaps, "sides swapped", _swap_sides),
    (ast.BinOp, _swaps, "left side only", lambda n: _become(n, n.left)),
    (ast.BinOp, _swaps, "right side only", lambda n: _become(n, n.right)),
    (ast.BoolOp, _swaps, "and for or", lambda n: setattr(n, "op", SWAPS[type(n.op)]())),
    (
        ast.Compare,
        _swaps,
        "another comparison",
        lambda n: n.ops.__setitem__(0, SWAPS[type(n.ops[0])]()),
    ),
    (ast.UnaryOp, _always, "without its sign", lambda n: _become(n, n.operand)),
    (
        ast.Constant,
        lambda n: isinstance(n.value, int | float | str),
        "another constant",
        lambda n: setattr(n, "value", _other(n.value)),
    ),
    (
        ast.Constant,
        lambda n: isinstance(n.value, int | float) and n.value,
        "zero",
        lambda n: setattr(n, "value", 0),
    ),
    (ast.Return, lambda n: n.value, "nothing returned", lambda n: setattr(n, "value", None)),
    (
        ast.Attribute,
        lambda n: n.attr in ("T", "mT"),
        "not transposed",
        lambda n: _become(n, n.value),
    ),
    (ast.Attribute, lambda n: n.attr in NAMES, "another function", _rename),
    (ast.Name, lambda n: n.id in NAMES, "another function", _rename),
    (ast.Call, _has_order, "arguments swapped", lambda n: n.args.reverse()),
    (ast.Call, _has_keyword, "keyword dropped", lambda n: n.keywords.pop() and None),
    (
        ast.If,
        _always,
        "condition turned",
        lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test)),
    ),
    (ast.Tuple, lambda n: len(n.elts) > 1, "order turned", lambda n: n.elts.reverse()),
]
