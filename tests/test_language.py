"""Messages and pages are written in plain, current English."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "osteon"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/decisions/*.md")
    for path in ROOT.glob(pattern)
    if path.name not in ("CHANGELOG.md", "api.md")
)
PLAIN_WORDS = {
    r"anew": "again, or new",
    r"likewise": "also, or the same",
    r"whoever": "the user who, or anyone who",
    r"heeds?|heeded": "follows",
    r"strangers?": "others, or untrusted",
    r"theirs|ours": "name whose it is",
    r"akin|alike": "similar, or the same",
    r"the way out": "what to do",
    r"in turns": "alternately",
    r"of one's own|of its own accord": "your own, or separate",
    r"nobody (?:knows|looked|has looked|annotated|tells|told|says|labelled)": "it is unknown, or was not annotated",
    r"stands? (?:there )?twice": "is listed twice",
    r"is meant": "which one",
    r"say where|says? whose|says? which is": "specify",
    r"what came of": "the result of",
    r"(?:is|are|was) told": "is reported",
    r"(?<!there )is no (?:length|amount|number|name|value|plan|run|colour|form|setting|folder|file)": "is not a …",
    r"begins? with weights": "starts from weights",
    r"are brought|brought in": "added",
    r"goes by": "follows",
}
"""What messages and pages do not say, and what to write instead."""


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each string with a space in a module, f-strings' parts among them, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield from [(node.lineno, node.value)] if " " in node.value.strip() else []


def faults(where: str, line: int, text: str) -> list[str]:
    return [
        f"{where}:{line}: “{found[0]}”: write {instead}"
        for word, instead in PLAIN_WORDS.items()
        for found in re.finditer(rf"\b(?:{word})\b", text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("room", sorted({p.relative_to(SOURCES).parts[0] for p in SOURCES.rglob("*.py")}))
def test_messages_are_in_plain_english(room: str) -> None:
    place = SOURCES / room
    found = []
    for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
        for line, text in strings(path):
            found += faults(str(path.relative_to(ROOT)), line, text)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_in_plain_english(page: Path) -> None:
    found = []
    for line, text in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        found += faults(page.name, line, re.sub(r"\]\([^)]*\)|`[^`]*`", "", text))
    assert not found, "\n".join(found)


def test_docstrings_begin_with_what_they_describe() -> None:
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                if re.match(r"(?:Of|They|It|Them|Its|Those) ", first) and len(first.split()) < 6:
                    found.append(f"{path.relative_to(ROOT)}: {first}")
    assert not found, "\n".join(found)
