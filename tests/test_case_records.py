"""What is known of each case is kept by whichever process works on it, and read as one."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from children import finish, python
from osteon.core import locks
from osteon.core.case_records import RECORDS_FOLDER, CaseRecords, has_records
from osteon.core.errors import FileError

MANY = """
import sys
from pathlib import Path
from osteon.core.case_records import CaseRecords
records = CaseRecords(Path(FOLDER), "predictions.json")
for number in range(20):
    records.write(f"{PREFIX}{number}", {"number": number})
    records.write_summary()
"""
WORKING = """
import os, time
from pathlib import Path
from osteon.core.case_records import CaseRecords
if NUMBER:
    os.getpid = lambda: NUMBER
with CaseRecords(Path(FOLDER), "predictions.json").claim("c0", wait=False):
    print("claimed", flush=True)
    time.sleep(600)
"""


def test_no_record_is_lost_where_many_write(tmp_path: Path) -> None:
    writing = [
        python(MANY.replace("FOLDER", repr(str(tmp_path))).replace("{PREFIX}", prefix), tmp_path / "site")
        for prefix in "abc"
    ]
    for process in writing:
        finish(process)
    records = CaseRecords(tmp_path, "predictions.json")
    assert len(records.read()) == 60
    records.write_summary()
    assert len(json.loads(records.path.read_text())) == 60


def test_what_earlier_versions_wrote_counts_and_what_is_newer_counts_more(tmp_path: Path) -> None:
    records = CaseRecords(tmp_path, "predictions.json")
    assert records.read() == {}
    assert not has_records(tmp_path, "predictions.json")
    records.path.write_text(json.dumps({"a": {"model": "old"}, "b": {"model": "old"}}))
    records.write("b", {"model": "new"})
    assert records.get("a") is None
    assert records.read() == {"a": {"model": "old"}, "b": {"model": "new"}}
    records.path.unlink()
    assert has_records(tmp_path, "predictions.json")


@pytest.mark.parametrize("case", ["", "a.b", "é" * 127, "n" * 255, "n" * 254 + "m"])
def test_every_name_of_a_case_has_a_file(tmp_path: Path, case: str) -> None:
    records = CaseRecords(tmp_path, "exports/stl.json")
    records.write("n" * 254, {"other": "1"})
    with records.claim(case, wait=False):
        records.write(case, {"a": "1"})
    assert records.read_records() == {"n" * 254: {"other": "1"}, case: {"a": "1"}}
    records.remove(case)
    assert records.get(case) is None
    assert [path.name for path in tmp_path.iterdir()] == [RECORDS_FOLDER]


@pytest.mark.parametrize("number", [0, "1"])
def test_one_at_a_time_works_on_a_case_also_where_numbers_of_processes_are_the_same(
    tmp_path: Path, number: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if number:
        monkeypatch.setattr(os, "getpid", lambda: int(number))
    code = WORKING.replace("FOLDER", repr(str(tmp_path))).replace("NUMBER", str(number))
    if number:  # a container elsewhere: the same number, another machine
        code = f"import socket\nsocket.gethostname = lambda: 'pod-2'\n{code}"
    process: subprocess.Popen[str] = python(code, tmp_path / "site")
    records = CaseRecords(tmp_path, "predictions.json")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        with pytest.raises(BlockingIOError), records.claim("c0", wait=False):
            pass
        with records.claim("c1", wait=False):
            pass
    finally:
        process.kill()
        process.communicate()
    if number:  # nobody can ask another machine whether it lives: its claim expires
        with pytest.raises(BlockingIOError), records.claim("c0", wait=False):
            pass
        old = time.time() - locks.LEASE_S - 1
        os.utime(records.records_folder / "c0.lock", (old, old))
    with records.claim("c0", wait=False):
        pass
    assert list(records.records_folder.iterdir()) == []
    records.remove_empty()
    assert not (tmp_path / RECORDS_FOLDER).exists()


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    records = CaseRecords(tmp_path, "predictions.json")
    records.path.write_text("[]")
    with pytest.raises(FileError, match=r"predictions\.json: the record is not what osteon writes"):
        records.read()
