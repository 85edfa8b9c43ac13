"""Counts and lists in messages."""

from __future__ import annotations

import pytest

from osteon.core.text import pluralise


@pytest.mark.parametrize(
    ("count", "noun", "message"),
    [(0, ("case",), "0 cases"), (1, ("case",), "1 case"), (2, ("mesh", "meshes"), "2 meshes")],
)
def test_a_count_agrees_with_its_noun(count: int, noun: tuple[str, ...], message: str) -> None:
    assert pluralise(count, *noun) == message
