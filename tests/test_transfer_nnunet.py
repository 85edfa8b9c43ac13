"""Training that begins with a model of nnU-Net's: the weights arrive, along the axes that they were trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import osteon
from helpers import spacing_affine, tiny_plan, two_boxes, write_dataset
from nnunet_models import arch, configuration, plans, write_model
from osteon.converting.convert import ConvertOptions, convert_model
from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.networks.ensemble import first_member
from osteon.networks.registry import build_network
from osteon.networks.transfer import transfer
from osteon.plan.inheritance import inherit_plan
from osteon.plan.schema import Plan, StructureSequence, read_plan, write_plan
from osteon.planning.inherited_plan import plan_from_model
from osteon.preparing.cache import prepare_cases
from osteon.runs.fit import train
from runs import CPU, command

SHAPE = (12, 16, 6)
LPS = spacing_affine(-1.0, -1.0, 1.3, origin=(20, 30, -9))
STILL = {"training.learning_rate": 1e-12, "training.weight_decay": 0.0, "training.epoch_iterations": 2}
"""A training that moves nothing."""


def case(seed: int, affine: np.ndarray = LPS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two boxes in a body around which the scan is 0."""
    image, labels, _ = two_boxes(SHAPE, seed=seed)
    image = image + 50
    image[:1], image[:, -2:], image[..., :1] = 0, 0, 0
    return image, labels, affine


def dataset(folder: Path, **options: Any) -> Dataset:
    return write_dataset(folder, {f"c{n}": case(n) for n in range(4)}, modality="mr", **options)


def model(folder: Path, dimensions: int = 3, **changes: Any) -> Path:
    """An imported model of nnU-Net's with random weights, spacing and kernels that differ along the axes."""
    name = "3d_fullres" if dimensions == 3 else "2d"
    spacing = [1.3, 1.0, 0.9] if dimensions == 3 else [1.1, 0.9]
    made = plans(
        {name: configuration(dimensions, **{"spacing": spacing, **changes})},
        transpose_forward=[0, 2, 1],
        original_median_spacing_after_transp=[1.3, 0.9, 1.0],
    )
    return convert_model(write_model(folder / "nnunet", name, made, folds=("0", "1")), folder / "model").model


def begun(data: Dataset, source: Path, run: Path) -> Plan:
    settings = [word for key, value in STILL.items() for word in ("--set", f"{key}={value}")]
    line = ["train", data.folder, run, "--init", source, "--epochs", 1, "--fold", "none", "--device", "cpu"]
    assert command(*line, *settings) == 0
    return read_plan(run / "plan.yaml")


def volume(image: np.ndarray, affine: np.ndarray = LPS) -> Volume:
    i, j, k = image.shape
    return Volume(image[None].astype(np.float32), Geometry((i, j, k), affine))


@pytest.mark.parametrize(
    ("dimensions", "residual", "axes"), [(3, False, "SLP"), (3, True, "SLP"), (2, False, "LPS")], ids=["3d", "r", "2d"]
)
def test_at_the_start_the_run_says_what_the_model_says(
    dimensions: int, residual: bool, axes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = model(tmp_path, dimensions, architecture=arch(dimensions, residual=residual))
    convert_model(tmp_path / "nnunet", tmp_path / "one", ConvertOptions(folds=["0"]))
    data = dataset(tmp_path / "data")
    plan = begun(data, source, tmp_path / "run")
    assert "".join(plan.grid.axes) == axes
    assert any("nnU-Net's way" in reason for reason in plan.grid.why)
    assert any("run to L, P, S here" in reason for reason in plan.grid.why)
    report = json.loads((tmp_path / "run/transfer.json").read_text())
    assert (report["share"], report["left"], report["resized"]) == (1, {}, {})
    assert report["structures"] == ["femur", "tibia"]
    before, after = osteon.load_model(tmp_path / "one"), osteon.load_model(tmp_path / "run")
    for name, tensor in before.network.state_dict().items():
        torch.testing.assert_close(after.network.state_dict()[name], tensor, msg=name)
    after = after.with_postprocessing("none")
    for seed in range(4):
        scan = volume(case(seed)[0])
        expected, found = before.predict(scan).array, after.predict(scan).array
        assert len(np.unique(expected)) > 1
        assert np.array_equal(found, np.array([0, 3, 5])[expected])
        flipped = Volume(scan.array[:, ::-1], Geometry(SHAPE, spacing_affine(1.0, -1.0, 1.3, origin=(9, 30, -9))))
        assert np.array_equal(after.predict(flipped).array, found[::-1])
    assert "the first of its 2 members is taken" in " ".join(capsys.readouterr().err.split())


def test_a_run_that_began_so_learns_and_can_be_initial_threads(tmp_path: Path) -> None:
    source = model(tmp_path)
    structures = make_structures(["tibia", "cyst"], [3, 5])
    data = dataset(tmp_path / "data", structures=structures)
    settings = {"training.epoch_iterations": 3}
    first = osteon.train(
        data.folder, tmp_path / "run", init=source, epochs=1, fold=None, device="cpu", settings=settings
    )
    assert first.iterations == 3
    assert json.loads((tmp_path / "run/transfer.json").read_text())["structures"] == ["tibia"]
    plan = begun(data, tmp_path / "run", tmp_path / "next")
    assert plan.grid.axes == read_plan(tmp_path / "run/plan.yaml").grid.axes
    assert json.loads((tmp_path / "next/transfer.json").read_text())["share"] == 1


def test_cases_are_prepared_as_in_predicting(tmp_path: Path) -> None:
    """Cropped to what is not 0 before they are normalised."""
    source, data = model(tmp_path, use_mask_for_norm=[True]), dataset(tmp_path / "data")
    plan = plan_from_model(data.folder, tmp_path / "run", str(source))
    assert plan.intensities[0].inside
    ready, failed = prepare_cases(data, plan, data.manifest.trainable)
    assert not failed
    image, _, _ = case(0)
    expected = osteon.load_model(source).prepare(volume(image)).image
    np.testing.assert_allclose(ready["c0"].image, expected, atol=2e-3)
    assert ready["c0"].labels.shape == expected.shape[1:]
    assert set(np.unique(ready["c0"].labels)) == {0, 1, 2}


def test_other_channels_and_structures_get_what_fits(tmp_path: Path) -> None:
    source = read_plan(model(tmp_path) / "plan.yaml")
    channels = [{"name": name, "modality": "mr"} for name in ("t1", "t2")]
    own = tiny_plan({"channels": channels, "intensities": [{"channel": "t1"}, {"channel": "t2"}]})
    plan = inherit_plan(own.model_copy(update={"overlapping": True}), source, "LPS")
    there = first_member(osteon.load_model(tmp_path / "model").network)
    report = transfer(build_network(plan), plan, there, source)
    assert list(report.resized) == ["encoder.stages.0.0.convs.0.conv.weight"]
    assert set(report.head.values()) == {"new"}
    assert not report.left


def test_scans_that_lie_in_several_ways_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = model(tmp_path)
    affines = [LPS, LPS, spacing_affine(1.0, 1.0, 1.3)]
    data = write_dataset(tmp_path / "data", {f"c{n}": case(n, a) for n, a in enumerate(affines)}, modality="mr")
    plan = plan_from_model(data.folder, tmp_path / "run", str(source))
    assert plan.grid.axes == ("S", "L", "P")
    output = " ".join(capsys.readouterr().err.split())
    assert "lie in 2 ways in their files (2 to LPS, 1 to RAS); all are turned to LPS" in output


def test_models_with_named_axes_may_run_backwards(tmp_path: Path) -> None:
    """As they were imported with --orientation."""
    model(tmp_path)
    convert_model(tmp_path / "nnunet", tmp_path / "named", ConvertOptions(orientation="LPS"))
    plan = begun(dataset(tmp_path / "data"), tmp_path / "named", tmp_path / "run")
    assert plan.grid.axes == ("S", "L", "P")
    assert (tmp_path / "run/samples/1.jpg").is_file() or not list((tmp_path / "run").glob("samples/*"))


def test_directions_of_a_plan_follow_axes_that_run_backwards(tmp_path: Path) -> None:
    source = read_plan(model(tmp_path) / "plan.yaml")
    own = tiny_plan({"augmentation.mirror_axes": [0], "augmentation.rotate_degrees": [1.0, 2.0, 3.0]})
    turned = inherit_plan(own, source, "PIL")  # file axes to the back, the feet, the left; the model's k, i, j
    assert turned.grid.axes == ("L", "P", "I")
    assert turned.augmentation.mirror_axes == [0]
    assert turned.augmentation.rotate_degrees == (1, 2, 3)
    turned = inherit_plan(own, source, "LPS")
    assert turned.augmentation.mirror_axes == [1]
    assert turned.augmentation.rotate_degrees == (3, 1, 2)


def test_what_nnunets_models_do_not_know_is_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = model(tmp_path)
    data = dataset(tmp_path / "data", structures=make_structures(["L1", "L2", "L3"], [3, 5, 7]))
    own = tiny_plan({"channels": [{"name": "ct", "modality": "mr"}], "intensities": [{"channel": "ct"}]})
    following = StructureSequence(axis=2, names=["L1", "L2", "L3"], distance_mm=30, volume_mm3=500)
    own = own.model_copy(update={"structures": list(data.structures), "sequence": following})
    write_plan(data.folder / "plan.yaml", own)
    plan = plan_from_model(data.folder, tmp_path / "run", str(source))
    assert plan.sequence is None
    assert any("no section series" in reason for reason in plan.grid.why)
    assert "a section series, which is left out" in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_initial_threads_is_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    low = configuration(3, spacing=[2.0, 2.0, 2.0], patch_size=[2, 8, 8])
    second = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    made = plans({"3d_lowres": low, "3d_fullres": configuration(3), "3d_cascade_fullres": second})
    write_model(tmp_path, "3d_lowres", made)
    convert_model(write_model(tmp_path, "3d_cascade_fullres", made, channels=3), tmp_path / "cascade")
    with pytest.raises(UsageError, match="second of a cascade") as refused:
        plan_from_model(data.folder, tmp_path / "run", str(tmp_path / "cascade"))
    assert "MODEL/first" in refused.value.hint
    assert plan_from_model(data.folder, tmp_path / "run", str(tmp_path / "cascade/first")).grid.axes == ("S", "P", "L")
    with pytest.raises(UsageError, match="a file's own axes") as refused:
        train(data, read_plan(tmp_path / "cascade/first/plan.yaml"), tmp_path / "run", CPU)
    assert "--init" in refused.value.hint
    flat = model(tmp_path / "flat", 2)
    across = write_dataset(
        tmp_path / "across",
        {f"c{n}": case(n, spacing_affine(1.0, 1.0, 9.0)[[2, 1, 0, 3]]) for n in range(3)},
        modality="mr",
    )
    plan = plan_from_model(across.folder, tmp_path / "run", str(flat))
    assert plan.grid.axes[2] == "R"
