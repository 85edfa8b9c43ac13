"""`osteon import-model nnunet`: where models lie, in folders and zips, and what is none."""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import osteon
from helpers import tiny_plan
from nnunet_models import arch, configuration, forward, plans, state, write_model
from osteon.converting.convert import ConvertedModel, ConvertOptions, convert_model
from osteon.core import zip_files
from osteon.core.errors import FileError, ModelError, OsteonError, UsageError
from osteon.networks.registry import build_network
from osteon.predicting.model import Model
from osteon.predicting.model_folder import save_model
from runs import command

BEST, LATEST = "checkpoint_best.pth", "checkpoint_latest.pth"
MADE = plans({"3d_fullres": configuration(3), "2d": configuration(2)})


def results(folder: Path, *names: str, dataset: str = "Dataset001_Made") -> Path:
    """nnUNet_results with a model for each configuration."""
    for name in names or ("3d_fullres",):
        write_model(folder / dataset, name, MADE)
    return folder


def says_what_it_should(model: Path, seed: int = 0) -> None:
    x = torch.randn(1, 1, 4, 16, 12, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        (logits,) = osteon.load_model(model).network(x)
    torch.testing.assert_close(logits, forward(state(arch(3), 1, 3, seed), arch(3), x), rtol=1e-4, atol=1e-4)


# -- folders ---------------------------------------------------------------------------------------------------------


def with_checkpoints(folder: Path, **folds: list[str]) -> Path:
    """A model whose folds have these checkpoints alone; those of a fold are alike."""
    made = write_model(folder, "3d_fullres", MADE, folds=tuple(fold[1:] for fold in folds))
    for fold, names in folds.items():
        inner = made / f"fold_{fold[1:]}"
        for name in names:
            shutil.copy(inner / "checkpoint_final.pth", inner / f"{name}.part")
        (inner / "checkpoint_final.pth").unlink()
        for path in inner.glob("*.part"):
            path.rename(path.with_suffix(""))
    return made


def test_a_training_that_was_not_finished_gives_what_it_has(tmp_path: Path) -> None:
    both = with_checkpoints(tmp_path / "both", f0=[BEST, LATEST], f1=[LATEST])
    done = convert_model(both, tmp_path / "best")
    assert done.folds == ["0"]
    assert done.notes == [
        f"fold 1 has no {BEST}: left out (it has {LATEST})",
        f"no fold has a checkpoint_final.pth: the best so far is taken ({BEST})",
    ]
    latest = convert_model(both, tmp_path / "latest", ConvertOptions(checkpoint="latest"))
    assert latest.folds == ["0", "1"]
    assert not latest.notes
    done = convert_model(with_checkpoints(tmp_path / "last", f0=[LATEST]), tmp_path / "last-model")
    assert done.notes == [f"no fold has a checkpoint_final.pth: the last so far is taken ({LATEST})"]
    assert f"fold 0: {LATEST}" in (tmp_path / "last-model/card.md").read_text()
    says_what_it_should(tmp_path / "last-model")
    with pytest.raises(ModelError, match="no fold has a checkpoint_final"):
        convert_model(both, tmp_path / "model", ConvertOptions(checkpoint="final"))
    assert command("import-model", "nnunet", both, tmp_path / "told", "--checkpoint", "latest") == 0


def test_a_model_is_found_further_down(tmp_path: Path) -> None:
    top = tmp_path / "downloads"
    results(top / "nnunet/results")
    (top / "nnunet/results/Dataset001_Made/ensembles").mkdir()
    (top / "loop").symlink_to(top)
    done = convert_model(top, tmp_path / "model")
    says_what_it_should(tmp_path / "model")
    assert "nnUNetTrainer__nnUNetPlans__3d_fullres" in (tmp_path / "model/card.md").read_text()
    assert done.folds == ["0"]


def test_of_several_models_all_are_named(tmp_path: Path) -> None:
    results(tmp_path / "results", "3d_fullres", "2d")
    results(tmp_path / "results", dataset="Dataset002_Other")
    with pytest.raises(UsageError, match="holds 3 trained models") as refused:
        convert_model(tmp_path / "results", tmp_path / "model")
    for place in (
        "Dataset001_Made/nnUNetTrainer__nnUNetPlans__2d",
        "Dataset002_Other/nnUNetTrainer__nnUNetPlans__3d_f",
    ):
        assert str(tmp_path / "results" / place) in refused.value.hint


# -- zips ------------------------------------------------------------------------------------------------------------


def zipped(folder: Path, archive: Path) -> Path:
    return Path(shutil.make_archive(str(archive.with_suffix("")), "zip", folder))


def test_a_zip_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = results(tmp_path / "results")
    summary = made / "Dataset001_Made/nnUNetTrainer__nnUNetPlans__3d_fullres/fold_0/validation/summary.json"
    summary.parent.mkdir()
    summary.write_text(json.dumps({"metric_per_case": [{"metrics": {"1": {"Dice": 0.5}}}]}))
    archive = zipped(made, tmp_path / "shared.zip")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    convert_model(archive, tmp_path / "model")
    says_what_it_should(tmp_path / "model")
    assert osteon.load_model(tmp_path / "model").validation["structures"] == {"femur": 0.5, "tibia": None}
    assert not list((tmp_path / "temporary").iterdir())
    card = (tmp_path / "model/card.md").read_text()
    assert card == _card_of(convert_model(made, tmp_path / "from-folder"))


def _card_of(done: ConvertedModel) -> str:
    return (done.model / "card.md").read_text()


@pytest.mark.parametrize("inside", ["", "nnUNetTrainer__nnUNetPlans__3d_fullres"])
def test_a_zip_may_hold_the_trainers_folder_or_its_files(inside: str, tmp_path: Path) -> None:
    top = results(tmp_path / "results") / "Dataset001_Made"
    archive = zipped(top if inside else top / "nnUNetTrainer__nnUNetPlans__3d_fullres", tmp_path / "m.zip")
    assert command("import-model", "nnunet", archive, tmp_path / "model") == 0
    says_what_it_should(tmp_path / "model")


def test_of_several_models_in_a_zip_one_is_named_by_its_path(tmp_path: Path) -> None:
    archive = zipped(results(tmp_path / "results", "3d_fullres", "2d"), tmp_path / "m.zip")
    with pytest.raises(UsageError, match="holds 2 trained models") as refused:
        convert_model(archive, tmp_path / "model")
    place = archive / "Dataset001_Made/nnUNetTrainer__nnUNetPlans__3d_fullres"
    assert str(place) in refused.value.hint
    convert_model(place, tmp_path / "model")
    says_what_it_should(tmp_path / "model")
    with pytest.raises(FileError, match="Dataset009"):
        convert_model(archive / "Dataset009", tmp_path / "other")


def test_a_cascade_in_a_zip_brings_its_first_model(tmp_path: Path) -> None:
    low = configuration(3, spacing=[2.0, 2.0, 2.0], patch_size=[2, 8, 8])
    second = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    made = plans({"3d_lowres": low, "3d_fullres": configuration(3), "3d_cascade_fullres": second})
    write_model(tmp_path / "results", "3d_lowres", made)
    folder = write_model(tmp_path / "results", "3d_cascade_fullres", made, channels=3)
    archive = zipped(tmp_path / "results", tmp_path / "m.zip")
    done = convert_model(archive / folder.name, tmp_path / "model")
    assert done.first is not None
    alone = zipped(folder, tmp_path / "second.zip")
    with pytest.raises(ModelError, match=r"second\.zip: is the second model of a cascade"):
        convert_model(alone, tmp_path / "other")
    first = archive / folder.name.replace("cascade_fullres", "lowres")
    assert convert_model(alone, tmp_path / "other", ConvertOptions(before=first)).first is not None


def entry(name: str, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


@pytest.mark.parametrize("name", ["../plans.json", "/etc/plans.json", "a/../../plans.json", "..\\plans.json", "C:x"])
def test_names_that_lead_out_of_a_zip(name: str, tmp_path: Path) -> None:
    archive = zipped(results(tmp_path / "results"), tmp_path / "in/m.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(entry(name), "{}")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match="leads out of its folder"):
        convert_model(archive, tmp_path / "model")
    assert sorted(tmp_path.rglob("*")) == before


def test_zips_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(archive: Path) -> str:
        with pytest.raises(ModelError) as refused:
            convert_model(archive, tmp_path / "model")
        assert str(archive) in refused.value.message
        assert tempfile.gettempdir() not in refused.value.message.replace(str(tmp_path), "")
        assert refused.value.hint
        return refused.value.message

    trainer = "nnUNetTrainer__nnUNetPlans__3d_fullres"
    whole = zipped(results(tmp_path / "results") / "Dataset001_Made", tmp_path / "m.zip")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-3000])
    assert "neither a folder nor a whole zip" in refusal(cut)
    spoilt = tmp_path / "spoilt.zip"
    data = bytearray(whole.read_bytes())
    data[2000:2400] = bytes(400)
    spoilt.write_bytes(data)
    assert "is damaged" in refusal(spoilt)
    twice = Path(shutil.copy(whole, tmp_path / "twice.zip"))
    with zipfile.ZipFile(twice, "a") as opened, pytest.warns(UserWarning, match="Duplicate"):
        opened.writestr(f"{trainer}/plans.json", "{}")
    assert "two files of one name" in refusal(twice)
    for name, kind, content in (("link", stat.S_IFLNK, "/etc/passwd"), ("bomb", stat.S_IFREG, " " * (3 << 20))):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as opened:
            opened.writestr(entry(f"{trainer}/dataset.json"), "{}")
            opened.writestr(entry(f"{trainer}/plans.json", kind), content)
    assert "holds links" in refusal(tmp_path / "link.zip")
    monkeypatch.setattr(zip_files, "SLACK", 1 << 20)
    assert "a zip bomb" in refusal(tmp_path / "bomb.zip")
    locked = tmp_path / "locked.zip"
    data = bytearray(whole.read_bytes())
    place = data.find(b"PK\x01\x02")
    while place >= 0:
        data[place + 8] |= 1
        place = data.find(b"PK\x01\x02", place + 1)
    locked.write_bytes(data)
    assert "is encrypted" in refusal(locked)
    assert "is no trained model" in refusal(zipped(tmp_path / "results/Dataset001_Made" / trainer / "fold_0", cut))


def test_a_disk_without_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(results(tmp_path / "results"), tmp_path / "m.zip")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(FileError, match="no room to unpack") as refused:
        convert_model(archive, tmp_path / "model")
    assert "TMPDIR" in refused.value.hint


class Opens:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def test_nothing_in_a_zip_is_run(tmp_path: Path) -> None:
    write_model(tmp_path / "results", "3d_fullres", MADE, logging=Opens(tmp_path / "trap"))
    archive = zipped(tmp_path / "results", tmp_path / "m.zip")
    with pytest.raises(ModelError, match=r"m\.zip/nnUNetTrainer.*could run code"):
        convert_model(archive, tmp_path / "model")
    assert not (tmp_path / "trap").exists()


# -- what is none ----------------------------------------------------------------------------------------------------


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.mark.parametrize("packed", [False, True])
def test_other_things_are_named(packed: bool, tmp_path: Path) -> None:
    touch(tmp_path / "v1/3d_fullres/Task001/Trainer__plans/plans.pkl")
    touch(tmp_path / "v1/3d_fullres/Task001/Trainer__plans/fold_0/model_final_checkpoint.model")
    touch(tmp_path / "bundle/configs/metadata.json", tmp_path / "bundle/models/model.pt")
    touch(tmp_path / "raw/dataset.json", tmp_path / "raw/imagesTr/a_0000.nii.gz")
    touch(tmp_path / "prepared/dataset.json", tmp_path / "prepared/nnUNetPlans.json")
    touch(tmp_path / "something/notes.txt")
    torch.manual_seed(0)
    save_model(tmp_path / "run/model", Model(build_network(tiny_plan()), tiny_plan(), {}, ""), "")
    for name, what, hint in (
        ("v1", "is of nnU-Net's first version", "train it again"),
        ("bundle", "is a bundle of MONAI's", "monai.bundle"),
        ("raw", "is a dataset", "osteon import"),
        ("prepared", "what nnU-Net prepared", "nnUNet_results"),
        ("run", "is a model of osteon's", "osteon predict"),
        ("something", "is no trained model of nnU-Net v2", "nnUNet_results"),
    ):
        given = zipped(tmp_path / name, tmp_path / f"{name}.zip") if packed else tmp_path / name
        with pytest.raises(OsteonError, match=what) as refused:
            convert_model(given, tmp_path / "model")
        assert str(given) in refused.value.message
        assert hint in refused.value.hint


def test_a_file_alone_is_no_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "3d_fullres", MADE)
    checkpoint = folder / "fold_0/checkpoint_final.pth"
    with pytest.raises(UsageError, match="is a checkpoint alone") as refused:
        convert_model(checkpoint, tmp_path / "model")
    assert f"{folder}, with --folds 0" in refused.value.hint
    shutil.copy(checkpoint, tmp_path / "mine.pth")
    with pytest.raises(UsageError, match="is a checkpoint alone") as refused:
        convert_model(tmp_path / "mine.pth", tmp_path / "model")
    assert "TRAINER__PLANS__CONFIGURATION" in refused.value.hint
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ModelError, match="neither a folder nor a whole zip"):
        convert_model(tmp_path / "array.npy", tmp_path / "model")
