"""Models without osteon: the exported network and its client give osteon's own mask."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

import osteon
from helpers import FLAT, tiny_plan
from nnunet_models import configuration, plans, write_model
from osteon.converting.convert import convert_model
from osteon.core.errors import FileError, ModelError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.exporting import client
from osteon.formats import write_volume
from osteon.networks.registry import build_network
from osteon.predicting.engines import ENGINES, Engine, find_engine
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model, save_model

TURNED = np.array([[0.0, 0.2, 1.1, 5.0], [-0.9, 0.0, 0.0, 7.0], [0.0, 1.7, -0.1, -3.0], [0.0, 0.0, 0.0, 1.0]])
"""Axes that are permuted, mirrored, oblique, and of unequal voxels."""
OVERLAPPING = {"overlapping": True}
SMALL = {"intensities": [{"channel": "ct", "clip": [-100.0, 300.0]}], "channels": [{"name": "ct", "modality": "mr"}]}


def saved(folder: Path, changes: dict[str, Any]) -> Model:
    torch.manual_seed(0)
    plan = tiny_plan(changes)
    network = build_network(plan).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # a fresh network says the same everywhere
    save_model(folder, Model(network, plan, {"dice": 0.5}, ""), "# A card\n")
    return load_model(folder)


def scan(shape: tuple[int, int, int]) -> Volume:
    values = 100 + 120 * np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    values[:, : shape[0] // 2] = -1000  # air
    return Volume(values, Geometry(shape, TURNED))


@pytest.mark.usefixtures("memory_order")
@pytest.mark.parametrize(
    ("form", "changes", "shape"),
    [
        ("onnx", {}, (20, 18, 11)),
        ("onnx", SMALL, (6, 4, 5)),
        ("onnx", OVERLAPPING, (20, 18, 11)),
        ("onnx", FLAT, (12, 7, 15)),
        ("onnx", FLAT | OVERLAPPING, (5, 4, 3)),
        ("openvino", {}, (20, 18, 11)),
    ],
    ids=["3d", "smaller than a patch", "3d overlapping", "2d", "2d overlapping", "openvino"],
)
def test_the_client_gives_the_same_mask(
    form: str, changes: dict[str, Any], shape: tuple[int, int, int], tmp_path: Path
) -> None:
    needs(form)
    model = saved(tmp_path / "model", changes)
    report = osteon.export(form, tmp_path / "model", tmp_path / "out")
    assert not report.notes
    volume = scan(shape)
    write_volume(tmp_path / "scan.nii.gz", volume)
    expected = replace(model, network=Engine(model.network, find_engine(form))).segment(volume).segmentation
    exported = runpy.run_path(str(tmp_path / "out" / "client.py"))
    exported["main"](str(tmp_path / "scan.nii.gz"), str(tmp_path / "mask.nii.gz"))
    found = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(found.affine, TURNED, atol=1e-5)
    labels = np.asarray(found.dataobj)
    np.testing.assert_array_equal(np.moveaxis(labels, -1, 0) if model.plan.overlapping else labels, expected.array)
    assert len(np.unique(labels)) > 1


def test_as_a_user_would(tmp_path: Path) -> None:
    """In a process of its own that does not know osteon."""
    needs("onnx")
    saved(tmp_path / "model", {})
    osteon.export("onnx", tmp_path / "model", tmp_path / "out")
    write_volume(tmp_path / "scan.nii.gz", scan((9, 10, 11)))
    code = "import sys, runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__'); "
    code += "assert not {'osteon', 'torch'} & set(sys.modules)"
    words = [tmp_path / "out" / "client.py", tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"]
    subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True)
    assert nibabel.load(tmp_path / "mask.nii.gz").shape == (9, 10, 11)
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert about["names"] == ["background", "femur", "tibia"]
    assert about["values"] == [0, 3, 5]


def test_what_the_client_leaves_out_is_said(tmp_path: Path) -> None:
    needs("openvino")
    series = {"axis": 2, "names": ["femur", "tibia", "fibula"], "distance_mm": 30.0, "volume_mm3": 500.0}
    structures = [{"name": name, "value": n, "colour": "#00ff00"} for n, name in enumerate(series["names"], 1)]
    saved(tmp_path / "model", {"series": series, "structures": structures})
    report = osteon.export("openvino", tmp_path / "model", tmp_path / "out")
    assert report.notes == ["client.py leaves out what osteon does besides: names in order"]
    assert [path.name for path in report.files] == [
        "network.xml",
        "network.bin",
        "plan.yaml",
        "model.json",
        "client.py",
    ]


def test_a_model_of_nnunets_has_no_client(tmp_path: Path) -> None:
    """The client does not prepare scans in nnU-Net's way; one of an earlier export would give other masks."""
    needs("onnx")
    saved(tmp_path / "own", {})
    osteon.export("onnx", tmp_path / "own", tmp_path / "out")
    assert (tmp_path / "out/client.py").is_file()
    low = configuration(3, spacing=[2.0, 2.0, 2.0], patch_size=[2, 8, 8])
    second = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    made = plans({"3d_lowres": low, "3d_fullres": configuration(3), "3d_cascade_fullres": second})
    write_model(tmp_path, "3d_lowres", made)
    convert_model(write_model(tmp_path, "3d_cascade_fullres", made, channels=3), tmp_path / "model")
    report = osteon.export("onnx", tmp_path / "model", tmp_path / "out")
    assert sorted(path.name for path in report.files) == ["model.json", "network.onnx", "plan.yaml"]
    assert not (tmp_path / "out/client.py").exists()
    assert ["nnU-Net's way" in report.notes[0], "model/first" in report.notes[1]] == [True, True]


def test_what_cannot_be_exported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("openvino")
    with pytest.raises(ModelError, match="not a whole model folder"):
        osteon.export("openvino", tmp_path, tmp_path / "out")
    saved(tmp_path / "model", {})
    with pytest.raises(UsageError, match="--space: means nothing for openvino"):
        osteon.export("openvino", tmp_path / "model", tmp_path / "out", space="RAS")
    with pytest.raises(UsageError, match="openvino takes one model, not 2"):
        osteon.export("openvino", [tmp_path / "model"] * 2, tmp_path / "out")
    with pytest.raises(FileError, match="is there already"):
        osteon.export("openvino", tmp_path / "model", tmp_path / "model")
    monkeypatch.setattr(client, "network", lambda _: lambda batch: np.zeros((len(batch), 3, *batch.shape[2:])))
    with pytest.raises(UsageError, match="what was written differs from the model's network by"):
        osteon.export("openvino", tmp_path / "model", tmp_path / "out")


def needs(form: str) -> None:
    if missing := next(kind for kind in ENGINES if kind.name == form).missing():
        pytest.skip(missing)
