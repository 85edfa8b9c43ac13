"""Folders as nnU-Net v2 writes them, with random weights under nnU-Net's names, and what such a network computes.

The computation is written for these tests from the names alone: none of osteon's layers are in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

TRAINER, PLANS = "nnUNetTrainer", "nnUNetPlans"
State = dict[str, torch.Tensor]
CONV = {2: F.conv2d, 3: F.conv3d}
UP = {2: F.conv_transpose2d, 3: F.conv_transpose3d}
POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}


def arch(dimensions: int, *, residual: bool = False, norm: str = "instancenorm.InstanceNorm") -> dict[str, Any]:
    """`architecture` of a configuration: three stages, the last of which halves one axis more in 3D."""
    kernels = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    depth = {"n_blocks_per_stage": [1, 2, 1]} if residual else {"n_conv_per_stage": [2, 1, 2]}
    kind = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [4, 6, 8],
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": [kernel[3 - dimensions :] for kernel in kernels],
            "strides": [stride[3 - dimensions :] for stride in strides],
            **depth,
            "n_conv_per_stage_decoder": [1, 2],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.{norm}{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def before_2_2(configuration: dict[str, Any]) -> dict[str, Any]:
    """The same as nnU-Net wrote it before version 2.2, with features that are doubled up to a limit."""
    made = dict(configuration)
    kwargs = made.pop("architecture")["arch_kwargs"]
    residual = "n_blocks_per_stage" in kwargs
    features: list[int] = kwargs["features_per_stage"]
    assert features == [min(features[0] * 2**stage, max(features)) for stage in range(len(features))]
    return made | {
        "UNet_class_name": "ResidualEncoderUNet" if residual else "PlainConvUNet",
        "UNet_base_num_features": features[0],
        "unet_max_num_features": max(features),
        "n_conv_per_stage_encoder": kwargs["n_blocks_per_stage" if residual else "n_conv_per_stage"],
        "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [1] * len(made["patch_size"]),
        "pool_op_kernel_sizes": kwargs["strides"],
        "conv_kernel_sizes": kwargs["kernel_sizes"],
    }


def configuration(dimensions: int, **changes: Any) -> dict[str, Any]:
    """One of plans.json's `configurations`."""
    rule = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "data_identifier": "x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [4, 16, 12][3 - dimensions :],
        "spacing": [1.0, 1.0, 1.0][3 - dimensions :],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": rule,
        "resampling_fn_seg_kwargs": rule | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": rule | {"order": 1},
        "architecture": arch(dimensions),
        "batch_dice": False,
        **changes,
    }


def plans(configurations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """plans.json."""
    return {
        "dataset_name": "Dataset001_Made",
        "plans_name": PLANS,
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 100.0, "std": 50.0, "percentile_00_5": -20.0, "percentile_99_5": 300.0}
        },
        "configurations": configurations,
        **changes,
    }


DATASET = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "femur": 1, "tibia": 2}, "file_ending": ".nii.gz"}


def state(architecture: dict[str, Any], channels: int, outputs: int, seed: int = 0) -> State:
    """Random weights under nnU-Net's names, those that it lists a second time among them."""
    kwargs, made = architecture["arch_kwargs"], State()
    dimensions = len(kwargs["kernel_sizes"][0])
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / max(1, np.prod(shape[1:])) ** 0.5

    def layer(name: str, before: int, after: int, kernel: list[int], *, bias: bool = True) -> None:
        rows = {
            "0.weight": draw(after, before, *kernel),
            "1.weight": 1 + 0.3 * draw(after),
            "1.bias": 0.3 * draw(after),
        }
        rows |= {"0.bias": draw(after)} if bias else {}
        if "BatchNorm" in kwargs["norm_op"]:
            rows |= {"1.running_mean": draw(after), "1.running_var": 1 + 0.3 * draw(after).abs()}
            rows |= {"1.num_batches_tracked": torch.tensor(7)}
        for place, tensor in rows.items():
            made[f"{name}.{place.replace('0.', 'conv.').replace('1.', 'norm.')}"] = tensor
            made[f"{name}.all_modules.{place}"] = tensor

    features, kernels, strides = kwargs["features_per_stage"], kwargs["kernel_sizes"], kwargs["strides"]
    before = channels
    if residual := "n_blocks_per_stage" in kwargs:
        layer("encoder.stem.convs.0", channels, features[0], kernels[0])
        before = features[0]
    for stage, after in enumerate(features):
        for number in range(kwargs["n_blocks_per_stage" if residual else "n_conv_per_stage"][stage]):
            if not residual:
                layer(f"encoder.stages.{stage}.0.convs.{number}", before, after, kernels[stage])
                before = after
                continue
            name = f"encoder.stages.{stage}.blocks.{number}"
            layer(f"{name}.conv1", before, after, kernels[stage])
            layer(f"{name}.conv2", after, after, kernels[stage])
            if before != after:
                pooled = int(number == 0 and set(strides[stage]) != {1})
                layer(f"{name}.skip.{pooled}", before, after, [1] * dimensions, bias=False)
            before = after
    made |= {f"decoder.{name}": tensor for name, tensor in made.items()}
    for number, depth in enumerate(kwargs["n_conv_per_stage_decoder"]):
        coarse, fine = features[-1 - number], features[-2 - number]
        made[f"decoder.transpconvs.{number}.weight"] = draw(coarse, fine, *strides[-1 - number])
        made[f"decoder.transpconvs.{number}.bias"] = draw(fine)
        for conv in range(depth):
            layer(f"decoder.stages.{number}.convs.{conv}", fine if conv else 2 * fine, fine, kernels[-2 - number])
        made[f"decoder.seg_layers.{number}.weight"] = 3 * draw(outputs, fine, *[1] * dimensions)
        made[f"decoder.seg_layers.{number}.bias"] = draw(outputs)
    return made


def forward(weights: State, architecture: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    """The finest logits of `[batch, channel, …]`."""
    kwargs = architecture["arch_kwargs"]
    strides, dimensions = kwargs["strides"], x.ndim - 2

    def layer(name: str, x: torch.Tensor, stride: Any = 1, *, active: bool = True) -> torch.Tensor:
        kernel = weights[f"{name}.conv.weight"]
        padding = [(size - 1) // 2 for size in kernel.shape[2:]]
        x = CONV[dimensions](x, kernel, weights.get(f"{name}.conv.bias"), stride, padding)
        over, shape, first = tuple(range(2, x.ndim)), (1, -1, *[1] * dimensions), kwargs.get("nonlin_first", False)
        x = F.leaky_relu(x, 0.01) if active and first else x
        mean, variance = x.mean(over, keepdim=True), x.var(over, unbiased=False, keepdim=True)
        if f"{name}.norm.running_mean" in weights:
            mean, variance = (weights[f"{name}.norm.running_{what}"].view(shape) for what in ("mean", "var"))
        x = (x - mean) / (variance + 1e-5).sqrt()
        x = x * weights[f"{name}.norm.weight"].view(shape) + weights[f"{name}.norm.bias"].view(shape)
        return F.leaky_relu(x, 0.01) if active and not first else x

    def block(name: str, x: torch.Tensor, stride: list[int]) -> torch.Tensor:
        y = layer(f"{name}.conv2", layer(f"{name}.conv1", x, stride), active=False)
        if set(stride) != {1}:
            x = POOL[dimensions](x, stride, stride)
        for number in range(2):
            if f"{name}.skip.{number}.conv.weight" in weights:
                x = layer(f"{name}.skip.{number}", x, active=False)
        return F.leaky_relu(x + y, 0.01)

    skips = []
    residual = "n_blocks_per_stage" in kwargs
    if residual:
        x = layer("encoder.stem.convs.0", x)
    for stage, stride in enumerate(strides):
        for number in range(kwargs["n_blocks_per_stage" if residual else "n_conv_per_stage"][stage]):
            step = [1] * dimensions if number else stride
            if residual:
                x = block(f"encoder.stages.{stage}.blocks.{number}", x, step)
            else:
                x = layer(f"encoder.stages.{stage}.0.convs.{number}", x, step)
        skips.append(x)
    for number, depth in enumerate(kwargs["n_conv_per_stage_decoder"]):
        up, step = f"decoder.transpconvs.{number}", strides[-1 - number]
        x = UP[dimensions](x, weights[f"{up}.weight"], weights[f"{up}.bias"], step)
        x = torch.cat((x, skips[-2 - number]), 1)
        for conv in range(depth):
            x = layer(f"decoder.stages.{number}.convs.{conv}", x)
    head = f"decoder.seg_layers.{number}"
    return CONV[dimensions](x, weights[f"{head}.weight"], weights[f"{head}.bias"])


def write_model(
    results: Path,
    name: str,
    made: dict[str, Any],
    *,
    dataset: dict[str, Any] | None = None,
    folds: tuple[str, ...] = ("0",),
    outputs: int = 3,
    channels: int = 1,
    checkpoint: str = "checkpoint_final.pth",
    **changes: Any,
) -> Path:
    """The folder TRAINER__PLANS__CONFIGURATION; fold n's weights are those of `state` with seed n (`all`: 9)."""
    folder = results / f"{TRAINER}__{PLANS}__{name}"
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(made))
    (folder / "dataset.json").write_text(json.dumps(dataset or DATASET))
    settled: dict[str, Any] = {}
    wanted: str | None = name
    while wanted:
        settled = {**made["configurations"][wanted], **settled}
        wanted = made["configurations"][wanted].get("inherits_from")
    dimensions = len(settled["patch_size"])
    for fold in folds:
        weights = state(settled["architecture"], channels, outputs, 9 if fold == "all" else int(fold))
        (folder / f"fold_{fold}").mkdir()
        data = {
            "network_weights": weights,
            "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float32(0.5)], "lrs": [np.float64(0.01)], "train_losses": [0.1]},
            "_best_ema": np.float32(0.7),
            "current_epoch": 5,
            "init_args": {"plans": made, "configuration": name, "fold": 0, "dataset_json": {}},
            "trainer_name": TRAINER,
            "inference_allowed_mirroring_axes": tuple(range(dimensions)),
            **changes,
        }
        torch.save(data, folder / f"fold_{fold}" / checkpoint)
    return folder
