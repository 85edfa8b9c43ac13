"""The fused norm and activation: torch's own values and gradients, in every layout it meets."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F

from helpers import tiny_plan
from osteon.networks import fused_norm
from osteon.networks.fused_norm import NormAct
from osteon.networks.unet import UNet

SHAPES = {2: (2, 3, 5, 4), 3: (2, 3, 5, 4, 3)}
LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}


def reference(layer: NormAct, x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(F.instance_norm(x, weight=layer.weight, bias=layer.bias, eps=layer.eps), layer.slope)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("slope", [0.01, 1.0])
def test_values_and_gradients_are_torchs(dimensions, slope):
    torch.manual_seed(0)
    layer = NormAct(3, slope)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.uniform_(-1, 1)
    given = 5 + 3 * torch.randn(SHAPES[dimensions])
    weights = torch.randn(SHAPES[dimensions])
    gradients = []
    for function, x in (
        (layer, given.contiguous(memory_format=LAYOUTS[dimensions])),
        (lambda x: reference(layer, x), given),
    ):
        x = x.clone().requires_grad_()
        done = function(x)
        layer.zero_grad()
        (done * weights).sum().backward()
        gradients.append((done, x.grad, layer.weight.grad, layer.bias.grad))
    for fused, torchs in zip(*gradients, strict=True):
        torch.testing.assert_close(fused, torchs, rtol=1e-4, atol=1e-5)
    assert gradients[0][0].is_contiguous(memory_format=LAYOUTS[dimensions])


def test_a_great_mean_does_not_drown_the_variance():
    x = (1e4 + torch.randn(1, 2, 8, 8)).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        done = NormAct(2, 1.0)(x)
    torch.testing.assert_close(done.var((0, 2, 3), correction=0), torch.ones(2), rtol=1e-3, atol=0)


@pytest.mark.parametrize("residual", [False, True])
def test_the_order_in_memory_changes_no_result(monkeypatch, residual):
    plan = tiny_plan({"network.residual": residual})
    x = torch.randn(2, 1, *plan.patch.size)
    results = []
    for innermost in (False, True):
        monkeypatch.setattr(fused_norm, "is_channels_last_faster", lambda *_, innermost=innermost: innermost)
        torch.manual_seed(1)
        network = UNet(plan.network, 3, 1, 3)
        seen = []
        network.encoder[0].register_forward_hook(lambda *given, seen=seen: seen.append(given[-1]))
        loss = sum(part.square().mean() for part in network(x))
        loss.backward()
        assert seen[0].is_contiguous(memory_format=torch.channels_last_3d) == innermost
        assert all(p.is_contiguous() and p.grad.is_contiguous() for p in network.parameters())
        with torch.no_grad():
            results.append([network.eval()(x)[0], *(p.grad for p in network.parameters())])
    for fused, other in zip(*results, strict=True):
        torch.testing.assert_close(fused, other, rtol=1e-3, atol=1e-5)


def test_half_precision_keeps_its_type_and_order(memory_order):
    plan = tiny_plan()
    network = UNet(plan.network, 3, 1, 3)
    x = torch.randn(2, 1, *plan.patch.size)
    expected = network(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        seen = []
        network.encoder[0].register_forward_hook(lambda *given: seen.append(given[-1]))
        found = network(x)[0]
    assert seen[0].dtype == torch.bfloat16
    if not memory_order:  # channels innermost: processors without bf16 have convolutions that give the usual order back
        assert seen[0].is_contiguous()
    off = (found.detach().float() - expected.detach()).square().mean().sqrt() / expected.detach().std()
    assert float(off) < 0.05
    found.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize(
    ("device", "bf16", "compiled", "innermost"),
    [
        ("cpu", False, False, True),
        ("cpu", True, False, False),
        ("cuda", True, True, True),
        ("cuda", True, False, False),
        ("cuda", False, True, False),
        ("mps", False, False, False),
    ],
)
def test_where_channels_lie_innermost(device, bf16, compiled, innermost):
    assert fused_norm.is_channels_last_faster(device, bf16, compiled) == innermost


def test_networks_that_are_traced_or_flat_keep_the_usual_order():
    image = torch.randn(1, 1, 4, 4, 4)
    assert fused_norm.uses_channels_last(image, 3)
    assert not fused_norm.uses_channels_last(image, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert not fused_norm.uses_channels_last(image, 3)
    with warnings.catch_warnings(action="ignore"):
        traced = torch.jit.trace(lambda x: x * int(fused_norm.uses_channels_last(x, 3)), image)
    assert not traced(image).any()
