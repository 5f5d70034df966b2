"""Constraints of a sweep, such as `rewards.weights.spatial + rewards.weights.semantic > 1`.

They are evaluated by simpleeval, which knows arithmetic, comparisons, `and`, `or`, `not`, `in` and
`X if C else Y`; names are keys of the configuration, functions are min, max, abs and sum.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from geoagent.config import Config, is_group, kind_of, value_of
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from simpleeval import SimpleEval

_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "sum": sum,
}
_NODES: Final = (
    ast.Expr,
    ast.Name,
    ast.UnaryOp,
    ast.BinOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Call,
    ast.Constant,
)
"""Of simpleeval's; names with dots, lists and tuples are added."""


class Constraints:
    """Conditions that a point has to meet. UsageError for one that cannot be evaluated."""

    def __init__(self, texts: Sequence[str], source: str) -> None:
        self._source = source
        self._values: Mapping[str, Any] = {}
        self._base: Config | None = None
        self._evaluator = self._make() if texts else None
        self._parsed = [(text, self._parse(text)) for text in texts]

    def allow(self, base: Config, settings: Mapping[str, Any]) -> bool:
        """Whether all are true of `base` with these dotted keys set."""
        self._base, self._values = base, settings
        return all(self._true(text, tree) for text, tree in self._parsed)

    def _make(self) -> SimpleEval:
        from simpleeval import SimpleEval

        evaluator = SimpleEval(functions=dict(_FUNCTIONS))
        evaluator.nodes = {kind: evaluator.nodes[kind] for kind in _NODES}
        evaluator.nodes |= {
            ast.Name: self._name,
            ast.Attribute: self._name,
            ast.List: self._list,
            ast.Tuple: self._list,
        }
        return evaluator

    def _parse(self, text: str) -> ast.Expression:
        try:
            return ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "msg", None) or str(error) or type(error).__name__
            raise UsageError(f"{self._source}: '{text}': {reason}") from error

    def _true(self, text: str, tree: ast.Expression) -> bool:
        assert self._evaluator is not None
        try:
            result = self._evaluator.eval(text, previously_parsed=tree.body)
        except UsageError as error:
            raise UsageError(f"{self._source}: '{text}': {error}") from error
        except Exception as error:  # whatever arithmetic or simpleeval can raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(f"{self._source}: '{text}': {reason}") from error
        if not isinstance(result, bool):
            raise UsageError(
                f"{self._source}: '{text}': is {result!r}, not true or false; compare it "
                "with something"
            )
        return result

    def _name(self, node: ast.Name | ast.Attribute) -> Any:
        """The value of a dotted key: nothing else has attributes here."""
        names: list[str] = []
        below: ast.expr = node
        while isinstance(below, ast.Attribute):
            names.insert(0, below.attr)
            below = below.value
        if not isinstance(below, ast.Name):
            raise UsageError("only keys of the configuration have parts after a dot")
        key = ".".join((below.id, *names))
        if key in self._values:
            return self._values[key]
        if is_group(kind_of(key, "constraints")):
            raise UsageError(f"{key}: is a group of keys, not a value")
        assert self._base is not None
        return value_of(self._base, key)

    def _list(self, node: ast.List | ast.Tuple) -> list[Any]:
        assert self._evaluator is not None
        return [self._evaluator._eval(item) for item in node.elts]
