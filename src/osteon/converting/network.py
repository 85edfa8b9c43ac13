"""The network of a configuration as the plan's section has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from osteon.converting.plans_files import Architecture
from osteon.core.errors import ModelError
from osteon.dataset.manifest import describe_errors
from osteon.plan.schema import NnUNet

NAMES = {"PlainConvUNet": "nnunet", "ResidualEncoderUNet": "nnunet-residual"}
"""nnU-Net's classes."""
DEPTHS = {"nnunet": "n_conv_per_stage", "nnunet-residual": "n_blocks_per_stage"}
KNOWN = {
    "n_stages",
    "features_per_stage",
    "conv_op",
    "kernel_sizes",
    "strides",
    *DEPTHS.values(),
    "n_conv_per_stage_decoder",
    "conv_bias",
    "norm_op",
    "norm_op_kwargs",
    "dropout_op",  # drops nothing in predicting
    "dropout_op_kwargs",
    "nonlin",
    "nonlin_kwargs",
    "nonlin_first",
    "deep_supervision",
    "stem_channels",
}
NORMS = {"InstanceNorm": "instance", "BatchNorm": "batch"}
"""nnU-Net's norms, and their names in the plan."""
NORM_KWARGS = {"eps", "affine", "momentum", "track_running_stats"}
SLOPES = {"LeakyReLU": 0.01, "ReLU": 0.0}
"""Below zero, where the arguments do not say otherwise."""
ACT_KWARGS = {"inplace", "negative_slope"}


def convert_network(architecture: Architecture, dimensions: int, before: list[int], path: Path) -> NnUNet:
    """The plan's section `network`.

    Args:
        architecture: Class and arguments.
        dimensions: 2 or 3.
        before: Values of the labels that the first model of a cascade finds; empty for any other.
        path: Of the plans, for messages.

    Raises:
        ModelError: Another class, or arguments that osteon does not build.
    """
    kind = architecture.network_class_name.rpartition(".")[2]
    given = architecture.arch_kwargs
    if kind not in NAMES:
        raise _unsupported(path, f"the network is a {kind}; osteon builds {' and '.join(NAMES)}")
    name = NAMES[kind]
    others = {key: value for key, value in given.items() if key not in KNOWN and value not in (None, False)}
    block = str(others.pop("block", "BasicBlockD"))
    if others or not block.endswith("BasicBlockD"):
        raise _unsupported(path, f"arch_kwargs {', '.join(others) or f'block ({block})'} of {kind} are not known here")
    layers = _layers(given, path)
    try:
        features, stages = given["features_per_stage"], int(given["n_stages"])
        section = {
            "name": name,
            "features": _per_stage(features, stages),
            "strides": [_triple(step, dimensions) for step in _per_stage(given["strides"], stages)],
            "kernels": [_triple(size, dimensions) for size in _per_stage(given["kernel_sizes"], stages)],
            "depths": _per_stage(given[DEPTHS[name]], stages),
            "decoder_depths": _per_stage(given["n_conv_per_stage_decoder"], stages - 1),
            "bias": bool(given.get("conv_bias", False)),
            **layers,
            "stem": given.get("stem_channels"),
            "before": before,
        }
        return NnUNet.model_validate(section)
    except ValidationError as error:
        raise _unsupported(path, describe_errors(error)) from None
    except (KeyError, TypeError, ValueError) as error:
        raise _unsupported(path, f"arch_kwargs: {error} is missing or makes no sense") from None


def _layers(given: dict[str, Any], path: Path) -> dict[str, Any]:
    """Norm and activation after each convolution. Raises ModelError where osteon has no such."""
    norm, act = (str(given.get(key)).rpartition(".")[2] for key in ("norm_op", "nonlin"))
    norm_kwargs, act_kwargs = (given.get(f"{key}_kwargs") or {} for key in ("norm_op", "nonlin"))
    kind = NORMS.get(norm.rstrip("123d"))
    batch = kind == "batch"
    supported = norm_kwargs.get("affine", batch) and norm_kwargs.get("track_running_stats", batch) == batch
    if kind is None or not supported or norm_kwargs.keys() - NORM_KWARGS:
        arguments = ", ".join(f"{key} {value}" for key, value in norm_kwargs.items())
        found = norm if kind is None else f"{norm} with {arguments or 'no arguments'}"
        raise _unsupported(path, f"its norm (norm_op) is {found}; osteon builds affine instance and batch norms")
    if act not in SLOPES or act_kwargs.keys() - ACT_KWARGS:
        arguments = ", ".join(act_kwargs.keys() - ACT_KWARGS)
        found = f"{act} with {arguments}" if act in SLOPES else act
        raise _unsupported(path, f"its activation (nonlin) is {found}; osteon builds {' and '.join(SLOPES)}")
    return {
        "norm": kind,
        "norm_last": bool(given.get("nonlin_first")),
        "eps": norm_kwargs.get("eps", 1e-5),
        "slope": act_kwargs.get("negative_slope", SLOPES[act]),
    }


def _per_stage(value: Any, count: int) -> list[Any]:
    """A value for each stage, where one may stand for all."""
    return list(value) if isinstance(value, list | tuple) else [value] * count


def _triple(value: Any, dimensions: int) -> tuple[int, ...]:
    return (*_per_stage(value, dimensions), *[1] * (3 - dimensions))


def _unsupported(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path}: {reason}",
        hint="such a model stays with nnU-Net; osteon takes those of its standard planners and trainers",
    )
