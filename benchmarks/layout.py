"""How much faster a 3D U-Net trains and predicts with a voxel's channels beside one another in memory.

    python benchmarks/layout.py

Both layouts take turns, step by step, so that a busy machine slows both. Where osteon would not choose the layout
(AVX-512, a GPU) the second row shows what it would cost.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from osteon.networks import unet
from osteon.networks.fused_norm import channels_innermost
from osteon.networks.unet import UNet
from osteon.planning.plan import Network

SHAPES = {"demo": (32, 32, 56), "hippocampus": (40, 56, 40), "cube": (64, 64, 64)}


def make(innermost: bool) -> UNet:
    strides = [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)]
    section = Network(features=[16, 32, 64, 128], strides=strides, kernels=[(3, 3, 3)] * 4)
    before = unet.channels_innermost
    unet.channels_innermost = lambda: innermost
    try:
        return UNet(section, 3, 1, 5)
    finally:
        unet.channels_innermost = before


def step(network: UNet, image: torch.Tensor) -> float:
    began = time.perf_counter()
    sum(part.square().mean() for part in network.train()(image)).backward()
    network.zero_grad()
    return time.perf_counter() - began


@torch.inference_mode()
def predict(network: UNet, image: torch.Tensor) -> float:
    began = time.perf_counter()
    network.eval()(image)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    capability = torch.backends.cpu.get_cpu_capability()
    chosen = "innermost" if channels_innermost() else "outermost"
    print(f"{capability}, {options.threads} threads; osteon lays channels {chosen} here\n")
    print("| patch, batch 2 | work | outermost s | innermost s | ratio |\n| --- | --- | --- | --- | --- |")
    for name, size in SHAPES.items():
        image = torch.randn(2, 1, *size)
        networks = [make(False), make(True)]
        for work in (step, predict):
            times: list[list[float]] = [[], []]
            for number in range(options.steps + 2):
                for network, taken in zip(networks, times, strict=True):
                    seconds = work(network, image)
                    if number >= 2:
                        taken.append(seconds)
            outer, inner = (statistics.median(taken) for taken in times)
            size_text = "×".join(map(str, size))
            word = "training step" if work is step else "prediction"
            print(f"| {name} {size_text} | {word} | {outer:.3f} | {inner:.3f} | {outer / inner:.2f} |")


if __name__ == "__main__":
    main()
