"""House sizes: functions and modules that a reader can hold in the head."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for package in ("engine", "trainer", "app") for path in (ROOT / package).rglob("*.py"))
MODULE_LIMIT = 600
FUNCTION_LIMIT = 80
PERCENTILE_90_LIMIT = 35
MEDIAN_LIMIT = 10


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every function's name and its lines of code: without its docstring, its signature included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            if documented and first.end_lineno is not None:
                lines -= first.end_lineno - first.lineno + 1
            yield f"{path.relative_to(ROOT)}:{node.name}", lines


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MODULE_LIMIT
    assert ast.get_docstring(ast.parse(text))


def test_functions_are_short() -> None:
    sizes = dict(item for path in SOURCES for item in functions(path))
    assert len(sizes) > 100
    assert not {name: lines for name, lines in sizes.items() if lines > FUNCTION_LIMIT}
    ordered = sorted(sizes.values())
    assert ordered[int(len(ordered) * 0.9)] <= PERCENTILE_90_LIMIT
    assert statistics.median(ordered) <= MEDIAN_LIMIT


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_error_is_swallowed(path: Path) -> None:
    """No bare except, and no handler of everything that does nothing."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
            names = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
            silent = all(isinstance(statement, ast.Pass) for statement in node.body)
            assert not (silent and names & {"Exception", "BaseException"}), f"line {node.lineno} swallows everything"
