"""Patterns match whole strings: `$` would allow a line feed at the end."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketstate.schemas.interval import interval_ms
from marketstate.worker.settings import settings_from

ROOT = Path(__file__).parents[2]
FILES = [
    path
    for folder in ("core", "schemas", "worker", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def patterns(tree: ast.Module) -> Iterator[str]:
    """First arguments of what `re` has, and patterns that msgspec checks."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            of_re = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "re"
            found = [keyword.value for keyword in node.keywords if keyword.arg == "pattern"]
            for value in found + (node.args[:1] if of_re else []):
                if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes):
                    text = value.value
                    yield text.decode("latin-1") if isinstance(text, bytes) else text


def test_no_pattern_allows_a_line_feed_at_the_end() -> None:
    """G9"""
    found = [
        f"{path.relative_to(ROOT)}: {pattern}"
        for path in FILES
        for pattern in patterns(ast.parse(path.read_text()))
        if pattern.endswith("$") and not pattern.endswith("\\$")
    ]
    assert found == []


def test_patterns_are_found_where_they_are() -> None:
    """The search itself."""
    tree = ast.parse("re.match('a$', text); Meta(pattern='b$'); re.compile(rb'c$')")
    assert sorted(patterns(tree)) == ["a$", "b$", "c$"]
    assert r"\A[^\s{}]{1,200}\Z" in patterns(ast.parse((ROOT / "worker/settings.py").read_text()))


@pytest.mark.parametrize("text", ["1m\n", "1m\r", "1m ", " 1m", "\n1m", "1m\0", "١m", "1\u200bm"])
def test_what_is_around_an_interval_makes_it_none(text: str) -> None:
    """G9"""
    assert interval_ms(text) is None


def test_the_default_settings_match_their_patterns() -> None:
    assert settings_from({"MARKETSTATE_CANDLE_INTERVAL": "1m"}) == settings_from({})
