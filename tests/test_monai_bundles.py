"""`osteon import-model monai`: bundles of MONAI, against MONAI's own inference of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import osteon
from monai_bundles import NETWORKS, inference, metadata, monai_predicts, write_bundle
from osteon.core.errors import ModelError, OsteonError, PlanError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats import read_segmentation, write_volume
from osteon.networks.monai_bundle import CLASSES, make_section
from osteon.plan.schema import read_plan, write_plan
from runs import command

C, S = np.cos(0.1), np.sin(0.1)
TURNED = np.array([[0, 1.7 * S, 1.1 * C, 5], [-0.9, 0, 0, 7], [0, 1.7 * C, -1.1 * S, -3], [0, 0, 0, 1.0]])
"""Axes that are permuted, mirrored and oblique, of unequal voxels."""
Config = dict[str, Any]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    noise = np.random.default_rng(0).normal(40, 30, (20, 17, 24))
    for axis in range(3):  # smooth, so that labels are regions
        noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)) / 3
    noise[:4] = 0
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    write_volume(path, Volume(noise[None].astype(np.float32), Geometry(noise.shape, TURNED)))  # type: ignore[arg-type]
    return path


def transforms(config: Config) -> list[Config]:
    listed: list[Config] = config["preprocessing"]["transforms"]
    return listed


def before_spacing(config: Config) -> None:
    listed = transforms(config)
    listed.insert(2, listed.pop(4))


def as_they_lie(config: Config) -> None:
    config["preprocessing"]["transforms"] = [t for t in transforms(config) if t["_target_"] != "Orientationd"]


def not_resampled(config: Config) -> None:
    config["preprocessing"]["transforms"] = [t for t in transforms(config) if t["_target_"] != "Spacingd"]


def other_way(config: Config) -> None:
    transforms(config)[2]["axcodes"] = "LPS"
    config["inferer"] |= {"mode": "constant", "overlap": 0.25, "roi_size": [40, 12, 8]}  # wider than the scan


@pytest.mark.parametrize("change", [None, before_spacing, as_they_lie, not_resampled, other_way])
def test_the_mask_is_monais(scan: Path, tmp_path: Path, change: Callable[[Config], None] | None) -> None:
    config = inference()
    if change is not None:
        change(config)
    network = write_bundle(tmp_path / "bundle", config)
    assert command("import-model", "monai", tmp_path / "bundle", tmp_path / "model") == 0
    assert command("predict", tmp_path / "model", scan, tmp_path / "out", "--device", "cpu") == 0
    found = read_segmentation(tmp_path / "out/scan.nii.gz").array
    expected = monai_predicts(config, network, scan).squeeze()
    shares = np.bincount(expected.astype(int).ravel(), minlength=3) / expected.size
    assert (shares > 0.02).sum() >= 2
    assert (found != expected).mean() < 0.001


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"UNet"}))
def test_networks_of_the_table_say_what_monais_say(name: str, tmp_path: Path) -> None:
    network = write_bundle(tmp_path / "bundle", inference(name))
    done = osteon.import_model("monai", tmp_path / "bundle", tmp_path / "model")
    x = torch.randn((1, 1, 12, 12, 8), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (logits,) = osteon.load_model(done.model).network(x)
        assert torch.allclose(logits, network(x), atol=1e-5)


def test_each_class_of_the_table_takes_the_arguments_that_it_lists() -> None:
    import inspect

    from monai.networks import nets

    for name, row in CLASSES.items():
        parameters = inspect.signature(getattr(nets, name)).parameters
        assert row.arguments <= parameters.keys(), name
        assert not row.ignored & parameters.keys(), name


def test_outputs_that_overlap(scan: Path, tmp_path: Path) -> None:
    config = inference(outputs=2)
    config["postprocessing"]["transforms"][0] |= {"softmax": False, "sigmoid": True}
    config["postprocessing"]["transforms"][2] |= {"argmax": False, "threshold": 0.5}
    about = metadata(2)
    about["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "femur", "1": "tibia"}
    network = write_bundle(tmp_path / "bundle", config, about)
    osteon.import_model("monai", tmp_path / "bundle", tmp_path / "model")
    found = osteon.load_model(tmp_path / "model").predict(scan).array
    expected = monai_predicts(config, network, scan)
    assert found.shape == expected.shape == (2, 20, 17, 24)
    assert 0.02 < expected.mean() < 0.98
    assert (found != expected).mean() < 0.001


def test_weights_may_be_safetensors_and_the_card_names_the_bundle(tmp_path: Path) -> None:
    config = inference()
    config["postprocessing"]["transforms"].append({"_target_": "KeepLargestConnectedComponentd", "keys": "pred"})
    network = write_bundle(tmp_path / "bundle", config)
    (tmp_path / "bundle/models/model.pt").unlink()
    save_file(network.state_dict(), tmp_path / "bundle/models/model.safetensors")
    done = osteon.import_model("monai", tmp_path / "bundle", tmp_path / "model")
    assert done.notes == ["postprocessing: KeepLargestConnectedComponent is left out"]
    card = (tmp_path / "model/card.md").read_text()
    for part in ("Knee bones", "femur, tibia", "copyright: Copyright (c) somebody", done.notes[0], "SHA-256"):
        assert part in card
    assert done.plan.channels[0].modality == "ct"


def put(*way: str | int, value: Any) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        place: Any = config
        for key in way[:-1]:
            place = place[key]
        place[way[-1]] = value

    return change


T = ("preprocessing", "transforms")


@pytest.mark.parametrize(("change", "message"), [
    (put(*T, 4, value={"_target_": "CropForegroundd", "keys": "image"}), "transform CropForeground is not known"),
    (put(*T, 4, value={"_target_": "scripts.mine.Orientationd"}), "transform scripts.mine.Orientation is not known"),
    (put(*T, 4, value="$print('run')"), "names no class"),
    (put(*T, 3, "pixdim", value="$[1, 1, 1]"), r"Spacing with .*pixdim \$"),
    (put(*T, 3, "mode", value="nearest"), "Spacing with .*nearest"),
    (put(*T, 3, "scale_extent", value=True), "scale_extent"),
    (put(*T, 4, "_disabled_", value="$not @x"), r"expression \$not @x"),
    (put(*T, 4, "channels", value=[1]), "NormalizeIntensity: channels is not known"),
    (put(*T, 5, "a_min", value="$open('x', 'w')"), "a_min"),
    (put(*T, 2, "axcodes", value="RAR"), "axes"),
    (put("roi", value="@roi"), "refers to itself"),
    (put("inferer", "roi_size", value="@nothing"), "refers to @nothing"),
    (put("inferer", "_target_", value="SimpleInferer"), "the inferer is SimpleInferer"),
    (put("inferer", "overlap", value="$0.5"), "overlap"),
    (put("network_def", "_target_", value="scripts.net.UNet"), "network scripts.net.UNet is not known"),
    (put("network_def", "_target_", value="os.system"), "network os.system is not known"),
    (put("network_def", "device", value="cpu"), "UNet: the argument device"),
    (put("network_def", "channels", value=[4, 8, 16]), "are not those of UNet"),
    (put("network_def", "spatial_dims", value=2), "not 3D"),
    (put("network_def", "out_channels", value=5), "gives 5; the plan has"),
    (put("postprocessing", "transforms", 2, value={"_target_": "Activationsd", "sigmoid": True}), "a sigmoid and"),
])  # fmt: skip
def test_what_is_not_known_is_refused_by_its_name(
    tmp_path: Path, change: Callable[[Config], None], message: str
) -> None:
    bundle = tmp_path / "bundle"
    write_bundle(bundle, inference())
    config = inference()
    change(config)
    import json

    (bundle / "configs/inference.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        osteon.import_model("monai", bundle, tmp_path / "model")
    assert not (tmp_path / "model").exists()


class Malicious:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("was_run"),)


@pytest.mark.parametrize(("content", "message"), [
    (pickle.dumps(Malicious(), 2), "could run code"),
    (b"cut", "damaged"),
    (None, "has no model.safetensors or model.pt"),
])  # fmt: skip
def test_bad_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(Path("bundle"), inference())
    weights = Path("bundle/models/model.pt")
    weights.unlink() if content is None else weights.write_bytes(content)
    with pytest.raises(OsteonError, match=message):
        osteon.import_model("monai", "bundle", "model")
    assert not Path("was_run").exists()


def test_a_plan_of_others_builds_nothing_but_the_table(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", inference())
    osteon.import_model("monai", tmp_path / "bundle", tmp_path / "model")
    path = tmp_path / "model/plan.yaml"
    text, plan = path.read_text(), read_plan(path)
    for before, after in (("target: UNet", "target: Lambda"), ("name: NormalizeIntensity", "name: Lambda")):
        assert before in text
        path.write_text(text.replace(before, after))
        with pytest.raises((PlanError, ModelError), match="Lambda"):
            osteon.load_model(tmp_path / "model")
    write_plan(path, plan)
    assert osteon.load_model(tmp_path / "model").plan == plan


def test_options_of_nnunets_and_trainings_are_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", inference())
    with pytest.raises(UsageError, match="no folds"):
        osteon.import_model("monai", tmp_path / "bundle", tmp_path / "model", folds=["0"])
    assert make_section("UNet", NETWORKS["UNet"]).downsampling == (4, 4, 4)
    with pytest.raises(PlanError):
        make_section("UNet", {"channels": [4, 8], "strides": "$x"})
