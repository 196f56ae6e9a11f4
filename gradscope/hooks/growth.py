"""The line of the user's source that makes a variable grow: `total += loss`, `losses.append(loss)`, `kept[i] = out`."""
from __future__ import annotations

import ast
import copy
import linecache
from dataclasses import dataclass
from typing import Iterator

_TAKING = ("append", "appendleft", "add", "extend", "insert", "update", "setdefault")
_MAX_LINES = 20_000


@dataclass(frozen=True)
class Growth:
    """One line, and the same statement with the value it takes in cut off from its graph ("" where that is not clear).

    `healed` holds `{cut}` in the place of the call: "total += loss.{cut}()".
    """

    line: int
    healed: str


def pattern_of(path: str) -> str:
    """A variable's path with its subscripts left open: "history['loss']" -> "history[]"."""
    return _pattern(ast.parse(path, mode="eval").body)


def find_growth(file: str, near: int, pattern: str) -> Growth | None:
    """The statement in `file` that adds to what `pattern` names; of several, the one closest to line `near`.

    Statements of the innermost function (or class, or module) around that line come first.
    """
    lines = linecache.getlines(file)
    if not lines or len(lines) > _MAX_LINES:
        return None
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return None
    found: list[tuple[tuple[int, int], ast.stmt, ast.expr | None]] = []
    for depth, statement in _statements(tree, near):
        grows, taken = _grows(statement, pattern)
        if grows:
            found.append(((-depth, abs(statement.lineno - near)), statement, taken))
    if not found:
        return None
    _, statement, taken = min(found, key=lambda each: each[0])
    return Growth(statement.lineno, _healed(statement, taken))


def _statements(tree: ast.AST, near: int, depth: int = 0) -> Iterator[tuple[int, ast.stmt]]:
    """All statements, each with the number of scopes around it that also hold the line `near`."""
    for child in ast.iter_child_nodes(tree):
        inside = depth
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            holds = child.lineno <= near <= (child.end_lineno or child.lineno)
            inside = depth + 1 if holds else -1
        if isinstance(child, (ast.AugAssign, ast.Assign, ast.AnnAssign, ast.Expr)):
            yield depth, child
        else:
            yield from _statements(child, near, inside)


def _grows(statement: ast.stmt, pattern: str) -> tuple[bool, ast.expr | None]:
    """Whether the statement adds to `pattern`, and the value that it adds, where that can be told."""
    if isinstance(statement, ast.AugAssign):
        return _pattern(statement.target) in (pattern, pattern + "[]"), statement.value
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if statement.value is None:
            return False, None
        if any(_pattern(target) == pattern + "[]" for target in targets):
            return True, statement.value
        own = any(_pattern(target) == pattern for target in targets)
        return own and _mentions(statement.value, pattern), _other_side(statement.value, pattern)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        if isinstance(call.func, ast.Attribute) and call.func.attr in _TAKING and call.args:
            return _pattern(call.func.value) in (pattern, pattern + "[]"), call.args[-1]
    return False, None


def _mentions(value: ast.expr, pattern: str) -> bool:
    return any(isinstance(node, ast.expr) and _pattern(node) == pattern for node in ast.walk(value))


def _other_side(value: ast.expr, pattern: str) -> ast.expr | None:
    """`loss` of `total + loss`."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        sides = [side for side in (value.left, value.right) if not _mentions(side, pattern)]
        if len(sides) == 1:
            return sides[0]
    return None


def _pattern(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_pattern(node.value)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return f"{_pattern(node.value)}[]"
    return "?"


def _healed(statement: ast.stmt, taken: ast.expr | None) -> str:
    """The statement with `.{cut}()` behind what it takes in."""
    if taken is None or isinstance(taken, (ast.Tuple, ast.Dict, ast.ListComp, ast.Starred)):
        return ""
    if isinstance(taken, ast.List):
        if len(taken.elts) != 1:
            return ""
        taken = taken.elts[0]
    cut = copy.deepcopy(taken)
    made = ast.Call(ast.Attribute(cut, "_cut_", ast.Load()), [], [])
    text = ast.unparse(_Replace(taken, made).visit(copy.copy(statement)))
    if "{" in text or "\n" in text or len(text) > 100:
        return ""
    return text.replace("_cut_", "{cut}")


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.expr, new: ast.expr) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self.old:
            return self.new
        result: ast.AST = super().generic_visit(node)
        return result
