"""What commands say, as pages say it: no options, no places of the server's, and what is alike once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import osteon
from osteon.app import wording
from osteon.app.job_errors import find_error, job_error, list_left_out
from osteon.app.jobs import Job, JobState
from osteon.app.wording import group_similar, strip_folders, translate_action, translate_error, translate_text
from osteon.core.errors import OsteonError

ROOMS = ("importing", "predicting", "evaluating", "exporting", "voting", "auditing", "training", "planning", "dataset")
ROOMS += ("preparing", "formats", "core", "reporting")
JOB = Job("x", "predict", (), "Segment a", {})


def text_of(node: ast.expr) -> Iterator[str]:
    """What an expression of strings may say; what is filled in as `x1`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(next(text_of(v), "") if isinstance(v, ast.Constant) else "x1" for v in node.values)
    elif isinstance(node, ast.IfExp):
        yield from text_of(node.body)
        yield from text_of(node.orelse)


def texts_given(argument: str) -> list[str]:
    """Everything that calls give as `hint` or `action`, in rooms that jobs of the app use."""
    found = set()
    for room in ROOMS:
        for path in (Path(osteon.__file__).parent / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                for word in node.keywords if isinstance(node, ast.Call) else ():
                    if word.arg == argument:
                        found |= set(text_of(word.value))
    return sorted(found)


def test_no_hint_of_any_error_shows_an_option_of_the_command_line() -> None:
    every = texts_given("hint")
    assert len(every) > 200
    for hint in every:
        expected = translate_error(OsteonError("it failed", hint=hint)).hint
        assert expected or not hint
        assert not wording._COMMAND_WORDS.search(expected), (hint, expected)
        assert "--" not in expected, (hint, expected)


def test_no_finding_of_the_check_asks_for_what_the_pages_do_not_have() -> None:
    every = texts_given("action")
    assert len(every) > 20
    for action in every:
        expected = translate_action(action)
        assert not wording._COMMAND_WORDS.search(expected), (action, expected)
        assert "dataset.yaml" not in expected, (action, expected)
        assert "--" not in expected, (action, expected)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("take the structure out of dataset.yaml", wording._NO_ACTION),
        ("label it in more cases, or train with --fold none", "label it in more cases"),
        ("look at its picture", "look at its picture"),
    ],
)
def test_findings_say_what_the_pages_can_do(action: str, expected: str) -> None:
    assert translate_action(action) == expected


def test_what_is_left_out_of_a_hint_stays_under_details() -> None:
    error = translate_error(OsteonError("x", hint="choose another folder, or pass --overwrite"))
    assert error.hint == "choose another folder"
    assert error.message.splitlines()[1:] == ["For the command line: choose another folder, or pass --overwrite"]


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("name the values: --labels NAME=VALUE,…", "name the values: “Structures”"),
        ("hold fewer out", "hold fewer out"),
        ("remove it from `structures` in dataset.yaml", ""),
        ("rename the structures in dataset.yaml", "rename the structures on the dataset's page, under “Structures”"),
        ("add a case in which they are labelled", "import the data again with a case in which they are labelled"),
        ("--device cuda", ""),
        ("pass --modality ct, mr or xray", "choose “Modality”"),
        ("say which part of a path is the case: --case-pattern", f"say {'which part of a path is the case'}: “{{}}”"),
    ],
)
def test_options_become_the_labels_of_the_pages(hint: str, expected: str) -> None:
    assert translate_text(hint) == expected.format(wording.IMPORT_TEXTS["--case-pattern"])


def test_folders_of_the_server_are_left_out() -> None:
    root, data = Path("/srv/osteon work"), (Path("/mnt/hospital"),)
    assert strip_folders("/srv/osteon work/sources/my legs/p1/ct.nii.gz: damaged", root, data) == (
        "my legs/p1/ct.nii.gz: damaged"
    )
    assert strip_folders("/mnt/hospital/p1/ct.nii.gz: damaged", root, data) == "hospital/p1/ct.nii.gz: damaged"
    assert strip_folders("sources/legs: holds no scan", root) == "legs: holds no scan"
    assert strip_folders("resources/legs and a/runs/b", root) == "resources/legs and a/runs/b"


def test_similar_lines_are_grouped() -> None:
    lines = [f"/a/p{n}/mr: 3 files left out: a localizer" for n in range(38)]
    groups = group_similar([*lines[:20], "two cases are called c; the second becomes c-2", *lines[20:]])
    assert [len(group) for group in groups] == [38, 1]
    assert groups[0] == lines


LOG = """note: something
2 cases failed:
  p1: /w/p1.nii.gz: truncated
    → copy it again
  p2: has no voxels
"""


def test_why_cases_failed_is_found_in_the_log() -> None:
    assert list_left_out(LOG) == ["p1: /w/p1.nii.gz: truncated (copy it again)", "p2: has no voxels"]
    error = job_error(JOB, JobState("failed", code=1), LOG)
    assert error.message.startswith("2 cases failed: p1: /w/p1.nii.gz: truncated")
    assert error.hint == "copy it again"
    assert "p2: has no voxels" in error.message


def test_lines_below_an_error_belong_to_it() -> None:
    log = "error: holds no form of data. What each misses:\n  pairs: no list\n  masks: no mask\n  → write one\n"
    assert find_error(log) == ("holds no form of data. What each misses:\npairs: no list\nmasks: no mask", "write one")


@pytest.mark.parametrize(
    ("code", "log", "says"),
    [
        (1, "Traceback (most recent call last):\n  File x\nValueError: no such thing\n", "internal error"),
        (2, "Usage: osteon predict [OPTIONS]\n╭─ Error ─╮\n│ Invalid value for '--speed' │\n╰──╯\n", "Invalid value"),
        (137, "", "not enough memory"),
        (1, "reading\n", "ended without a result"),
    ],
)
def test_no_failure_is_only_an_exit_code(code: int, log: str, says: str) -> None:
    error = job_error(JOB, JobState("failed", code=code), log)
    assert says in error.message
    assert "exit code" not in error.message
