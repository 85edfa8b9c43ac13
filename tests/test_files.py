"""Files are written whole or not at all, and read with errors that name them."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from osteon.core import file_stamps
from osteon.core.errors import DiskFullError, FileError
from osteon.core.file_stamps import content_stamp, refresh_stamp
from osteon.core.files import (
    _Dumper,
    atomic_write,
    read_json,
    read_text,
    read_yaml,
    write_error,
    write_json,
    write_text,
    write_yaml,
)
from osteon.core.processes import machine_hash


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_half_way(path: Path, failure: BaseException) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("half of the n")
        raise failure


def test_a_file_appears_whole_and_keeps_its_suffixes(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.nii.gz"
    with atomic_write(path) as temporary:
        assert temporary.parent == path.parent  # a rename across disks would be a copy
        assert temporary.name.endswith("a.nii.gz")
        temporary.write_bytes(b"12")
        assert not path.exists()
    assert path.read_bytes() == b"12"
    assert names(path.parent) == ["a.nii.gz"]


@pytest.mark.parametrize(
    ("failure", "seen", "message", "way"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError, "the disk is full", "free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskFullError, "the disk is full", "free some space"),
        (OSError(errno.EFBIG, "File too large"), FileError, "limit on file sizes", "another disk"),
        (OSError("80 requested and 16 written"), DiskFullError, "the disk is full", "free some space"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), FileError, "longer than this disk", "shorter name"),
        (PermissionError(errno.EACCES, "Permission denied"), FileError, "Permission denied", "permissions"),
        (KeyboardInterrupt(), KeyboardInterrupt, "", ""),
        (ValueError("a bug"), ValueError, "a bug", ""),
    ],
)
def test_a_failure_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, failure: BaseException, seen: type[BaseException], message: str, way: str
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(seen) as caught:
        fail_half_way(path, failure)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]
    if isinstance(caught.value, FileError):
        assert caught.value.message.startswith(f"{path}: ")
        assert message in caught.value.message
        assert way in caught.value.hint
        assert caught.value.__cause__ is failure


WRITERS = {
    "a.json": "write_json(path, list(range(9999)))",
    "a.npy": "\nwith atomic_write(path) as temporary: np.save(temporary, noise)",
    "a.nii": "write_volume(path, Volume(noise, grid))",
    "a.nii.gz": "write_volume(path, Volume(noise, grid))",
    "a.nrrd": "write_volume(path, Volume(noise, grid))",
    "a.seg.nrrd": "write_segmentation(path, Segmentation((noise[0] * 99).astype(int), grid, ()))",
}
SCRIPT = """
import resource, sys
from pathlib import Path
from typing import Any
import numpy as np
from osteon.core.errors import DiskFullError, FileError
from osteon.core.files import atomic_write, write_json
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.formats import write_segmentation, write_volume
noise, grid = np.random.default_rng(0).random((1, 32, 32, 32)), Geometry((32, 32, 32), np.eye(4))
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # Python ignores SIGXFSZ: writing fails with EFBIG
for name, write in {writers!r}.items():
    path = Path(sys.argv[1]) / name
    try:
        exec(write)
    except FileError as error:
        sys.stdout.write(f"{{error.message}}\\t{{error.hint}}\\n")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on file sizes")
def test_every_writer_leaves_the_old_file_where_the_disk_ends(tmp_path: Path) -> None:
    for name in WRITERS:
        (tmp_path / name).write_text("old")
    script = SCRIPT.format(writers=WRITERS)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [message.split(": ")[0] for message, _ in lines] == [str(tmp_path / name) for name in WRITERS]
    for message, hint in lines:
        assert "limit on file sizes" in message
        assert "run the same command again" in hint
    assert names(tmp_path) == sorted(WRITERS)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}


def test_what_killed_processes_left_is_swept_away_but_not_what_others_are_writing(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = machine_hash()
    left = [tmp_path / f".part-{here}-{gone.pid}-00-a.txt", tmp_path / f".part-{here}-{gone.pid}-00-b.txt"]
    forsaken = [tmp_path / f".part-00000000-{os.getppid()}-00-a.txt", tmp_path / f".part-{os.getppid()}-a.txt"]
    busy = [tmp_path / f".part-{here}-{os.getppid()}-00-a.txt", tmp_path / f".part-00000000-{gone.pid}-00-a.txt"]
    for file in (*left, *forsaken, *busy):
        file.touch()
    for file in forsaken:  # of another machine, or of an earlier version
        os.utime(file, (0, 0))
    write_text(tmp_path / "a.txt", "whole")
    assert sorted(tmp_path.iterdir()) == sorted([*busy, tmp_path / "a.txt"])


SAME_NUMBER = """
import os, sys, threading
from pathlib import Path
from typing import Any
from osteon.core.files import atomic_write
os.getpid = lambda: 1  # as in every container
with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_text(sys.argv[2])
    print("written", flush=True)
    sys.stdin.readline()
"""


def test_processes_of_one_number_do_not_write_into_each_others_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", SAME_NUMBER, str(path), text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for text in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
    for writer, text in zip(writers, ("one", "two"), strict=True):
        writer.communicate("\n")
        assert writer.returncode == 0
        assert path.read_text() == text
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["é" * 120 + ".nii.gz", "1." * 123 + "nii.gz", "n" * 251 + ".npy"])
def test_a_name_as_long_as_the_system_allows_is_written(tmp_path: Path, name: str) -> None:
    assert len(name.encode()) in (247, 252, 255)
    with atomic_write(tmp_path / name) as temporary:
        assert temporary.name.endswith(Path(name).suffix)
        temporary.write_bytes(b"12")
    assert names(tmp_path) == [name]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"file/a\.txt: cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "")
    with pytest.raises(FileError, match=r"cannot be written \(Is a directory\)"):
        write_text(tmp_path, "")
    assert "(odd)" in write_error(tmp_path, OSError("odd")).message


def test_text_yaml_and_json_read_back(tmp_path: Path) -> None:
    data = {"name": "Knöchel µ", "b": [1, 2.5, None], "a": {"x": True}}
    write_yaml(tmp_path / "a.yaml", data, head="one\ntwo")
    assert (tmp_path / "a.yaml").read_text(encoding="utf-8").startswith("# one\n# two\nname: Knöchel µ\nb:")
    assert read_yaml(tmp_path / "a.yaml", "x") == data
    write_json(tmp_path / "a.json", data)
    assert read_json(tmp_path / "a.json", "x") == data
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfa")
    assert read_text(tmp_path / "bom.txt", "x") == "a"


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == []


def test_what_cannot_be_read_is_named_with_what_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\xfe{: [")
    (tmp_path / "b").write_text("{: [")
    for reader in (read_text, read_yaml, read_json):
        with pytest.raises(FileError, match="c: the plan does not exist") as missing:
            reader(tmp_path / "c", "the plan")
        with pytest.raises(FileError, match="a: the plan cannot be read") as binary:
            reader(tmp_path / "a", "the plan")
        assert missing.value.hint
        assert binary.value.hint
    with pytest.raises(FileError, match="b: the plan is not valid YAML"):
        read_yaml(tmp_path / "b", "the plan")
    with pytest.raises(FileError, match="b: the plan is not valid JSON"):
        read_json(tmp_path / "b", "the plan")


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
def test_yaml_of_many_cases_is_left_to_libyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {
        "cases": [{"id": f"c{n}", "images": ["/long" * 40], "made": "of 3 files", "size": [1, 2.5]} for n in (1, 2)]
    }
    monkeypatch.setattr("osteon.core.files._Dumper", None)
    monkeypatch.setattr(yaml, "safe_load", None)
    write_yaml(tmp_path / "a.yaml", data)
    assert read_yaml(tmp_path / "a.yaml", "x") == data


@pytest.mark.parametrize(
    "value",
    [
        "a folded line of many words " * 9,
        "it's, \t folded: " * 12,
        "\U0001f9b4 a bone",
        "of \udcff bytes",
        "\u2028 and \x85",
        {"": {"": 1}, "k" * 140: [[1.0, 2], [3]]},
        "/a path/" * 30,
        [1e-9, float("inf"), None, True, "012", "1e3", "~", "a: b", "#", "'"],
    ],
)
def test_yaml_is_the_same_whoever_writes_it(tmp_path: Path, value: Any) -> None:
    data = {"key": value, "more": [value, {"deeper": value}]}
    write_yaml(tmp_path / "a.yaml", data)
    options: Any = {"sort_keys": False, "allow_unicode": True, "width": 110}
    plain = yaml.dump(data, Dumper=_Dumper, **options).encode(errors="backslashreplace")
    assert (tmp_path / "a.yaml").read_bytes() == plain
    assert read_yaml(tmp_path / "a.yaml", "x") == data


def test_yaml_of_lists_in_lists_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: " + "[" * 100_000)
    with pytest.raises(FileError, match="the plan is not valid YAML"):
        read_yaml(tmp_path / "a.yaml", "the plan")


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("!!python/object/apply:os.mkdir ['made']")
    with pytest.raises(FileError, match="not valid YAML"):
        read_yaml(tmp_path / "a.yaml", "the plan")
    assert not (tmp_path / "made").exists()


def test_numpy_says_what_write_error_looks_for(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="requested and") as caught, Path("/dev/full").open("wb", buffering=0) as full:
        np.zeros(1 << 20).tofile(full)
    assert "the disk is full" in write_error(tmp_path, caught.value).message


def test_a_file_is_still_the_same_by_its_bytes_whatever_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, copy = tmp_path / "a.nii", tmp_path / "b.nii"
    path.write_bytes(b"one label")
    mark = content_stamp(path)
    shutil.copy2(path, copy)
    assert refresh_stamp(copy, mark) is not None
    os.utime(path, ns=(1, 1))
    touched = refresh_stamp(path, mark)
    assert touched is not None
    facts = path.stat()
    with monkeypatch.context() as patch:
        patch.setattr(file_stamps, "_digest", lambda path: pytest.fail(f"{path} was not touched, and is read"))
        assert refresh_stamp(path, touched) == touched
    path.write_bytes(b"two label")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert refresh_stamp(path, touched) is None
    path.write_bytes(b"longer than before")
    assert refresh_stamp(path, touched) is None
    path.unlink()
    assert refresh_stamp(path, touched) is None
    assert refresh_stamp(path, content_stamp(path)) is not None  # still missing


def test_a_folder_is_still_the_same_by_what_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for number in range(2):
        (tmp_path / f"series/{number}.dcm").write_bytes(b"slice %d" % number)
    mark = content_stamp(tmp_path / "series")
    assert refresh_stamp(tmp_path / "series", mark) == mark
    (tmp_path / "series/1.dcm").write_bytes(b"slice 2")
    assert refresh_stamp(tmp_path / "series", mark) is None


def test_where_no_time_of_change_is_kept_bytes_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.nii").write_bytes(b"one label")
    mark = content_stamp(tmp_path / "a.nii")
    size, written, changed, _ = mark.split()
    monkeypatch.setattr(file_stamps, "HAS_CHANGE_TIMES", False)
    assert refresh_stamp(tmp_path / "a.nii", mark) is not None
    assert refresh_stamp(tmp_path / "a.nii", f"{size} {written} {changed} {'0' * 64}") is None
