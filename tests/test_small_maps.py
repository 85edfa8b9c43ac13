"""Maps smaller than the kernel: their gradients are fp32's, on any processor; others stay in bf16."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import tiny_plan
from osteon.networks.small_maps import small_maps_in_fp32
from osteon.training import module as module_file
from osteon.training.module import TrainingModule
from osteon.training.sampling import Batch

CPU = torch.device("cpu")


def gradient(image: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """Of the weights, after memory was freed in which there are no numbers."""
    del [torch.full((size,), torch.nan) for size in (1_000, 9_216, 36_864, 100_000)][:]
    function = F.conv3d if weight.dim() == 5 else F.conv2d
    weight = weight.clone().requires_grad_()
    result = function(image, weight, None, stride, padding=weight.shape[-1] // 2)
    result.float().square().sum().backward()
    assert weight.grad is not None
    return weight.grad


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [((2, 2, 2), 3, 1), ((2, 6, 4), 3, 1), ((8, 8, 1), 3, 2), ((4, 4, 6), 5, 1), ((8, 1), 3, 2)],
    ids=str,
)
def test_the_gradient_of_a_small_map_is_fp32s(size: tuple[int, ...], kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    image, weight = torch.randn(2, 32, *size), torch.randn(32, 32, *[kernel] * len(size)) / 30
    with torch.autocast("cpu", torch.bfloat16), small_maps_in_fp32(CPU):
        halved = gradient(image, weight, stride)
    assert torch.allclose(halved, gradient(image, weight, stride), rtol=0.05, atol=0.01 * float(halved.abs().max()))
    assert not is_rounded(halved)


def test_other_maps_stay_in_bf16_and_all_in_fp32_without_it() -> None:
    torch.manual_seed(0)
    image, weight = torch.randn(1, 16, 4, 4, 4), torch.randn(16, 16, 3, 3, 3)
    with torch.autocast("cpu", torch.bfloat16), small_maps_in_fp32(CPU):
        assert F.conv3d(image, weight, padding=1).dtype == torch.bfloat16
        assert F.conv3d(image[..., :2], weight, padding=1).dtype == torch.bfloat16
        assert is_rounded(gradient(image, weight, 1))
    with small_maps_in_fp32(CPU):
        assert F.conv3d(image[..., :2], weight, padding=1).dtype == torch.float32


def test_training_in_bf16_computes_small_maps_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = nn.Conv3d(1, 3, 3, padding=1)

        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            return [self.only(image)]

    monkeypatch.setattr(module_file, "build_network", lambda *_, **__: Flat())
    module = TrainingModule(tiny_plan(), 0, lambda: 0.0)
    labels = torch.randint(0, 3, (2, 8, 8, 2), generator=torch.Generator().manual_seed(0))
    batch = Batch(0, torch.rand(2, 1, 8, 8, 2), labels, torch.ones(2, 2, dtype=torch.bool))
    with torch.autocast("cpu", torch.bfloat16):
        module.training_step(batch, 0).backward()
    grad = next(module.network.parameters()).grad
    assert grad is not None
    assert not is_rounded(grad)


def is_rounded(gradient: torch.Tensor) -> bool:
    """Whether it was computed in bf16."""
    return torch.equal(gradient, gradient.bfloat16().float())
