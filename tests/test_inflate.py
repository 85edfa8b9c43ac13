"""Encoders inflated from 2D: the same features where depth tells nothing, and norms set to what volumes give."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import plan_data
from osteon.core.errors import PlanError
from osteon.networks.encoders import libraries
from osteon.networks.inflate import inflate
from osteon.networks.inflated import recalibrate
from osteon.networks.registry import needs_recalibration
from osteon.networks.weights import save_tensors
from osteon.plan.schema import Plan
from osteon.runs import fit, loop
from osteon.runs.options import TrainOptions
from runs import cohort

ENCODERS = ("resnet18", "efficientnet-b0", "mobilenet_v2", "se_resnet50", "tu-resnet18d")


def encoder_2d(name: str, channels: int = 1) -> nn.Module:
    """With weights and norm statistics that are no one's defaults; each is drawn once."""
    return copy.deepcopy(drawn_encoder(name, channels))


@cache
def drawn_encoder(name: str, channels: int) -> nn.Module:
    smp, _ = libraries()
    torch.manual_seed(3)
    encoder: nn.Module = smp.encoders.get_encoder(name, in_channels=channels, weights=None)
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
            nn.init.uniform_(layer.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return encoder.eval()


def inflated_data(weights: str = "none") -> Plan:
    section = {"name": "unet", "encoder": "resnet18", "weights": weights, "decoder_features": [8, 8, 8, 8, 8]}
    data = plan_data(
        {"network": {**section, "downsampling": [32, 32, 4], "thick_stages": 3}, "patch.size": [64, 32, 8]}
    )
    return Plan.model_validate(data)


@pytest.mark.parametrize("thick", [0, 2])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ENCODERS)
def test_a_volume_that_is_constant_along_depth_gives_the_2d_features(name: str, axis: int, thick: int) -> None:
    encoder = encoder_2d(name, 2)
    image = torch.randn((1, 2, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        flat = encoder(image)
        deep = inflate(encoder, axis, thick).eval()(image.unsqueeze(2 + axis).repeat_interleave(64, 2 + axis))
    assert len(deep) == len(flat) == 6
    for level, (expected, got) in enumerate(zip(flat, deep, strict=True)):
        depth = 64 // 2 ** max(0, level - thick)
        assert got.shape[2 + axis] == depth
        scale = expected.abs().mean()
        for place in range(depth):  # the first and the last slice, too
            torch.testing.assert_close(got.select(2 + axis, place) / scale, expected / scale, atol=1e-4, rtol=1e-4)


def test_filters_keep_their_sum() -> None:
    encoder = encoder_2d("resnet18")
    before = encoder.conv1.weight.detach().clone()  # type: ignore[union-attr]
    after = inflate(encoder, 1).conv1.weight  # type: ignore[union-attr]
    assert after.shape == (64, 1, 7, 7, 7)
    torch.testing.assert_close(after.sum(3), before)


def spread(encoder: nn.Module, images: list[torch.Tensor]) -> list[float]:
    """Standard deviation of the features at each level."""
    with torch.no_grad():
        levels = zip(*(encoder(image)[1:] for image in images), strict=True)
        return [float(torch.cat(level).std()) for level in levels]


def test_recalibration_brings_the_spread_of_activations_back() -> None:
    encoder = encoder_2d("resnet18")
    flat = [torch.randn((4, 1, 64, 64), generator=torch.Generator().manual_seed(n)) for n in range(4)]
    deep = [torch.randn((2, 1, 64, 64, 64), generator=torch.Generator().manual_seed(n)) for n in range(4)]
    recalibrate(encoder, flat)  # as a training in 2D leaves it
    before = spread(encoder, flat)
    inflated = inflate(encoder, 2).eval()
    shrunk = spread(inflated, deep)
    assert min(after / first for after, first in zip(shrunk, before, strict=True)) < 0.7
    assert recalibrate(inflated, deep) == 20
    assert not any(layer.training for layer in inflated.modules())
    for restored, first in zip(spread(inflated, deep), before, strict=True):
        assert restored == pytest.approx(first, rel=0.1)


def test_a_training_begins_with_its_own_data_in_the_norms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resnet18.safetensors"
    smp, _ = libraries()
    torch.manual_seed(5)
    save_tensors(path, smp.encoders.get_encoder("resnet18", weights=None).state_dict())
    plan = inflated_data(str(path))
    assert needs_recalibration(plan)
    assert not needs_recalibration(inflated_data())
    seen = []
    recalibrated = loop._recalibrate_encoder

    def watched(network: nn.Module, sampler: object) -> dict[str, torch.Tensor]:
        state = recalibrated(network, sampler)  # type: ignore[arg-type]
        seen.append(state["encoder.bn1.running_var"].clone())
        return state

    monkeypatch.setattr(loop, "_recalibrate_encoder", watched)
    data = cohort(tmp_path / "data")
    once = TrainOptions(epochs=1, device="cpu", workers=1, fold=None)
    fit.train(data, plan, tmp_path / "run", once)
    assert len(seen) == 1
    assert not torch.allclose(seen[0], torch.ones(64), atol=0.05)  # what came with the file
    fit.train(data, inflated_data(), tmp_path / "random", once)
    assert len(seen) == 1


@pytest.mark.parametrize("name", ["tu-swinv2_tiny_window8_256", "mit_b0", "densenet121"])
def test_layers_without_a_3d_form_are_refused(name: str) -> None:
    smp, _ = libraries()
    encoder = smp.encoders.get_encoder(name, weights=None)
    with pytest.raises(PlanError, match="has no 3D form") as refused:
        inflate(encoder, 0)
    assert "resnet" in refused.value.hint
