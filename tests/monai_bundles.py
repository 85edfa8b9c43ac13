"""Bundles as MONAI writes them, tiny, and what MONAI itself predicts with them."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from osteon.core.torchvision_ops import patch_torchvision_ops

patch_torchvision_ops()
NETWORKS: dict[str, dict[str, Any]] = {
    "UNet": {"channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 1, "norm": ["instance", {"affine": True}]},
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1], "dropout_prob": 0.2},
    "DynUNet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8],
        "deep_supervision": False,
    },
    "AttentionUnet": {"channels": [4, 8], "strides": [2]},
}
STEPS = [
    {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
    {"_target_": "ScaleIntensityRanged", "keys": "@image_key", "a_min": -2, "a_max": 2, "b_min": 0.0, "b_max": 1.0}
    | {"clip": True},
]


def inference(network: str = "UNet", outputs: int = 3) -> dict[str, Any]:
    """configs/inference.json."""
    spacing = {"_target_": "Spacingd", "keys": "@image_key", "pixdim": [1.5, 1.2, 2.0], "mode": "bilinear"}
    output = (
        [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "@image_key"}
            | {"nearest_interp": False, "to_tensor": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        ]
        if outputs > 1
        else []
    )
    return {
        "imports": ["$import glob"],
        "image_key": "image",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "roi": [12, 12, 8],
        "network_def": {
            "_target_": f"monai.networks.nets.{network}",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": outputs,
            **copy.deepcopy(NETWORKS[network]),
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "@image_key"},
                {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
                {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
                spacing,
                *copy.deepcopy(STEPS),
                {"_target_": "EnsureTyped", "keys": "@image_key"},
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": "@roi",
            "sw_batch_size": 2,
            "overlap": 0.4,
            "mode": "gaussian",
        },
        "postprocessing": {"_target_": "Compose", "transforms": output},
    }


def metadata(outputs: int = 3) -> dict[str, Any]:
    names = ["background", "femur", "tibia", "patella"][:outputs]
    return {
        "name": "Knee bones",
        "version": "0.1.0",
        "copyright": "Copyright (c) somebody",
        "network_data_format": {
            "inputs": {"image": {"modality": "CT", "num_channels": 1, "channel_def": {"0": "image"}}},
            "outputs": {"pred": {"channel_def": {str(n): name for n, name in enumerate(names)}}},
        },
    }


def network_of(config: dict[str, Any]) -> torch.nn.Module:
    """MONAI's own network of a bundle, with weights that find every class somewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.bundle import ConfigParser

        torch.manual_seed(3)
        network: torch.nn.Module = ConfigParser({"n": config["network_def"]}).get_parsed_content("n")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


def write_bundle(folder: Path, config: dict[str, Any], about: dict[str, Any] | None = None) -> torch.nn.Module:
    """A bundle's folder; its network."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "configs/inference.json").write_text(json.dumps(config))
    (folder / "configs/metadata.json").write_text(json.dumps(about or metadata(config["network_def"]["out_channels"])))
    network = network_of(config)
    torch.save(network.state_dict(), folder / "models/model.pt")
    return network


def monai_predicts(config: dict[str, Any], network: torch.nn.Module, scan: Path) -> np.ndarray:
    """Labels `[i, j, k]` as MONAI's own inference writes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.bundle import ConfigParser

        parser = ConfigParser({key: config[key] for key in config if key not in ("imports", "device", "network")})
        data = parser.get_parsed_content("preprocessing")({"image": str(scan)})
        with torch.inference_mode():
            data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
        return np.asarray(parser.get_parsed_content("postprocessing")(data)["pred"])
