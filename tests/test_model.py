"""A model folder: whole, or refused by the name of what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from helpers import plan_data, tiny_plan, two_boxes
from osteon.core.errors import DatasetError, FileError, GeometryError, ImageError, ModelError, PlanError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats import write_volume
from osteon.networks import weights
from osteon.networks.registry import build_network
from osteon.plan.schema import Plan, parse_plan, write_plan
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model, save_model
from osteon.predicting.speed import BEST

pytestmark = pytest.mark.usefixtures("memory_order")


def saved(folder: Path, changes: dict[str, Any] | None = None) -> tuple[torch.nn.Module, Plan]:
    plan = tiny_plan(changes)
    torch.manual_seed(0)
    network = build_network(plan)
    save_model(folder, Model(network, plan, {"dice": 0.5}, ""), "# A card\n")
    return network, plan


def scan() -> Volume:
    image, _, affine = two_boxes()
    return Volume(image[None].astype(np.float32), Geometry(image.shape, affine))


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    network, plan = saved(tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert model.plan == plan
    assert model.validation == {"dice": 0.5}
    assert not model.network.training
    x = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(model.network(x)[0], network.eval()(x)[0])
    assert (tmp_path / "model/card.md").read_text() == "# A card\n"
    assert len(model.sha256) == 64
    again = load_model(tmp_path)  # the run's folder, whose `model` is meant
    assert again.sha256 == model.sha256
    assert np.array_equal(again.predict(scan()).array, model.predict(scan()).array)


def test_a_file_and_a_volume_give_the_same(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    model = load_model(tmp_path / "model")
    write_volume(tmp_path / "scan.nii.gz", scan())
    found = model.predict(tmp_path / "scan.nii.gz")
    assert np.array_equal(found.array, model.predict(scan()).array)
    assert found.array.shape == (12, 10, 8)
    assert set(np.unique(found.array)) <= {0, 3, 5}


@pytest.mark.parametrize("name", ["weights.safetensors", "plan.yaml", "validation.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(ModelError, match=name.replace(".", r"\.")) as caught:
        load_model(tmp_path / "model")
    assert "whole" in caught.value.hint


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"weights\.safetensors, plan\.yaml, validation\.json"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize("harm", ["empty", "cut", "words", "other", "one bit"])
def test_damaged_weights_are_refused(tmp_path: Path, harm: str) -> None:
    saved(tmp_path)
    path = tmp_path / "weights.safetensors"
    if harm == "empty":
        path.write_bytes(b"")
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    elif harm == "words":
        path.write_text("torch.load me")
    elif harm == "one bit":
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
    else:
        weights.save_tensors(path, {"x": torch.zeros(3)})
    with pytest.raises(ModelError, match=r"weights\.safetensors: the weights are damaged, or not those of the plan"):
        load_model(tmp_path)


def test_an_error_without_words_is_told_by_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    monkeypatch.setattr("osteon.predicting.model_folder.load_checked", Mock(side_effect=RuntimeError))
    with pytest.raises(ModelError, match=r"not those of the plan beside them \(RuntimeError\)"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"network.features": [4, 8]},
        {"structures": plan_data()["structures"][:1]},
        {"overlapping": True},
        {"network.kernels": [[3, 3, 3], [1, 3, 3]]},
    ],
)
def test_weights_of_another_plan_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    saved(tmp_path)
    write_plan(tmp_path / "plan.yaml", tiny_plan(changes))
    with pytest.raises(ModelError, match="not those of the plan"):
        load_model(tmp_path)


def test_a_plan_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    text = (tmp_path / "plan.yaml").read_text()
    (tmp_path / "plan.yaml").write_text(text.replace("dimensions: 3", "dimensions: 5"))
    with pytest.raises(PlanError, match=r"grid\.dimensions"):
        load_model(tmp_path)
    (tmp_path / "plan.yaml").write_text("{")
    with pytest.raises(FileError, match=r"plan\.yaml"):
        load_model(tmp_path)


def test_scans_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    model = load_model(tmp_path)
    volume = scan()
    with pytest.raises(DatasetError, match=r"has 2 channels; the model needs 1 \(ct\)"):
        model.predict(Volume(np.concatenate([volume.array] * 2), volume.geometry))
    broken = volume.array.copy()
    broken[0, 1, 2, 3] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        model.predict(Volume(broken, volume.geometry))
    with pytest.raises(GeometryError, match="measured in px, the model's in mm"):
        model.predict(Volume(volume.array, Geometry(volume.geometry.shape, volume.geometry.affine_ras, "px")))
    with pytest.raises(FileError, match=r"gone\.nii\.gz"):
        model.predict(tmp_path / "gone.nii.gz")


def test_a_failed_write_keeps_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    before = load_model(tmp_path).sha256

    def full(*_: object, **__: object) -> None:
        raise weights.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(FileError, match="the disk is full"):
        saved(tmp_path)
    assert load_model(tmp_path).sha256 == before


def test_the_average_of_mirror_images_is_asked_for(tmp_path: Path) -> None:
    saved(tmp_path, {"augmentation.mirror_axes": [0, 1, 2]})
    model = load_model(tmp_path)
    image = np.random.default_rng(0).normal(100, 80, (1, 16, 16, 16))
    volume = Volume(image, Geometry((16, 16, 16), np.eye(4)))
    assert not np.array_equal(model.predict(volume).array, model.predict(volume, speed=BEST).array)
    assert parse_plan(plan_data(), Path("plan.yaml")).mirror_partners == [0, 1]
