"""Training that begins with another model's weights: what is taken, fitted, left and refused."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from helpers import FLAT, PLAN, SIDES, plan_data, two_boxes, write_dataset
from osteon.core.errors import ModelError, UsageError
from osteon.core.labels import make_structures
from osteon.networks.registry import build_network
from osteon.networks.reshape import fit_channels, fit_kernel
from osteon.networks.transfer import transfer
from osteon.plan.inheritance import inherit_plan
from osteon.plan.schema import Plan, parse_plan, read_plan, write_plan
from osteon.planning.inherited_plan import plan_from_model
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model, save_model
from osteon.runs.fit import train
from osteon.training.checkpoint import LAST, load_checkpoint
from runs import CPU, cohort, command, learning_plan

SMP: dict[str, Any] = {
    "grid.dimensions": 2,
    "grid.resample_last": False,
    "patch.size": [64, 64, 1],
    "network": {"name": "unet", "encoder": "resnet18", "weights": "none", "decoder_features": [8, 8, 8, 8, 8]},
}


def changed_plan(*changes: dict[str, Any]) -> Plan:
    data = PLAN
    for change in changes:
        data = plan_data(change, data)
    return parse_plan(data, Path("plan.yaml"))


def built(plan: Plan, seed: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(plan)
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()  # norms and biases are alike at a random start
    return network


def state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(network.state_dict())


STRUCTURES = [
    {"name": "tibia", "value": 1, "colour": "#00ff00"},
    {"name": "fibula", "value": 2, "colour": "#0000ff"},
    {"name": "patella", "value": 3, "colour": "#ff00ff"},
]


@pytest.mark.parametrize(
    ("network", "head", "least"),
    [
        ({}, ["heads.0.weight", "heads.0.bias"], 0.99),
        (FLAT, ["heads.0.weight", "heads.0.bias"], 0.99),
        ({"network.residual": True, "network.convolutions": 3}, ["heads.0.weight", "heads.0.bias"], 0.99),
        (SMP, ["head.0.weight", "head.0.bias"], 0.99),
        (
            {"network": {"name": "segresnet", "features": 8, "downsampling": [8, 8, 8]}, "patch.size": [16, 16, 16]},
            ["network.conv_final.2.conv.weight", "network.conv_final.2.conv.bias"],
            0.99,
        ),
    ],
    ids=["unet", "unet 2D", "residual", "smp", "monai"],
)
def test_the_head_alone_is_new_and_shared_structures_keep_their_rows(
    network: dict[str, Any], head: list[str], least: float
) -> None:
    source_plan, plan = changed_plan(network), changed_plan(network, {"structures": STRUCTURES})
    source, target = built(source_plan, 1), built(plan, 2)
    before, there = state(target), state(source)
    report = transfer(target, plan, source, source_plan)
    after = target.state_dict()
    assert sorted(report.head) == sorted(head)
    assert report.structures == ["tibia"]
    assert not report.left
    assert not report.resized
    assert report.share >= least
    for name in after:
        if name not in head:
            assert torch.equal(after[name], there[name]), name
    for name in head:
        # Outputs there: background, femur, tibia; here: background, tibia, fibula, patella.
        assert torch.equal(after[name][0], there[name][0])
        assert torch.equal(after[name][1], there[name][2])
        assert torch.equal(after[name][2:], before[name][2:])


def test_as_many_structures_of_other_names_get_a_new_head() -> None:
    source_plan = changed_plan()
    plan = changed_plan({"structures": STRUCTURES[1:]})
    source, target = built(source_plan, 1), built(plan, 2)
    before = state(target)
    report = transfer(target, plan, source, source_plan)
    assert torch.equal(target.heads[0].weight, before["heads.0.weight"])
    assert report.structures == []
    assert report.head == {"heads.0.weight": "new", "heads.0.bias": "new"}
    assert "head new" in report.describe()


def test_overlapping_structures_have_no_background_row() -> None:
    source_plan = changed_plan({"overlapping": True, "structures": SIDES})
    plan = changed_plan({"overlapping": True, "structures": [SIDES[1], STRUCTURES[2]]})
    source, target = built(source_plan, 1), built(plan, 2)
    before, there = state(target), state(source)
    transfer(target, plan, source, source_plan)
    assert torch.equal(target.heads[0].weight[0], there["heads.0.weight"][1])
    assert torch.equal(target.heads[0].weight[1], before["heads.0.weight"][1])
    exclusive = changed_plan({"structures": [SIDES[1], STRUCTURES[2]]})
    assert transfer(built(exclusive, 2), exclusive, source, source_plan).structures == []


def test_filters_for_other_channels_answer_alike() -> None:
    weight = torch.arange(12.0).reshape(2, 3, 1, 2)
    named, fitted = fit_channels(weight, ["t1", "t2", "pd"], ["pd", "t1"])
    assert torch.equal(named, weight[:, [2, 0]])
    assert "pd, t1" in fitted
    one, _ = fit_channels(weight, ["t1", "t2", "pd"], ["ct"])
    assert one.tolist() == [[[[0 + 2 + 4, 1 + 3 + 5]]], [[[6 + 8 + 10, 7 + 9 + 11]]]]
    many, fitted = fit_channels(one, ["ct"], ["a", "b", "c"])
    assert many.shape == (2, 3, 1, 2)
    assert torch.allclose(many.sum(1), one[:, 0])
    assert "1 to 3" in fitted
    assert fit_channels(one, ["ct"], ["mr"])[1] == ""


def test_a_first_convolution_for_more_channels_gives_the_same_features() -> None:
    two = [{"name": "t1", "modality": "mr"}, {"name": "t2", "modality": "mr"}]
    many = {"channels": two, "intensities": [{"channel": "t1"}, {"channel": "t2"}], "network.residual": True}
    source_plan, plan = changed_plan({"network.residual": True}), changed_plan(many)
    source, target = built(source_plan, 1), built(plan, 2)
    report = transfer(target, plan, source, source_plan)
    assert sorted(report.resized) == ["encoder.0.0.path.0.0.weight", "encoder.0.0.round.0.weight"]
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        target_value, source_value = (
            net.eval()(x)[0] for net, x in ((target, image.repeat(1, 2, 1, 1, 1)), (source, image))
        )
    assert torch.allclose(target_value, source_value, atol=1e-4)


def test_a_kernel_that_grows_or_shrinks_answers_alike() -> None:
    flat = torch.randn(4, 2, 3, 3, 1)
    deep = fit_kernel(flat, torch.Size([4, 2, 3, 3, 3]), transposed=False)
    assert deep is not None
    image = torch.randn(1, 2, 6, 6, 6)
    want = torch.nn.functional.conv3d(image, flat, padding=(1, 1, 0))
    assert torch.allclose(torch.nn.functional.conv3d(image, deep, padding=1), want, atol=1e-5)
    back = fit_kernel(torch.randn(4, 2, 3, 3, 3), torch.Size([4, 2, 3, 3, 1]), transposed=False)
    assert back is not None
    assert back.shape == (4, 2, 3, 3, 1)
    up = torch.randn(2, 4, 2, 2, 1)
    wide = fit_kernel(up, torch.Size([2, 4, 2, 2, 2]), transposed=True)
    assert wide is not None
    once = torch.nn.functional.conv_transpose3d(image, up, stride=(2, 2, 1)).repeat_interleave(2, 4)
    assert torch.allclose(torch.nn.functional.conv_transpose3d(image, wide, stride=2), once, atol=1e-5)
    assert torch.allclose(fit_kernel(wide, up.shape, transposed=True), up)  # type: ignore[arg-type]
    for shape in ([4, 2, 3, 3, 5], [5, 2, 3, 3, 3], [4, 2, 3, 3]):
        assert fit_kernel(deep, torch.Size(shape), transposed=False) is None


def test_another_number_of_stages_is_counted_from_the_finest() -> None:
    def deep(features: list[int]) -> dict[str, Any]:
        stages = len(features)
        return {
            "network.features": features,
            "network.strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
            "network.kernels": [[3, 3, 3]] * stages,
            "patch.size": [16, 16, 16],
        }

    source_plan, plan = changed_plan(deep([4, 8, 8])), changed_plan(deep([4, 8, 8, 8]))
    source, target = built(source_plan, 1), built(plan, 2)
    there = state(source)
    report = transfer(target, plan, source, source_plan)
    after = target.state_dict()
    assert torch.equal(after["decoder.2.0.0.weight"], there["decoder.1.0.0.weight"])
    assert torch.equal(after["decoder.1.0.0.weight"], there["decoder.0.0.0.weight"])
    assert {name.split(".")[0] + name.split(".")[1] for name in report.left} == {"encoder3", "up0", "decoder0"}
    assert "left at their random start" in report.describe()


def test_kernels_of_a_related_network_are_fitted_and_the_report_says_so() -> None:
    source_plan = changed_plan({"network.kernels": [[3, 3, 1], [3, 3, 3]], "network.strides": [[1, 1, 1], [2, 2, 1]]})
    plan = changed_plan()
    source, target = built(source_plan, 1), built(plan, 2)
    report = transfer(target, plan, source, source_plan)
    assert report.resized["encoder.0.0.0.weight"] == "kernel 3×3×1 to 3×3×3"
    assert report.resized["up.0.weight"] == "kernel 2×2×1 to 2×2×2"
    assert torch.equal(target.encoder[0][0][0].weight[..., 1:2], source.encoder[0][0][0].weight)


def test_another_architecture_and_another_number_of_dimensions_are_refused() -> None:
    plan = changed_plan()
    other = changed_plan({"network.features": [6, 9]})
    before = state(target := built(plan, 1))
    with pytest.raises(UsageError) as error:
        transfer(target, plan, built(other, 2), other)
    assert "features 4, 6" in error.value.message
    assert "features 6, 9" in error.value.message
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
    flat = changed_plan(FLAT)
    with pytest.raises(UsageError, match=r"the model is 2D and the plan 3D") as error:
        transfer(target, plan, built(flat, 2), flat)
    assert "--dimensions 2" in error.value.hint
    smp18, smp50 = changed_plan(SMP), changed_plan(SMP, {"network.encoder": "resnet50"})
    with pytest.raises(UsageError, match="encoder resnet50") as error:
        transfer(built(smp50, 1), smp50, built(smp18, 2), smp18)
    assert "encoder resnet18" in error.value.message


def test_an_encoder_serves_under_another_decoder() -> None:
    source_plan = changed_plan(SMP)
    plan = changed_plan(SMP, {"network.name": "unetplusplus"})
    source, target = built(source_plan, 1), built(plan, 2)
    report = transfer(target, plan, source, source_plan)
    assert all(torch.equal(t, source.encoder.state_dict()[n]) for n, t in target.encoder.state_dict().items())
    assert report.left


def test_a_plan_takes_over_network_grid_patch_and_the_scale_of_ct() -> None:
    source = changed_plan(
        {"grid.spacing_mm": [2.0, 2.0, 2.0], "network.features": [6, 9], "patch": {"size": [12, 12, 12], "batch": 3}}
    )
    own = changed_plan(
        {
            "dataset": "new",
            "structures": STRUCTURES,
            "intensities": [{"channel": "ct", "clip": [0.0, 1.0], "mean": 0.0, "std": 1.0}],
            "training.learning_rate": 0.5,
        }
    )
    plan = inherit_plan(own, source)
    assert plan.grid.spacing_mm == (2, 2, 2)
    assert (plan.network.features, plan.patch.size, plan.patch.batch) == ([6, 9], (12, 12, 12), 3)  # type: ignore[union-attr]
    assert (plan.intensities[0].mean, plan.intensities[0].clip) == (100, (-100, 300))
    assert (plan.dataset, plan.structures, plan.training.learning_rate) == ("new", own.structures, 0.5)
    mr = {"channels": [{"name": "mr", "modality": "mr"}], "intensities": [{"channel": "mr"}]}
    assert inherit_plan(changed_plan(mr), source).intensities[0].mean is None


def test_directions_of_a_plan_follow_the_axes_that_are_taken_over() -> None:
    source = changed_plan({"grid.axes": ["S", "R", "A"]})
    own = changed_plan(
        {
            "augmentation.mirror_axes": [0],
            "augmentation.rotate_degrees": [1.0, 2.0, 3.0],
            "augmentation.shift": [0.1, 0.2, 0.3],
        }
    )
    turned = inherit_plan(own, source).augmentation
    assert turned.mirror_axes == [1]  # R is the second axis now
    assert turned.rotate_degrees == (3, 1, 2)
    assert turned.shift == (0.3, 0.1, 0.2)


def test_grids_that_cannot_be_compared_are_refused() -> None:
    plan = changed_plan()
    flat = changed_plan(FLAT)
    across = changed_plan(FLAT, {"grid.axes": ["A", "S", "R"]})
    for target_value, source_value, caught in (
        (plan, flat, "2D"),
        (flat, across, "slices lie across R"),
        (plan, changed_plan({"unit": "px"}), "measured in px"),
    ):
        with pytest.raises(UsageError, match=caught) as error:
            inherit_plan(target_value, source_value)
        assert "--plan" in error.value.hint


def saved(folder: Path, plan: Plan, seed: int = 7) -> Path:
    """A run's folder with a model of random weights."""
    save_model(folder / "model", Model(built(plan, seed), plan, {"training": {"iterations": 1}}, ""), "")
    return folder


def test_a_run_begins_with_the_model_and_goes_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = cohort(tmp_path / "data", cases=4)
    plan = learning_plan({"training.ema": 0.9, "training.learning_rate": 1e-9, "training.epoch_iterations": 2})
    other = parse_plan(plan_data({"structures": STRUCTURES}, plan.model_dump()), Path("plan.yaml"))
    source = saved(tmp_path / "source", other)
    options = replace(CPU, init=str(source), epochs=2, fold=None)
    run = tmp_path / "run"
    from osteon.training import callback

    monkeypatch.setattr(callback.TrainingCallback, "save", stop_after(callback.TrainingCallback.save))
    with pytest.raises(Killed):
        train(dataset, plan, run, options, checkpoint_every_s=0)
    monkeypatch.undo()
    weights = load_model(source).network.state_dict()
    tensors, at = load_checkpoint(run / "checkpoints" / LAST)
    assert at.iteration == 1
    for copy_of in ("network", "average"):  # at that rate nothing moves
        assert torch.allclose(tensors[f"{copy_of}.encoder.0.0.0.weight"], weights["encoder.0.0.0.weight"], atol=1e-6)
    # Outputs there: background, tibia, fibula, patella; here: background, femur, tibia.
    head, old = tensors["network.heads.0.weight"], weights["heads.0.weight"]
    assert torch.allclose(head[[0, 2]], old[[0, 1]], atol=1e-6)
    assert not torch.allclose(head[1], old[2], atol=1e-2)
    report = json.loads((run / "transfer.json").read_text())
    record = yaml.safe_load((run / "run.yaml").read_text())
    assert record["init"] == str(source)
    assert record["init_sha256"] == report["source"]["sha256"] == load_model(source).sha256
    assert report["structures"] == ["tibia"]
    assert "tensors taken" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageError, match="init"):
        train(dataset, plan, run, replace(options, init=None))
    (tmp_path / "moved").mkdir()
    shutil.move(source / "model", tmp_path / "moved" / "model")
    moved = replace(options, init=str(tmp_path / "moved"))
    saved(source, other, seed=8)
    with pytest.raises(UsageError, match="init_sha256"):
        train(dataset, plan, run, options)
    shutil.rmtree(source)
    shutil.copytree(run, tmp_path / "twin")
    assert train(dataset, plan, tmp_path / "twin", moved).resumed
    shutil.rmtree(tmp_path / "moved")
    report_of_end = train(dataset, plan, run, options)
    assert report_of_end.resumed
    assert report_of_end.iterations == 4
    assert report_of_end.validation["training"]["init"] == str(source)


class Killed(Exception):  # noqa: N818 (it is none of the program's)
    """A run that ends in the middle."""


def stop_after(save: Any) -> Any:
    def stopping(*arguments: Any) -> None:
        save(*arguments)
        raise Killed

    return stopping


def test_the_command_takes_over_the_models_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    structures = make_structures(["tibia", "cyst"], [3, 5])
    data = write_dataset(tmp_path / "data", {f"c{n}": two_boxes(seed=n) for n in range(4)}, structures)
    model_plan = learning_plan({"grid.spacing_mm": [1.1, 1.0, 1.0], "training.precision": "fp32"})
    source = saved(tmp_path / "source", model_plan)
    command_line = ["train", data.folder, tmp_path / "run", "--init", source, "--epochs", 1, "--fold", "none"]
    settings = ["--set", "training.epoch_iterations=1", "--set", "training.frozen_epochs=1", "--device", "cpu"]
    assert command(*command_line, *settings) == 0
    plan = read_plan(tmp_path / "run" / "plan.yaml")
    assert plan.grid.spacing_mm == (1.1, 1, 1)
    assert plan.network.features == model_plan.network.features  # type: ignore[union-attr]
    assert [s.name for s in plan.structures] == ["tibia", "cyst"]
    assert not (data.folder / "plan.yaml").exists()
    output = " ".join(capsys.readouterr().err.split())
    assert "network, grid and patch are" in output
    # The encoder rested for the one epoch that there was, so it is the model's still; the head is not.
    target_value, source_value = (load_model(folder).network.state_dict() for folder in (tmp_path / "run", source))
    assert torch.equal(target_value["encoder.0.0.0.weight"], source_value["encoder.0.0.0.weight"])
    assert not torch.equal(target_value["heads.0.weight"], source_value["heads.0.weight"])
    shutil.rmtree(source)
    assert plan_from_model(data.folder, tmp_path / "run", str(source)) == plan


def test_bad_models_are_refused_before_anything_is_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = cohort(tmp_path / "data", cases=4)
    plan = learning_plan()
    write_plan(tmp_path / "plan.yaml", plan)
    good = saved(tmp_path / "good", plan)
    lacking = shutil.copytree(good, tmp_path / "lacking")
    (lacking / "model" / "validation.json").unlink()
    broken = shutil.copytree(good, tmp_path / "broken")
    weights = broken / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    flat = saved(tmp_path / "flat", changed_plan(FLAT))
    other = saved(tmp_path / "other", changed_plan({"network.features": [5, 7]}))
    line = [
        "train",
        data.folder,
        tmp_path / "run",
        "--device",
        "cpu",
        "--fold",
        "none",
        "--plan",
        tmp_path / "plan.yaml",
    ]
    for init, code, caught in (
        (tmp_path / "nowhere", 1, "not a whole model folder"),
        (lacking, 1, "validation.json missing"),
        (broken, 1, "the weights are damaged"),
        (flat, 2, "the model is 2D and the plan 3D"),
        (other, 2, "the model is another architecture"),
        (tmp_path / "run", 2, "is this run itself"),
    ):
        assert command(*line, "--init", init) == code, init
        assert caught in " ".join(capsys.readouterr().err.split())
    assert not (data.folder / "cache").exists()
    with pytest.raises(ModelError):
        plan_from_model(data.folder, tmp_path / "new", str(tmp_path / "nowhere"))
