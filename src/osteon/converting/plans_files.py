"""dataset.json and plans.json, as far as they decide how a model predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from osteon.core.errors import ModelError
from osteon.core.files import read_json
from osteon.dataset.manifest import describe_errors
from osteon.plan.sections import PositiveFloat, PositiveInt

PREPROCESSOR = "DefaultPreprocessor"
RESAMPLING = "resample_data_or_seg_to_shape"
LABELS = "LabelManager"
"""nnU-Net's class that says what a network's outputs mean."""
T = TypeVar("T", bound=BaseModel)


class NnUNetSection(BaseModel):
    """A section of a file; keys that osteon does not use are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Architecture(NnUNetSection):
    """Class and arguments of the network.

    Attributes:
        network_class_name: With its module.
        arch_kwargs: What it is called with.
    """

    network_class_name: str
    arch_kwargs: dict[str, Any]


class Configuration(NnUNetSection):
    """One of the plans' configurations, with what it inherits."""

    spacing: list[PositiveFloat] = Field(min_length=2, max_length=3)
    patch_size: list[PositiveInt] = Field(min_length=2, max_length=3)
    batch_size: PositiveInt = 2
    normalization_schemes: list[str]
    use_mask_for_norm: list[bool]
    preprocessor_name: str = PREPROCESSOR
    resampling_fn_data: str = RESAMPLING
    resampling_fn_data_kwargs: dict[str, Any]
    resampling_fn_probabilities: str = RESAMPLING
    resampling_fn_probabilities_kwargs: dict[str, Any]
    architecture: Architecture
    previous_stage: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, data: Any) -> Any:
        """Plans of nnU-Net before 2.2 list the network's arguments among the others; its norms were always the same."""
        if not isinstance(data, dict) or "architecture" in data or "UNet_class_name" not in data:
            return data
        stages, dimensions = len(data["n_conv_per_stage_encoder"]), len(data["patch_size"])
        first, most = data["UNet_base_num_features"], data["unet_max_num_features"]
        residual = data["UNet_class_name"] == "ResidualEncoderUNet"
        kwargs = {
            "n_stages": stages,
            "features_per_stage": [min(first * 2**stage, most) for stage in range(stages)],
            "kernel_sizes": data["conv_kernel_sizes"],
            "strides": data["pool_op_kernel_sizes"],
            "n_blocks_per_stage" if residual else "n_conv_per_stage": data["n_conv_per_stage_encoder"],
            "n_conv_per_stage_decoder": data["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "LeakyReLU",
        }
        return {**data, "architecture": {"network_class_name": data["UNet_class_name"], "arch_kwargs": kwargs}}

    @model_validator(mode="after")
    def _fits_together(self) -> Configuration:
        if len(self.spacing) != len(self.patch_size):
            raise ValueError(f"spacing has {len(self.spacing)} axes, patch_size {len(self.patch_size)}")
        if len(self.normalization_schemes) != len(self.use_mask_for_norm):
            raise ValueError("normalization_schemes and use_mask_for_norm list different numbers of channels")
        return self

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.patch_size)

    def with_batch_norms(self) -> Configuration:
        """The same where a trainer built batch norms instead of the plans' own, as nnUNetTrainerBN does."""
        kwargs = self.architecture.arch_kwargs
        if "BatchNorm" in str(kwargs.get("norm_op")) or (kwargs.get("norm_op_kwargs") or {}).get("track_running_stats"):
            return self
        kwargs = {**kwargs, "norm_op": f"BatchNorm{self.dimensions}d", "norm_op_kwargs": {"eps": 1e-5, "affine": True}}
        return self.model_copy(update={"architecture": self.architecture.model_copy(update={"arch_kwargs": kwargs})})


class ForegroundIntensities(NnUNetSection):
    """Intensities of a channel in the structures of the training scans."""

    mean: float
    std: float
    percentile_00_5: float
    percentile_99_5: float


class Plans(NnUNetSection):
    """plans.json."""

    dataset_name: str
    plans_name: str = "nnUNetPlans"
    image_reader_writer: str = "SimpleITKIO"
    label_manager: str = LABELS
    transpose_forward: tuple[int, int, int]
    original_median_spacing_after_transp: list[PositiveFloat] = [1.0, 1.0, 1.0]
    foreground_intensity_properties_per_channel: dict[str, ForegroundIntensities] = {}
    configurations: dict[str, dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, data: Any) -> Any:
        old, new = (f"foreground_intensity_properties_{by}" for by in ("by_modality", "per_channel"))
        return {new: data[old], **data} if isinstance(data, dict) and old in data else data

    @model_validator(mode="after")
    def _is_a_permutation(self) -> Plans:
        if sorted(self.transpose_forward) != [0, 1, 2]:
            raise ValueError(f"transpose_forward: {self.transpose_forward} is no order of three axes")
        return self


class DatasetFile(NnUNetSection):
    """dataset.json."""

    channel_names: dict[str, str]
    labels: dict[str, int | list[int]]
    regions_class_order: list[int] | None = None

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, data: Any) -> Any:
        if isinstance(data, dict) and "channel_names" not in data and "modality" in data:
            return {**data, "channel_names": data["modality"]}
        return data

    @property
    def channels(self) -> list[str]:
        """Their names, in order; where several have one name, as colours may, all but the first are numbered."""
        names = [self.channel_names[key] for key in sorted(self.channel_names, key=int)]
        times = [names[:number].count(name) for number, name in enumerate(names)]
        return [f"{name} {before + 1}" if before else name for name, before in zip(names, times, strict=True)]


def read_plans(path: Path) -> Plans:
    """Read plans.json. Raises FileError, or ModelError where a key is missing or nonsense."""
    return _parse(Plans, read_json(path, "nnU-Net's plans"), path)


def read_dataset(path: Path) -> DatasetFile:
    """Read dataset.json. Raises FileError, or ModelError where a key is missing or nonsense."""
    return _parse(DatasetFile, read_json(path, "nnU-Net's description"), path)


def resolve_configuration(plans: Plans, name: str, path: Path) -> Configuration:
    """One of the configurations, with what it inherits from others; `path` is for messages. Raises ModelError."""
    data: dict[str, Any] = {}
    wanted: str | None = name
    seen: list[str] = []
    while wanted:
        if wanted in seen or wanted not in plans.configurations:
            known = ", ".join(plans.configurations)
            raise ModelError(
                f"{path}: configurations: there is no {wanted} (there are {known})"
                if wanted not in seen
                else f"{path}: configurations: {wanted} inherits from itself",
                hint="take the plans.json that was copied into this model's folder when it was trained",
            )
        seen.append(wanted)
        data = {**plans.configurations[wanted], **data}
        wanted = plans.configurations[wanted].get("inherits_from")
    return _parse(Configuration, data, path, f"configurations.{name}.")


def _parse(kind: type[T], data: Any, path: Path, before: str = "") -> T:
    hint = "take the file that nnU-Net wrote beside the folds of this model"
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ModelError(f"{path}: {before}{describe_errors(error)}", hint=hint) from None
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path}: {before}{error} is missing or makes no sense", hint=hint) from None
