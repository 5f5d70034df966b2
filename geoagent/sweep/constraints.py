"""Constraints of a sweep, such as `rewards.weights.spatial + rewards.weights.semantic > 1`.

simpleeval evaluates them. What is not in the lists below is refused: it has no attributes but those
that are part of a key, and no functions of its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from geoagent.config import Config
from geoagent.errors import UsageError, nearest
from geoagent.vary import is_group, kind_of, value_of

if TYPE_CHECKING:
    from simpleeval import SimpleEval

# fmt: off
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "min": min, "max": max, "abs": abs, "sum": sum,
}
_NODES: Final = (
    ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Constant,
)
_OPERATORS: Final = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub, ast.UAdd, ast.Not,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot,
)
_KNOWN: Final = (
    *_NODES, *_OPERATORS, ast.And, ast.Or, ast.Name, ast.Attribute, ast.List, ast.Tuple, ast.Load,
)
# fmt: on
_KINDS: Final[Mapping[str, str]] = {
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "NoneType": "null",
    "list": "a list",
    "tuple": "a list",
    "dict": "a group of keys",
}
"""Python's types as a person calls them."""
_WORDS: Final = "+ - * / // %, comparisons, in, and, or, not, X if C else Y, min, max, abs, sum"


class Constraints:
    """Conditions that a point has to meet. UsageError for one that cannot be evaluated."""

    def __init__(self, texts: Sequence[str], base: Config, source: str) -> None:
        self._base = base
        self._values: Mapping[str, Any] = {}
        self._evaluator = self._make() if texts else None
        self._parsed = {f"{source}: '{text}'": self._parse(text, source) for text in texts}

    def __bool__(self) -> bool:
        return bool(self._parsed)

    def allow(self, settings: Mapping[str, Any]) -> bool:
        """Whether all are true of the sweep's configuration with these dotted keys set."""
        self._values = settings
        return all(self._true(source, tree) for source, tree in self._parsed.items())

    def _make(self) -> SimpleEval:
        from simpleeval import SimpleEval

        evaluator = SimpleEval(functions=dict(_FUNCTIONS))
        evaluator.operators = {kind: evaluator.operators[kind] for kind in _OPERATORS}
        evaluator.nodes = {kind: evaluator.nodes[kind] for kind in _NODES} | {
            ast.Name: self._value,
            ast.Attribute: self._value,
            ast.List: self._list,
            ast.Tuple: self._list,
        }
        return evaluator

    def _parse(self, text: str, source: str) -> ast.expr:
        source = f"{source}: '{text}'"
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "msg", None) or str(error) or type(error).__name__
            raise UsageError(f"{source}: {reason}") from error
        if not all(isinstance(node, _KNOWN) for node in ast.walk(tree)):
            raise UsageError(f"{source}: cannot be evaluated; there are: {_WORDS}")
        for node in _names(tree, source):
            if is_group(kind_of(_dotted(node, source), source)):
                raise UsageError(f"{source}: {_dotted(node, source)} is a group of keys")
        return tree

    def _true(self, source: str, tree: ast.expr) -> bool:
        assert self._evaluator is not None
        try:
            result = self._evaluator.eval("", previously_parsed=tree)
        except Exception as error:  # whatever arithmetic and simpleeval raise
            raise UsageError(f"{source}: {_reason(error)}") from error
        if not isinstance(result, bool):
            raise UsageError(f"{source}: is {result!r}, which is neither true nor false")
        return result

    def _value(self, node: ast.expr) -> Any:
        key = _dotted(node, "")
        return self._values[key] if key in self._values else value_of(self._base, key)

    def _list(self, node: ast.List | ast.Tuple) -> list[Any]:
        assert self._evaluator is not None
        return [self._evaluator._eval(item) for item in node.elts]


def _reason(error: Exception) -> str:
    """What is wrong with a constraint's values, without Python's names for them."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, ZeroDivisionError):
        return "divides by 0"
    if type(error).__name__ == "IterableTooLong":  # simpleeval's
        return "makes a text or a list that is too long"
    if not isinstance(error, TypeError):
        return text
    kinds = [_KINDS[word] for word in re.findall(r"'(\w+)'", text) if word in _KINDS]
    if "not supported between" in text and len(kinds) == 2:
        return f"compares {kinds[0]} with {kinds[1]}"
    if "is not iterable" in text and kinds:
        return f"expects a list, not {kinds[0]}"
    if "unsupported operand" in text and len(kinds) == 2:
        return f"calculates with {kinds[0]} and {kinds[1]}"
    return "calculates with what are not all numbers"


def _names(node: ast.AST, source: str) -> Iterator[ast.expr]:
    """The keys in an expression; UsageError for a function that there is not."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield node
        return
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name not in _FUNCTIONS:
            hint = nearest(name, list(_FUNCTIONS))
            raise UsageError(f"{source}: {name} is none of the functions; {hint}")
        children.remove(node.func)
    for child in children:
        yield from _names(child, source)


def _dotted(node: ast.expr, source: str) -> str:
    """The key that a name with dots stands for."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise UsageError(f"{source}: only the keys of the configuration have dots")
    return ".".join((node.id, *names))
