"""`osteon import-model nnunet`: folders as nnU-Net writes them, against a network computed from the names alone."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import osteon
from nnunet_models import DATASET, arch, before_2_2, configuration, forward, plans, state, write_model
from osteon.converting.convert import ConvertOptions, convert_model
from osteon.core.dice import count_overlap, dice
from osteon.core.errors import FileError, ModelError, OsteonError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats import read_segmentation, write_volume
from osteon.predicting.model import Model
from osteon.predicting.predictor import predict
from osteon.predicting.scans import Scan
from osteon.predicting.stages import PredictOptions
from runs import command

REGIONS = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "leg": [1, 2], "tibia": [2]},
    "regions_class_order": [1, 2],
    "file_ending": ".nii.gz",
}


def scan(*shape: int, affine: np.ndarray | None = None, seed: int = 0) -> Volume:
    """Noise with its axes as in a file."""
    array = np.random.default_rng(seed).normal(50, 20, size=(1, *shape)).astype(np.float32)
    return Volume(array, Geometry(shape, np.eye(4) if affine is None else affine))  # type: ignore[arg-type]


def standard(array: np.ndarray) -> np.ndarray:
    return (array - array.mean()) / array.std()


def network_says(model: Path, dimensions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Some patches, and the logits of a model's network."""
    x = torch.randn(2, 1, *[4, 16, 12][3 - dimensions :], generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        (logits,) = osteon.load_model(model).network(x[..., None] if dimensions == 2 else x)
    return x, logits[..., 0] if dimensions == 2 else logits


BATCH = "batchnorm.BatchNorm"


@pytest.mark.parametrize("kind", ["plain", "residual", "batch norm", "residual batch norm", "activation first"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_logits_are_those_of_the_names(dimensions: int, kind: str, tmp_path: Path) -> None:
    norm = {"norm": BATCH} if "batch" in kind else {}
    architecture = arch(dimensions, residual="residual" in kind, **norm)
    if kind == "activation first":
        architecture["arch_kwargs"]["nonlin_first"] = True
    name = "2d" if dimensions == 2 else "3d_fullres"
    made = plans({name: configuration(dimensions, architecture=architecture)})
    assert not convert_model(write_model(tmp_path, name, made), tmp_path / "model").notes
    x, logits = network_says(tmp_path / "model", dimensions)
    expected = forward(state(architecture, 1, 3), architecture, x)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_plans_of_before_2_2_describe_the_same_network(dimensions: int, residual: bool, tmp_path: Path) -> None:
    name, architecture = "2d" if dimensions == 2 else "3d_fullres", arch(dimensions, residual=residual)
    architecture["arch_kwargs"]["features_per_stage"] = [4, 8, 10]
    made = plans({name: configuration(dimensions, architecture=architecture)})
    convert_model(write_model(tmp_path / "new", name, made), tmp_path / "model")
    folder = write_model(tmp_path / "old", name, made)
    made["configurations"][name] = before_2_2(made["configurations"][name])
    (folder / "plans.json").write_text(json.dumps(made))
    convert_model(folder, tmp_path / "old-model")
    old, new = (osteon.load_model(tmp_path / model) for model in ("old-model", "model"))
    assert old.plan == new.plan
    x, logits = network_says(tmp_path / "old-model", dimensions)
    expected = forward(state(architecture, 1, 3), architecture, x)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_trainer_may_build_batch_norms_whatever_the_plans_say(tmp_path: Path) -> None:
    """As nnUNetTrainerBN does: plans.json keeps its instance norms."""
    made = plans({"3d_fullres": configuration(3, architecture=arch(3, norm=BATCH))})
    folder = write_model(tmp_path, "3d_fullres", made, trainer_name="nnUNetTrainerBN")
    (folder / "plans.json").write_text(json.dumps(plans({"3d_fullres": configuration(3)})))
    done = convert_model(folder, tmp_path / "model")
    assert ["batch norms" in note for note in done.notes] == [True]
    x, logits = network_says(tmp_path / "model", 3)
    expected = forward(state(arch(3, norm=BATCH), 1, 3), arch(3, norm=BATCH), x)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_prediction_goes_nnunets_way(tmp_path: Path) -> None:
    """A file's last axis comes first, the scan is cropped to what is not 0, standardised, filled up with 0."""
    made = plans({"3d_fullres": configuration(3)}, transpose_forward=[1, 0, 2])
    convert_model(write_model(tmp_path, "3d_fullres", made), tmp_path / "model")
    volume = scan(9, 4, 14)
    volume.array[:, :2] = 0
    volume.array[..., 13] = 0
    found = osteon.load_model(tmp_path / "model").predict(volume)
    inner = volume.array[0, 2:, :, :13]
    x = standard(
        inner.transpose(1, 2, 0)
    )  # file axes k, j, i are the array's 0, 1, 2; the plans exchange the first two
    padded = np.pad(x, ((0, 0), (1, 2), (2, 3)))
    logits = forward(state(arch(3), 1, 3), arch(3), torch.from_numpy(padded)[None, None].float())
    labels = logits[0].argmax(0).numpy()[:, 1:14, 2:9]
    expected = np.zeros(found.array.shape, np.uint8)
    expected[2:, :, :13] = labels.transpose(2, 0, 1)
    assert np.array_equal(found.array, expected)
    assert [(s.name, s.value) for s in found.structures] == [("femur", 1), ("tibia", 2)]
    assert len(np.unique(expected[2:, :, :13])) > 1


def test_tiles_overlap_as_nnunets_do(tmp_path: Path) -> None:
    made = plans({"2d": configuration(2)})
    convert_model(write_model(tmp_path, "2d", made), tmp_path / "model")
    volume = scan(18, 16, 1)  # nnU-Net's plane is [j, i]: a patch of 16 × 12, so two tiles along i
    found = osteon.load_model(tmp_path / "model").predict(volume)
    x = torch.from_numpy(standard(volume.array[0, :, :, 0].T)).float()
    place = (np.arange(12) - 6) / 1.5
    along = torch.from_numpy(np.exp(-0.5 * place**2)).float()
    total, seen = torch.zeros(3, 16, 18), torch.zeros(16, 18)
    for first in (0, 6):
        logits = forward(state(arch(2), 1, 3), arch(2), x[None, None, :, first : first + 12])[0]
        total[..., first : first + 12] += logits * along
        seen[:, first : first + 12] += along
    assert np.array_equal(found.array[..., 0], (total / seen).argmax(0).numpy().T)


def test_folds_are_averaged_and_can_be_chosen(tmp_path: Path) -> None:
    made = plans({"3d_fullres": configuration(3)})
    folder = write_model(tmp_path, "3d_fullres", made, folds=("0", "1", "all"))
    (folder / "fold_2").mkdir()
    done = convert_model(folder, tmp_path / "model")
    assert done.folds == ["0", "1"]
    assert any("fold 2 has no checkpoint_final.pth" in note for note in done.notes)
    assert any("fold all" in note for note in done.notes)
    x = torch.randn(1, 1, 4, 16, 12)
    each = [forward(state(arch(3), 1, 3, seed), arch(3), x) for seed in (0, 1, 9)]
    with torch.inference_mode():
        both = osteon.load_model(tmp_path / "model").network(x)[0]
        torch.testing.assert_close(both, (each[0] + each[1]) / 2, rtol=1e-4, atol=1e-4)
        convert_model(folder, tmp_path / "all", ConvertOptions(folds=["all"]))
        torch.testing.assert_close(osteon.load_model(tmp_path / "all").network(x)[0], each[2], rtol=1e-4, atol=1e-4)
    assert "fold 1: checkpoint_final.pth, SHA-256" in (tmp_path / "model/card.md").read_text()
    with pytest.raises(UsageError, match="fold_3"):
        convert_model(folder, tmp_path / "other", ConvertOptions(folds=["3"]))


def test_regions_may_overlap(tmp_path: Path) -> None:
    made = plans({"3d_fullres": configuration(3)})
    convert_model(write_model(tmp_path, "3d_fullres", made, dataset=REGIONS, outputs=2), tmp_path / "model")
    model = osteon.load_model(tmp_path / "model")
    volume = scan(12, 16, 4)
    found = model.predict(volume)
    logits = forward(state(arch(3), 1, 2), arch(3), torch.from_numpy(standard(volume.array[0].T))[None, None].float())
    assert np.array_equal(found.array, (logits[0] > 0).numpy().transpose(0, 3, 2, 1))
    assert [(s.name, s.value) for s in found.structures] == [("leg", 1), ("tibia", 2)]


def cascade(results: Path, dataset: dict[str, Any] | None = None) -> tuple[Path, dict[str, Any]]:
    made = plans(
        {
            "3d_lowres": configuration(3, spacing=[2.0, 2.0, 2.0], patch_size=[2, 8, 8], architecture=arch(3)),
            "3d_fullres": configuration(3),
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        }
    )
    outputs = 2 if dataset else 3
    write_model(results, "3d_lowres", made, dataset=dataset, outputs=outputs)
    folder = write_model(results, "3d_cascade_fullres", made, dataset=dataset, outputs=outputs, channels=3)
    return folder, made


@pytest.mark.parametrize("dataset", [None, REGIONS])
def test_the_second_of_a_cascade_sees_the_first_ones_labels(dataset: dict[str, Any] | None, tmp_path: Path) -> None:
    folder, _ = cascade(tmp_path, dataset)
    done = convert_model(folder, tmp_path / "model")
    assert done.first is not None
    volume = scan(12, 16, 4)
    before = osteon.load_model(tmp_path / "model/first").predict(volume).array
    if dataset:
        before = np.where(before[1] > 0, 2, before[0])
    x = [standard(volume.array[0]), *(before == value for value in (1, 2))]
    batch = torch.from_numpy(np.stack(x).astype(np.float32).transpose(0, 3, 2, 1))[None]
    outputs = 2 if dataset else 3
    logits = forward(state(arch(3), 3, outputs), arch(3), batch)[0].permute(0, 3, 2, 1)
    found = osteon.load_model(tmp_path / "model").predict(volume).array
    assert np.array_equal(found, (logits > 0 if dataset else logits.argmax(0)).numpy())


def test_a_cascade_needs_its_first_model(tmp_path: Path) -> None:
    folder, _ = cascade(tmp_path)
    beside = folder.with_name("nnUNetTrainer__nnUNetPlans__3d_lowres")
    elsewhere = beside.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="3d_lowres"):
        convert_model(folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert convert_model(folder, tmp_path / "model", ConvertOptions(before=elsewhere)).first is not None
    with pytest.raises(UsageError, match="no second model"):
        convert_model(elsewhere, tmp_path / "other", ConvertOptions(before=elsewhere))


# -- normalisation ---------------------------------------------------------------------------------------------------


def prepared(tmp_path: Path, scheme: str, array: np.ndarray, *, masked: bool = False) -> np.ndarray:
    made = plans({"3d_fullres": configuration(3, normalization_schemes=[scheme], use_mask_for_norm=[masked])})
    convert_model(write_model(tmp_path, "3d_fullres", made), tmp_path / "model")
    model: Model = osteon.load_model(tmp_path / "model")
    image = model.prepare(Volume(array[None], Geometry(array.shape, np.eye(4)))).image  # type: ignore[arg-type]
    return image[0].transpose(2, 1, 0)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("ZScoreNormalization", standard),
        ("CTNormalization", lambda a: (a.clip(-20, 300) - 100) / 50),
        ("RescaleTo01Normalization", lambda a: (a - a.min()) / (a.max() - a.min())),
        ("NoNormalization", lambda a: a),
        ("RGBTo01Normalization", lambda a: a / 255),
    ],
)
def test_normalisations(scheme: str, expected: Any, tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(80, 150, size=(6, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(prepared(tmp_path, scheme, array), expected(array), rtol=1e-4, atol=1e-5)


def test_z_scores_inside_what_is_not_zero(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(80, 20, size=(8, 7, 6)).astype(np.float32)
    mask = np.ones(array.shape, bool)
    mask[0, :3] = False
    array[~mask] = 0
    array[4, 3, 3] = 0  # a hole, which is filled
    expected = np.zeros_like(array)
    expected[mask] = (array[mask] - array[mask].mean()) / array[mask].std()
    found = prepared(tmp_path, "ZScoreNormalization", array, masked=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("apart", [False, True])
def test_resampling_by_torch(apart: bool, tmp_path: Path) -> None:
    """Linearly, edge to edge; where slices are apart, in each alone, and the nearest of them then."""
    how = {"is_seg": False, "force_separate_z": apart or None, "memefficient_seg_resampling": False}
    settings = configuration(
        3,
        spacing=[0.7, 1.3, 0.8],
        normalization_schemes=["NoNormalization"],
        resampling_fn_data="resample_torch_fornnunet",
        resampling_fn_data_kwargs=how,
    )
    convert_model(write_model(tmp_path, "3d_fullres", plans({"3d_fullres": settings})), tmp_path / "model")
    volume = scan(12, 16, 4, affine=np.diag([1.0, 1.0, 1.5, 1.0]))
    found = osteon.load_model(tmp_path / "model").prepare(volume).image[0]
    x = torch.from_numpy(volume.array[0].T.copy())[None, None]
    if apart:
        x = F.interpolate(F.interpolate(x[0], (12, 15), mode="bilinear")[None], (9, 12, 15), mode="nearest-exact")
    else:
        x = F.interpolate(x, (9, 12, 15), mode="trilinear")
    np.testing.assert_allclose(found, x[0, 0].numpy(), rtol=1e-4, atol=1e-4)


def test_channels_of_one_name_are_told_apart(tmp_path: Path) -> None:
    colours = {"normalization_schemes": ["RGBTo01Normalization"] * 3, "use_mask_for_norm": [False] * 3}
    dataset = DATASET | {"channel_names": {str(n): "rgb_to_0_1" for n in range(3)}}
    made = plans({"2d": configuration(2, **colours)}, image_reader_writer="NaturalImage2DIO")
    done = convert_model(write_model(tmp_path, "2d", made, dataset=dataset, channels=3), tmp_path / "model")
    assert [channel.name for channel in done.plan.channels] == ["rgb_to_0_1", "rgb_to_0_1 2", "rgb_to_0_1 3"]
    assert ["red, green and blue" in note for note in done.notes] == [True]


# -- the command, and what it refuses --------------------------------------------------------------------------------


def test_the_command_makes_a_model_that_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = plans({"3d_fullres": configuration(3)})
    write_model(tmp_path / "results", "3d_fullres", made)
    assert command("import-model", "nnunet", tmp_path / "results", tmp_path / "model") == 0
    output = capsys.readouterr().out
    assert "3D nnunet, features 4, 6, 8; 2 structures; fold 0" in output
    volume = scan(12, 16, 4)
    write_volume(tmp_path / "scan.nii.gz", volume)
    assert command("predict", tmp_path / "model", tmp_path / "scan.nii.gz", tmp_path / "out", "--speed", "best") == 0
    found = read_segmentation(tmp_path / "out/scan.nii.gz")
    assert found.array.shape == (12, 16, 4)
    assert command("import-model", "nnunet", tmp_path / "results", tmp_path / "model") == 2  # it is there already
    assert command("import-model", "nnunet", tmp_path / "results", tmp_path / "model", "--overwrite") == 0


def test_probabilities_sum_to_one_also_outside_what_is_not_zero(tmp_path: Path) -> None:
    made = plans({"3d_fullres": configuration(3, spacing=[1.3, 1.3, 1.3])})
    convert_model(write_model(tmp_path, "3d_fullres", made), tmp_path / "model")
    volume = scan(12, 16, 4)
    volume.array[:, :3] = 0
    write_volume(tmp_path / "scan.nii.gz", volume)
    model = osteon.load_model(tmp_path / "model")
    kept = PredictOptions(probabilities=True)
    report = predict(model, [Scan("scan", ((tmp_path / "scan.nii.gz",),))], tmp_path / "out", kept)
    assert report.done == ["scan"]
    with np.load(tmp_path / "out/scan.probabilities.npz") as file:
        outputs = np.stack([file[str(number)] for number in range(3)]) / 255
    assert np.abs(outputs.sum(0) - 1).max() < 0.01
    assert (outputs[0, :3] == 1).all()
    labels = read_segmentation(tmp_path / "out/scan.nii.gz").array
    sure = np.sort(outputs, axis=0)[-1] - np.sort(outputs, axis=0)[-2] > 0.01
    assert np.array_equal(outputs.argmax(0)[sure], labels[sure])


class Opens:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    made = plans({"3d_fullres": configuration(3)})
    trap = tmp_path / "trap"
    folder = write_model(tmp_path, "3d_fullres", made, logging=Opens(trap))
    with pytest.raises(ModelError, match="could run code"):
        convert_model(folder, tmp_path / "model")
    assert not trap.exists()
    path = folder / "fold_0/checkpoint_final.pth"
    path.write_bytes(pickle.dumps(Opens(trap), protocol=2))  # torch's format before zip files
    with pytest.raises(ModelError, match=r"checkpoint_final\.pth"):
        convert_model(folder, tmp_path / "model")
    assert not trap.exists()
    assert not (tmp_path / "model").exists()


def with_doubled_features(settings: dict[str, Any]) -> dict[str, Any]:
    settings["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 8]
    return settings


def broken(change: str, folder: Path) -> None:
    """Do to a model's folder what befalls them."""
    path, made = folder / "fold_0/checkpoint_final.pth", json.loads((folder / "plans.json").read_text())
    settings = made["configurations"]["3d_fullres"]
    if change == "no plans":
        (folder / "plans.json").unlink()
        return
    if change == "cut off":
        path.write_bytes(path.read_bytes()[:2000])
    elif change == "empty":
        path.write_bytes(b"")
    elif change == "no weights":
        path.unlink()
    elif change == "plain weights":
        torch.save({"a": torch.zeros(1)}, path)
    elif change == "another class":
        settings["architecture"]["network_class_name"] = "mamba.UMambaBot"
    elif change == "other features":
        settings["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 6, 10]
    elif change == "batch norm":
        settings["architecture"]["arch_kwargs"]["norm_op"] = "torch.nn.modules.batchnorm.BatchNorm3d"
    elif change == "group norm":
        settings["architecture"]["arch_kwargs"]["norm_op"] = "torch.nn.modules.normalization.GroupNorm"
    elif change == "no norm":
        del settings["architecture"]["arch_kwargs"]["norm_op"]
    elif change == "not affine":
        settings["architecture"]["arch_kwargs"]["norm_op_kwargs"] = {}
    elif change == "activation":
        settings["architecture"]["arch_kwargs"]["nonlin"] = "torch.nn.GELU"
    elif change == "old plans of another network":
        made["configurations"]["3d_fullres"] = old = before_2_2(with_doubled_features(settings))
        old["UNet_class_name"] = "MyUNet"
    elif change == "old plans without features":
        made["configurations"]["3d_fullres"] = old = before_2_2(with_doubled_features(settings))
        del old["unet_max_num_features"]
    elif change == "labels of its own":
        made["label_manager"] = "MyLabels"
    elif change == "reader":
        made["image_reader_writer"] = "MyReader"
    elif change == "threshold":
        settings["resampling_fn_data_kwargs"]["separate_z_anisotropy_threshold"] = 5
    elif change == "argument of resampling":
        settings["resampling_fn_probabilities_kwargs"]["sharpness"] = 5
    elif change == "nearest":
        settings["resampling_fn_data"] = "resample_torch_fornnunet"
        settings["resampling_fn_data_kwargs"] = {"mode": "nearest"}
    elif change == "preprocessor":
        settings["preprocessor_name"] = "MyPreprocessor"
    elif change == "normalisation":
        settings["normalization_schemes"] = ["MyNormalization"]
    elif change == "resampling":
        settings["resampling_fn_data"] = "no_resampling_hack"
    elif change == "no patch":
        del settings["patch_size"]
    elif change == "no configuration":
        made["configurations"] = {"2d": settings}
    (folder / "plans.json").write_text(json.dumps(made))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no plans", "plans.json missing"),
        ("cut off", "checkpoint_final.pth"),
        ("empty", "checkpoint_final.pth"),
        ("no weights", "no fold has a checkpoint_final.pth"),
        ("plain weights", "no checkpoint of nnU-Net v2"),
        ("another class", "the network is a UMambaBot"),
        ("other features", "not those of the plans' network"),
        ("batch norm", "not those of the plans' network"),
        ("group norm", "its norm (norm_op) is GroupNorm"),
        ("no norm", "its norm (norm_op) is None"),
        ("not affine", "InstanceNorm3d with no arguments"),
        ("activation", "its activation (nonlin) is GELU"),
        ("old plans of another network", "the network is a MyUNet"),
        ("old plans without features", "unet_max_num_features"),
        ("labels of its own", "label_manager: MyLabels"),
        ("reader", "image_reader_writer: MyReader"),
        ("threshold", "separate_z_anisotropy_threshold 5"),
        ("argument of resampling", "sharpness"),
        ("nearest", "mode nearest"),
        ("preprocessor", "MyPreprocessor"),
        ("normalisation", "MyNormalization"),
        ("resampling", "no_resampling_hack"),
        ("no patch", "patch_size"),
        ("no configuration", "there is no 3d_fullres"),
    ],
)
def test_what_cannot_be_taken_over_is_named(change: str, message: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path, "3d_fullres", plans({"3d_fullres": configuration(3)}))
    broken(change, folder)
    with pytest.raises(OsteonError) as caught:
        convert_model(folder, tmp_path / "model")
    assert message in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "model").exists()


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere"):
        convert_model(tmp_path / "nowhere", tmp_path / "model")
    made = plans({"3d_fullres": configuration(3), "2d": configuration(2)})
    folder = write_model(tmp_path / "results", "3d_fullres", made)
    write_model(tmp_path / "results", "2d", made)
    with pytest.raises(UsageError, match="holds 2 trained models"):
        convert_model(tmp_path / "results", tmp_path / "model")
    with pytest.raises(UsageError, match="one fold of a model"):
        convert_model(folder / "fold_0", tmp_path / "model")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/plans.pkl").write_bytes(b"")
    with pytest.raises(ModelError, match="first version"):
        convert_model(tmp_path / "old", tmp_path / "model")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="other files"):
        convert_model(folder, tmp_path / "full", ConvertOptions(overwrite=True))
    with pytest.raises(UsageError, match="--orientation RRS"):
        convert_model(folder, tmp_path / "model", ConvertOptions(orientation="RRS"))


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_with_an_orientation_scans_are_turned(axes: tuple[int, int, int], tmp_path: Path) -> None:
    made = plans({"3d_fullres": configuration(3)})
    convert_model(write_model(tmp_path, "3d_fullres", made), tmp_path / "model", ConvertOptions(orientation="LAS"))
    model = osteon.load_model(tmp_path / "model")
    volume = scan(12, 16, 4, affine=np.diag([-1.0, 1, 1, 1]))
    expected = model.predict(volume).array
    affine = volume.geometry.affine_ras[:, [*axes, 3]]
    turned = Volume(volume.array.transpose(0, *(a + 1 for a in axes)), Geometry([(12, 16, 4)[a] for a in axes], affine))
    assert np.array_equal(model.predict(turned).array, expected.transpose(axes))


def test_masks_are_nnunets_own(tmp_path: Path) -> None:
    """With OSTEON_NNUNET=FOLDER that holds model/ (a trainer's folder), images/ and nnU-Net's predictions/ of them."""
    given = os.environ.get("OSTEON_NNUNET")
    if not given:
        pytest.skip("OSTEON_NNUNET names no folder with a model of nnU-Net's and its predictions")
    folder = Path(given)
    convert_model(folder / "model", tmp_path / "model")
    model = osteon.load_model(tmp_path / "model")
    structures = tuple(model.plan.structures)
    values = []
    for path in sorted((folder / "predictions").glob("*.nii.gz")):
        found = model.predict(folder / "images" / path.name.replace(".nii.gz", "_0000.nii.gz"))
        counts = count_overlap(found.array, read_segmentation(path, structures).array, structures)
        values += [dice(count) for count in counts.values()]
    assert np.mean([value for value in values if value is not None]) >= 0.999
