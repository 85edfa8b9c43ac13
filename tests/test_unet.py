"""The U-Net: shapes, and that every weight learns."""

from __future__ import annotations

import pytest
import torch

from helpers import FLAT, tiny_plan
from osteon.networks.fused_norm import NormAct
from osteon.networks.registry import build_network, output_channels
from osteon.networks.unet import UNet
from osteon.plan.schema import Network

STAGES = {
    "cube": {},
    "deep": {"network.features": [4, 6, 8], "network.strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]]}
    | {"network.kernels": [[3, 3, 3]] * 3, "network.deep_supervision": 2},
    "anisotropic": {"network.features": [4, 6, 8], "network.strides": [[1, 1, 1], [2, 2, 1], [1, 2, 2]]}
    | {"network.kernels": [[3, 3, 1], [3, 5, 1], [1, 3, 3]], "network.deep_supervision": 3},
    "residual": {"network.residual": True, "network.convolutions": 3, "network.deep_supervision": 9},
    "one convolution": {"network.convolutions": 1, "network.kernels": [[1, 1, 1], [1, 1, 1]]},
    "flat": FLAT,
    "flat residual": {**FLAT, "network.residual": True},
    "multi-hot": {"overlapping": True},
}


@pytest.mark.parametrize("stages", STAGES)
def test_shapes_and_gradients(stages: str) -> None:
    torch.manual_seed(0)
    plan = tiny_plan(STAGES[stages])
    network = build_network(plan)
    image = torch.randn(2, 1, *plan.patch.size)
    logits = network(image)
    supervised = min(plan.network.deep_supervision, len(plan.network.features) - 1)
    assert len(logits) == supervised
    step = torch.ones(3, dtype=torch.long)
    for part, stride in zip(logits, plan.network.strides, strict=False):
        step = step * torch.tensor(stride)
        assert part.shape == (2, output_channels(plan), *(torch.tensor(plan.patch.size) // step).tolist())
    sum(part.square().mean() for part in logits).backward()  # type: ignore[union-attr]
    for name, weights in network.named_parameters():
        assert weights.grad is not None, name
        assert weights.grad.abs().sum() > 0, name
    network.eval()
    assert len(network(image)) == 1
    assert network(image)[0].shape == logits[0].shape


def test_outputs_count_the_background_only_where_structures_exclude() -> None:
    assert output_channels(tiny_plan()) == 3
    assert output_channels(tiny_plan({"overlapping": True})) == 2


def test_training_and_eval_give_the_same_finest_logits() -> None:
    network = build_network(tiny_plan(STAGES["deep"]))
    image = torch.randn(1, 1, 8, 8, 8)
    trained = network.train()(image)[0]
    torch.testing.assert_close(network.eval()(image)[0], trained)


def test_any_multiple_of_the_strides_is_taken_and_odd_sizes_are_not() -> None:
    network = build_network(tiny_plan()).eval()
    assert network(torch.randn(1, 1, 10, 6, 4))[0].shape[2:] == (10, 6, 4)
    with pytest.raises(RuntimeError, match="size"):
        network(torch.randn(1, 1, 9, 8, 8))


def test_kernels_and_strides_reach_as_far_as_they_say() -> None:
    """A change at one voxel reaches along an axis only where a kernel or stride does (no norm: it reaches all)."""
    section = tiny_plan({"network.kernels": [[3, 1, 1], [1, 1, 1]], "network.strides": [[1, 1, 1], [1, 1, 1]]}).network
    network = UNet(section, 3, 1, 2)
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, NormAct):
                setattr(module, name, torch.nn.Identity())
    network.eval()
    image = torch.randn(1, 1, 9, 5, 5)
    changed = image.clone()
    changed[..., 4, 2, 2] += 1
    moved = (network(changed)[0] - network(image)[0]).abs().sum((0, 1)) > 1e-7
    where = moved.nonzero()
    assert where[:, 1:].unique().tolist() == [2]
    assert where[:, 0].min() < 4
    assert where[:, 0].max() > 4


def test_several_channels_and_the_same_seed() -> None:
    channels = [{"name": name, "modality": "mr"} for name in "ab"]
    plan = tiny_plan({"channels": channels, "intensities": [{"channel": "a"}, {"channel": "b"}]})
    torch.manual_seed(3)
    one = build_network(plan)
    torch.manual_seed(3)
    two = build_network(plan)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert one(torch.randn(1, 2, 8, 8, 8))[0].shape == (1, 3, 8, 8, 8)


def test_unsupervised_stages_have_no_head() -> None:
    section = Network.model_validate({**tiny_plan(STAGES["deep"]).network.model_dump(), "deep_supervision": 1})
    network = UNet(section, 3, 1, 2)
    assert [len(list(head.parameters())) for head in network.heads] == [0, 2]
    assert len(network.train()(torch.randn(1, 1, 8, 8, 8))) == 1
