"""Votes over tables of RLE: what is decided, and what is said of rows that cannot be used."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import osteon
from helpers import write_dataset
from osteon.core.errors import FileError, LabelError, UsageError
from osteon.core.labels import make_structures
from osteon.formats.rle import encode_rle, write_rle_csv
from osteon.voting.picture_sizes import PictureSizes, parse_size
from osteon.voting.report import group_problems
from osteon.voting.rle_rows import picture_name
from runs import command

SIZE = (30, 40)
BONES = ("Ulna", "Radius", "Hamate")
Masks = dict[tuple[str, str], npt.NDArray[np.bool_]]
Captured = pytest.CaptureFixture[str]


def masks(seed: int, images: int = 3) -> Masks:
    """Boxes of bones that overlap, moved a little by each member."""
    rng = np.random.default_rng(seed)
    found: Masks = {}
    for number in range(images):
        for place, bone in enumerate(BONES):
            mask = np.zeros(SIZE, dtype=bool)
            row, column = np.array([4 + 5 * place, 6 + 7 * place]) + rng.integers(-2, 3, 2)
            mask[row : row + 9, column : column + 12] = True
            found[f"hand{number}.png", bone] = mask
    return found


def table(path: Path, votes: Masks) -> Path:
    write_rle_csv(path, [(image, bone, encode_rle(mask)) for (image, bone), mask in votes.items()])
    return path


def drawn(path: Path, rows: int, columns: int) -> Masks:
    """An independent reader of such a table: nothing of osteon's, pixel by pixel."""
    found: Masks = {}
    with path.open(newline="") as stream:
        for line in csv.DictReader(stream):
            pixels = [False] * (rows * columns)
            numbers = [int(word) for word in line["rle"].split()]
            for start, length in zip(numbers[::2], numbers[1::2], strict=True):
                for pixel in range(start - 1, start - 1 + length):
                    pixels[pixel] = True
            found[line["image_name"], line["class"]] = np.array(pixels).reshape(rows, columns)
    return found


@pytest.fixture
def members(tmp_path: Path) -> list[Path]:
    return [table(tmp_path / f"model{n}.csv", masks(n)) for n in range(3)]


def vote(members: list[Path], out: Path, **options: Any) -> tuple[Masks, Any]:
    report = osteon.vote(members, out, image_size=SIZE, **options)
    return drawn(out, *SIZE), report


# What is decided


@pytest.mark.parametrize("least", [1, 2, 3, None])
def test_a_table_read_by_others_holds_the_majoritys_masks_bit_for_bit(
    members: list[Path], tmp_path: Path, least: int | None
) -> None:
    found, report = vote(members, tmp_path / "out.csv", threshold=least)
    votes = [masks(n) for n in range(3)]
    assert found.keys() == votes[0].keys()
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, sum(one[key].astype(int) for one in votes) >= (least or 2))
    assert not report.all_problems
    assert not report.absences
    assert report.cases["hand1.png"].voters == dict.fromkeys(BONES, 3)
    assert [line.split(",")[:2] for line in (tmp_path / "out.csv").read_text().splitlines()[1:4]] == [
        ["hand0.png", bone] for bone in BONES
    ]


def test_each_structure_has_its_threshold_and_each_member_its_weight(members: list[Path], tmp_path: Path) -> None:
    member_masks = [masks(n) for n in range(3)]
    found, _ = vote(members, tmp_path / "a.csv", threshold="3,Ulna=1")
    for (image, bone), mask in found.items():
        votes = sum(one[image, bone].astype(int) for one in member_masks)
        np.testing.assert_array_equal(mask, votes >= (1 if bone == "Ulna" else 3))
    found, _ = vote(members, tmp_path / "b.csv", weights=[3, 1, 1])  # the first alone is the majority
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, member_masks[0][key])
    found, _ = vote(members, tmp_path / "c.csv", weights="0.1,0.2,0.3", threshold=0.3)
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, member_masks[2][key] | (member_masks[0][key] & member_masks[1][key]))


def test_staple_of_members_that_agree_is_what_they_say(tmp_path: Path) -> None:
    same = [table(tmp_path / f"{n}.csv", masks(7)) for n in range(3)]
    found, report = vote(same, tmp_path / "out.csv", method="staple")
    for key, mask in masks(7).items():
        np.testing.assert_array_equal(found[key], mask)
    estimates = report.cases["hand0.png"].estimates["Ulna"]
    assert estimates["sensitivity"] == pytest.approx([1, 1, 1])
    assert estimates["prior"] == pytest.approx(9 * 12 / (30 * 40))


def test_the_suffix_of_a_picture_makes_no_other_picture(members: list[Path], tmp_path: Path) -> None:
    plain = {(picture_name(image), bone): mask for (image, bone), mask in masks(1).items()}
    assert ("hand0", "Ulna") in plain
    table(members[1], plain)
    found, report = vote(members, tmp_path / "out.csv")
    assert not report.absences
    assert set(found) == set(masks(0))


def kaggle(path: Path, votes: Masks, column: str = "EncodedPixels") -> Path:
    """The same masks, counted down the columns."""
    lines = [f"{image},{bone},{encode_rle(mask.T)}" for (image, bone), mask in votes.items()]
    path.write_text("\n".join([f"image_id,class,{column}", *lines]))
    return path


def test_members_may_count_down_the_columns(members: list[Path], tmp_path: Path, capsys: Captured) -> None:
    usual, _ = vote(members, tmp_path / "usual.csv")
    kaggle(members[1], masks(1))
    found, report = vote(members, tmp_path / "out.csv")
    assert not report.all_problems
    for key, mask in usual.items():
        np.testing.assert_array_equal(found[key], mask)
    assert command("vote", *members, tmp_path / "out.csv", "--image-size", "30x40") == 0
    note = f"{members[1]}: runs are counted along columns, from 1 (by the column's name EncodedPixels)"
    assert note in capsys.readouterr().err


def test_a_member_that_counts_otherwise_than_it_says_is_told(
    members: list[Path], tmp_path: Path, capsys: Captured
) -> None:
    kaggle(members[1], masks(1), "rle")
    assert command("vote", *members, tmp_path / "out.csv", "--image-size", "30x40") == 1
    assert f"{members[1]}: runs are counted along rows, from 1 (by the column's name rle), its masks are stripes" in (
        capsys.readouterr().err
    )


# What is missing


def test_what_is_missing_does_not_vote_and_is_told(members: list[Path], tmp_path: Path, capsys: Captured) -> None:
    votes = [masks(n) for n in range(3)]
    votes[1] = {key: mask for key, mask in votes[1].items() if key[0] != "hand1.png"}
    del votes[2]["hand0.png", "Hamate"]
    for path, one in zip(members, votes, strict=True):
        table(path, one)
    out = tmp_path / "out.csv"
    assert command("vote", *members, out, "--image-size", "30x40") == 0
    output = capsys.readouterr().err
    assert f"{members[1]} has nothing of 1 case: hand1.png" in output
    assert f"{members[2]} does not vote on 1 structure, in cases: Hamate in 1" in output
    found = drawn(out, *SIZE)
    # two of those who vote are the majority of two: both must say so
    np.testing.assert_array_equal(
        found["hand1.png", "Ulna"], votes[0]["hand1.png", "Ulna"] & votes[2]["hand1.png", "Ulna"]
    )
    np.testing.assert_array_equal(
        found["hand0.png", "Hamate"], votes[0]["hand0.png", "Hamate"] & votes[1]["hand0.png", "Hamate"]
    )
    record = json.loads((tmp_path / "out.votes.json").read_text())
    assert record["cases"]["hand1.png"]["voters"] == dict.fromkeys(BONES, 2)
    assert record["cases"]["hand1.png"]["absences"] == [
        {"member": str(members[1]), "case": "hand1.png", "structure": None}
    ]
    assert record["cases"]["hand0.png"]["voters"] == {"Ulna": 3, "Radius": 3, "Hamate": 2}


def test_an_empty_row_is_a_no_and_a_missing_one_is_nothing(tmp_path: Path) -> None:
    mask = np.ones(SIZE, dtype=bool)
    full = {("a", "Ulna"): mask, ("a", "Radius"): mask}
    empty = {("a", "Ulna"): ~mask, ("a", "Radius"): mask}
    paths = [table(tmp_path / f"{n}.csv", votes) for n, votes in enumerate((full, empty, empty))]
    assert not vote(paths, tmp_path / "out.csv")[0]["a", "Ulna"].any()
    less = {("a", "Radius"): mask}
    paths = [table(tmp_path / f"{n}.csv", votes) for n, votes in enumerate((full, full, less, less))]
    assert vote(paths, tmp_path / "again.csv")[0]["a", "Ulna"].all()


def test_a_threshold_that_cannot_be_reached_leaves_the_row_out_and_says_so(
    members: list[Path], tmp_path: Path, capsys: Captured
) -> None:
    votes = masks(2)
    del votes["hand0.png", "Ulna"]
    table(members[2], votes)
    assert command("vote", *members, tmp_path / "out.csv", "--image-size", "30x40", "--threshold", "3") == 1
    output = capsys.readouterr().err
    assert "hand0.png, Ulna: not voted on: 2 of 3 members vote, with 2 votes; 3 are needed" in output
    assert ("hand0.png", "Ulna") not in drawn(tmp_path / "out.csv", *SIZE)
    assert ("hand0.png", "Radius") in drawn(tmp_path / "out.csv", *SIZE)


# Planted faults

FAULTY = """image_name,class,rle
hand0.png,Ulna,1 3 5
hand0.png,Radius,1 3 10 2
hand0.png,Hamate,1190 12
hand1.png,Ulna,1 5
hand1.png,Ulna,7 5
hand1.png,Raduis,1 5
hand1.png,Radius,0 5
hand1.png
hand2.png,Ulna,1 5 3 5
hand2.jpg,Radius,1 5
"""


def test_every_planted_fault_is_told_with_its_row_and_the_rest_is_voted_on(
    members: list[Path], tmp_path: Path, capsys: Captured
) -> None:
    faulty = tmp_path / "faulty.csv"
    faulty.write_text(FAULTY)
    paths = [*members[:2], faulty]
    out = tmp_path / "out.csv"
    assert command("vote", *paths, out, "--image-size", "30x40") == 1
    output = capsys.readouterr().err
    for says in (
        "8 rows or files could not be used",
        "line 2 (Ulna in hand0.png): 3 numbers; the last run has no length",
        "line 4 (Hamate in hand0.png): the run 1190 12 ends behind the picture, which has 30 rows of 40 pixels (1200)",
        "line 6 marks Ulna in hand1.png again, after line 5; skipped",
        "line 7 marks Raduis, which no other member and no dataset knows",
        "line 8 (Radius in hand1.png): a run begins at pixel 0",
        "line 9 names no picture and structure: hand1.png",
        "line 10 (Ulna in hand2.png): the runs at pixel 1 and 3 overlap",
        "line 11 calls hand2.jpg what is hand2.png above; skipped",
    ):
        assert says in output
        assert output.count(says) == 1
    assert "Traceback" not in output
    found = drawn(out, *SIZE)
    messages = [masks(n) for n in range(2)]
    assert found.keys() == messages[0].keys()
    given = {("hand0.png", "Radius"): [1, 2, 3, 10, 11], ("hand1.png", "Ulna"): [1, 2, 3, 4, 5]}
    for key, mask in found.items():
        third = np.zeros(SIZE, dtype=int)
        third.flat[np.array(given.get(key, []), dtype=int) - 1] = 1
        votes = messages[0][key].astype(int) + messages[1][key] + third
        np.testing.assert_array_equal(mask, votes >= 2, err_msg=str(key))
    record = json.loads((tmp_path / "out.votes.json").read_text())
    kept = [*record["problems"], *(one for case in record["cases"].values() for one in case.get("problems", ()))]
    assert sorted(one["line"] for one in kept) == [2, 4, 6, 7, 8, 9, 10, 11]
    assert {one["member"] for one in kept} == {str(faulty)}


def test_of_two_rows_for_one_structure_the_first_counts(members: list[Path], tmp_path: Path) -> None:
    twice = tmp_path / "twice.csv"
    twice.write_text("image_name,class,rle\nhand0.png,Ulna,7 5\nhand0.png,Radius,1 1\nhand0.png,Ulna,1 5\n")
    found, report = vote([members[0], twice], tmp_path / "out.csv", threshold=1)
    first = np.zeros(SIZE, dtype=bool)
    first.flat[6:11] = True
    np.testing.assert_array_equal(found["hand0.png", "Ulna"], masks(0)["hand0.png", "Ulna"] | first)
    assert [one.line for one in report.all_problems if one.kind == "twice"] == [4]


def test_problems_that_are_alike_are_told_once(tmp_path: Path) -> None:
    votes = {**masks(0, 9), **{(f"hand{n}.png", "Skull"): np.ones(SIZE, bool) for n in range(9)}}
    paths = [table(tmp_path / "a.csv", masks(0, 9)), table(tmp_path / "b.csv", votes)]
    _, report = vote(paths, tmp_path / "out.csv")
    ((one, count),) = group_problems(report.all_problems)
    assert (one.line, one.structure, count) == (29, "Skull", 9)


def test_a_threshold_of_its_own_makes_a_structure_known(tmp_path: Path) -> None:
    votes = {**masks(0), ("hand0.png", "Skull"): np.ones(SIZE, bool)}
    paths = [table(tmp_path / "a.csv", masks(0)), table(tmp_path / "b.csv", votes)]
    found, report = vote(paths, tmp_path / "out.csv", threshold={"Skull": 1})
    assert found["hand0.png", "Skull"].all()
    assert not report.all_problems
    with pytest.raises(UsageError, match="no member and no dataset has a structure Scull"):
        vote(paths, tmp_path / "no.csv", threshold="Scull=1")


# How large pictures are


def test_a_dataset_says_how_large_its_pictures_are_and_what_counts(tmp_path: Path, capsys: Captured) -> None:
    rng = np.random.default_rng(0)
    columns, rows = 40, 30
    image = rng.normal(0, 1, (columns, rows, 1)).astype(np.float32)
    labels = np.zeros((2, columns, rows, 1), dtype=np.uint8)
    labels[:, 2:5, 2:5] = 1
    dataset = write_dataset(
        tmp_path / "set",
        {"hand0": (image, labels, np.eye(4))},
        make_structures(["Ulna", "Radius"]),
        modality="xray",
        overlapping=True,
        unit="px",
    )
    paths = [table(tmp_path / f"{n}.csv", masks(n, 2)) for n in range(2)]
    out = tmp_path / "out.csv"
    assert PictureSizes(None, dataset).of("hand0.png") == (rows, columns)
    assert PictureSizes((5, 6), dataset).of("hand7.png") == (5, 6)
    assert command("vote", *paths, out, "--dataset", dataset.folder) == 1
    output = capsys.readouterr().err
    assert "hand1.png: hand1.png: " in output
    assert "has no such picture, so its size is not known" in output
    assert "marks Hamate, which no other member and no dataset knows (and 1 more like it)" in output
    found = drawn(out, *SIZE)
    assert set(found) == {("hand0.png", "Ulna"), ("hand0.png", "Radius")}
    np.testing.assert_array_equal(
        found["hand0.png", "Ulna"], masks(0)["hand0.png", "Ulna"] & masks(1)["hand0.png", "Ulna"]
    )


def test_without_a_size_pictures_have_2048_squared(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path in paths:
        write_rle_csv(path, [("a", "Ulna", f"{2048 * 2048} 1"), ("a", "Radius", f"{2048 * 2048} 2")])
    report = osteon.vote(paths, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == f"image_name,class,rle\na,Ulna,{2048 * 2048} 1\n"
    assert [one.line for one in report.all_problems] == [3, 3]


def test_sizes_as_people_write_them() -> None:
    assert parse_size("2048x1536") == parse_size(" 2048 × 1536 ") == (2048, 1536)
    for text in ("", "2048", "0x5", "ax5", "-3x5", "5x", "5x5x5"):
        with pytest.raises(UsageError, match="not HxW"):
            parse_size(text)


# Done, and other people's files


def test_what_is_done_is_left_and_what_has_changed_is_done_again(
    members: list[Path], tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out.csv"
    arguments = ["vote", *members, out, "--image-size", "30x40"]
    assert command(*arguments) == 0
    before = out.stat().st_mtime_ns
    capsys.readouterr()
    assert command(*arguments) == 0
    assert "3 were done already" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == before
    table(members[0], masks(9))
    assert command(*arguments) == 0
    assert out.stat().st_mtime_ns != before
    assert command(*arguments, "--threshold", "1") == 0
    assert "done already" not in capsys.readouterr().out


def test_a_table_that_no_vote_has_written_is_replaced_only_on_request(members: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        vote(members, out)
    assert out.read_text() == "mine"
    vote(members, out, overwrite=True)
    assert out.read_text() != "mine"


def test_a_table_that_changes_meanwhile_ends_the_vote(
    members: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osteon.voting import tables

    decide = tables.decide_binary

    def meddle(*arguments: Any) -> Any:
        members[2].write_text(members[2].read_text() + "hand9.png,Ulna,1 1\n")
        return decide(*arguments)

    monkeypatch.setattr(tables, "decide_binary", meddle)
    with pytest.raises(FileError, match="has changed while it was read"):
        vote(members, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    assert not list(tmp_path.glob(".part-*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{a}", "{out}"], "1 members: at least two are needed"),
        (["{a}", "{a}", "{out}"], "is given twice"),
        (["{a}", "{b}", "{folder}"], "tables vote for a table"),
        (["{a}", "{folder}", "{out}"], "they cannot vote together"),
        (["{a}", "{b}", "{a}"], "is a member itself"),
        (["{a}", "{b}", "{out}", "--method", "soft"], "a table of RLE holds no probabilities"),
        (["{a}", "{b}", "{out}", "--threshold", "3"], "the 2 members have 2 votes together"),
        (["{a}", "{b}", "{out}", "--threshold", "0"], "'0' is not a number above 0"),
        (["{a}", "{b}", "{out}", "--threshold", "Ulna"], "'Ulna' is not a number"),
        (["{a}", "{b}", "{out}", "--threshold", "Ulna=1,Ulna=2"], "is listed twice"),
        (["{a}", "{b}", "{out}", "--threshold", "2", "--method", "staple"], "--threshold counts votes"),
        (["{a}", "{b}", "{out}", "--weights", "1"], "1 weights for 2 members"),
        (["{a}", "{b}", "{out}", "--weights", "0,0"], "no member's vote counts"),
        (["{a}", "{b}", "{out}", "--weights", "1,-1"], "'-1' is not a number from 0"),
        (["{a}", "{b}", "{out}", "--image-size", "big"], "not HxW"),
        (["{a}", "{b}", "{out}", "--fit-part", "weights"], "--fit-part belongs to --fit"),
        (["{text}", "{b}", "{out}"], "is neither a folder nor a .csv"),
    ],
)
def test_misuse_exits_with_2(tmp_path: Path, capsys: Captured, arguments: list[str], says: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "notes.txt").write_text("no table")
    places = {
        "a": table(tmp_path / "a.csv", masks(0)),
        "b": table(tmp_path / "b.csv", masks(1)),
        "out": tmp_path / "out.csv",
        "folder": folder,
        "text": tmp_path / "notes.txt",
    }
    assert command("vote", *[part.format(**places) for part in arguments]) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out.csv").exists()


def test_members_without_a_common_structure_are_refused(tmp_path: Path) -> None:
    mask = np.ones(SIZE, bool)
    paths = [table(tmp_path / f"{name}.csv", {("a", name): mask}) for name in BONES]
    with pytest.raises(LabelError, match="no structure is in more than one member: Ulna; Radius; Hamate"):
        vote(paths, tmp_path / "out.csv")
    with pytest.raises(FileError, match="the member does not exist"):
        vote([*paths, tmp_path / "none.csv"], tmp_path / "out.csv")
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(FileError, match="names no columns"):
        vote([paths[0], tmp_path / "empty.csv"], tmp_path / "out.csv")
