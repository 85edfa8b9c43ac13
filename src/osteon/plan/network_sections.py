"""The plan's section `network`: one class for each family; `networks.registry` knows which names there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from osteon.plan.sections import PositiveInt, Section, Triple

FEATURE_MULTIPLES = {"segresnet": 8, "swinunetr": 12}
"""The features of MONAI's networks are multiples of it."""


class Network(Section):
    """A U-Net: features, kernel and stride of each stage, from the finest to the coarsest.

    Attributes:
        name: `resunet` has residual blocks in its encoder.
        strides: The step into each stage; the first stage's is 1, 1, 1.
        kernels: Convolution kernel of each stage.
        convolutions: Convolutions in each stage, encoder and decoder.
        residual: Residual blocks in the encoder, also where the name is `unet`.
        deep_supervision: How many of the finest decoder stages have a loss of their own.
    """

    name: str = "unet"
    features: list[PositiveInt] = Field(min_length=2)
    strides: list[Triple]
    kernels: list[Triple]
    convolutions: PositiveInt = 2
    residual: bool = False
    deep_supervision: PositiveInt = 3

    @property
    def description(self) -> str:
        """The network in a line."""
        residual = ", residual encoder" if self.residual and self.name == "unet" else ""
        return f"{self.name}{residual}, features {', '.join(map(str, self.features))}"

    @property
    def downsampling(self) -> Triple:
        """The product of the strides along each axis: patch sizes are multiples of it."""
        return _product(self.strides)

    @model_validator(mode="before")
    @classmethod
    def _named_residual(cls, data: Any) -> Any:
        named = isinstance(data, dict) and data.get("name") == "resunet"
        return {"residual": True, **data} if named else data

    @model_validator(mode="after")
    def _stages_agree(self) -> Network:
        if self.name == "resunet" and not self.residual:
            raise ValueError("residual: a resunet has residual blocks; without them it is a unet")
        _check_stages(len(self.features), strides=self.strides, kernels=self.kernels)
        return self


class Pretrained(Section):
    """A decoder on an encoder of segmentation-models-pytorch, timm or a plugin, which is inflated from 2D in 3D.

    Attributes:
        name: The decoder's architecture: a row of `networks.registry.NETWORKS`.
        encoder: As smp names it (resnet34, efficientnet-b5, mit_b0, timm-gernet_l), timm's with `tu-` before it.
        weights: `imagenet`, `none` (a random start), or the path of a file that holds the encoder's weights.
        decoder_features: Features of the decoder's five stages, from the coarsest to the finest; one number for
            upernet, segformer and deeplabv3(plus). The library's own if left out.
        through_axis: 3D: the array axis that the 2D encoder did not have.
        thick_stages: 3D: so many of the encoder's finest halvings leave that axis as it is, for thick slices.
        downsampling: Patch sizes are multiples of it; predictions of any size are padded.
        fixed_size: The encoder takes images of the patch's size alone.
    """

    name: str
    encoder: str = Field(min_length=1)
    weights: str = "imagenet"
    decoder_features: list[PositiveInt] | None = None
    through_axis: Literal[0, 1, 2] = 2
    thick_stages: Annotated[int, Field(ge=0, le=5)] = 0
    downsampling: Triple = (32, 32, 1)
    fixed_size: bool = False

    @model_validator(mode="after")
    def _stages_of_the_decoder(self) -> Pretrained:
        count = 5 if self.name in ("unet", "unetplusplus", "manet") else 1
        if self.decoder_features is not None and len(self.decoder_features) != count:
            raise ValueError(f"decoder_features: {self.name} takes {count}, not {len(self.decoder_features)}")
        return self

    @property
    def description(self) -> str:
        """The network in a line."""
        return f"{self.name}, encoder {self.encoder}, weights {self.weights}"


class Monai(Section):
    """A network of MONAI.

    Attributes:
        name: A row of `networks.registry.NETWORKS`.
        features: Of the finest stage: a multiple of 8 (segresnet: groups of its norm) or 12 (swinunetr: heads).
        downsampling: Patch sizes are multiples of it.
    """

    name: str
    features: PositiveInt
    downsampling: Triple

    @model_validator(mode="after")
    def _whole_groups(self) -> Monai:
        multiple = FEATURE_MULTIPLES.get(self.name, 1)
        if self.features % multiple:
            raise ValueError(f"features: {self.name} needs a multiple of {multiple}, not {self.features}")
        return self

    @property
    def description(self) -> str:
        """The network in a line."""
        return f"{self.name} of MONAI, {self.features} features at the finest stage"


class MonaiBundle(Section):
    """A network of MONAI as a bundle describes it, so that its weights fit; it is not trained further.

    Attributes:
        name: `monai-bundle`.
        target: MONAI's class, a row of `networks.monai_bundle.CLASSES`.
        arguments: Of its constructor.
        downsampling: Patch sizes are multiples of it.
    """

    name: Literal["monai-bundle"] = "monai-bundle"
    target: str
    arguments: dict[str, Any]
    downsampling: Triple = (1, 1, 1)

    @property
    def description(self) -> str:
        """The network in a line."""
        return f"{self.target} of MONAI"


class NnUNet(Section):
    """A U-Net as nnU-Net builds it, so that its weights fit: every stage may have its own kernel and depth.

    Attributes:
        name: `nnunet-residual` has residual blocks in its encoder.
        features: Of each stage, from the finest to the coarsest.
        strides: The step into each stage; the first stage's is 1, 1, 1.
        kernels: Convolution kernel of each stage.
        depths: Convolutions in each stage of the encoder (residual: blocks of two).
        decoder_depths: Convolutions in each stage of the decoder, from the coarsest to the finest.
        bias: Whether convolutions have one.
        norm: Of each patch by itself (`instance`), or by the means and variances of the training (`batch`).
        norm_last: The activation comes before the norm.
        eps: Added to the variance in norms.
        slope: Of the leaky ReLU below zero; 0 a plain ReLU.
        stem: Residual: features of the convolution before the first stage; None: as many as that has.
        before: Second model of a cascade: values of the labels that the first one finds; each is one channel more.
    """

    name: str
    features: list[PositiveInt] = Field(min_length=2)
    strides: list[Triple]
    kernels: list[Triple]
    depths: list[PositiveInt]
    decoder_depths: list[PositiveInt]
    bias: bool = True
    norm: Literal["instance", "batch"] = "instance"
    norm_last: bool = False
    eps: Annotated[float, Field(gt=0)] = 1e-5
    slope: Annotated[float, Field(ge=0, lt=1)] = 0.01
    stem: PositiveInt | None = None
    before: list[PositiveInt] = Field(default=[])

    @property
    def description(self) -> str:
        """The network in a line."""
        cascade = ", second of a cascade" if self.before else ""
        return f"{self.name}, features {', '.join(map(str, self.features))}{cascade}"

    @property
    def downsampling(self) -> Triple:
        """The product of the strides along each axis: patch sizes are multiples of it."""
        return _product(self.strides)

    @model_validator(mode="after")
    def _stages_agree(self) -> NnUNet:
        _check_stages(len(self.features), strides=self.strides, kernels=self.kernels, depths=self.depths)
        if len(self.decoder_depths) != len(self.features) - 1:
            raise ValueError(f"decoder_depths lists {len(self.decoder_depths)} stages, features one more at most")
        return self


def _product(strides: list[Triple]) -> Triple:
    i = j = k = 1
    for stride in strides:
        i, j, k = i * stride[0], j * stride[1], k * stride[2]
    return i, j, k


def _check_stages(
    count: int, *, strides: list[Triple], kernels: list[Triple], depths: Sequence[int] | None = None
) -> None:
    """Raise ValueError where lists of stages have other lengths, or strides or kernels that no U-Net has."""
    counts = {"strides": len(strides), "kernels": len(kernels), "depths": count if depths is None else len(depths)}
    for name, listed in counts.items():
        if listed != count:
            raise ValueError(f"{name} lists {listed} stages, features lists {count}")
    if strides[0] != (1, 1, 1):
        raise ValueError(f"strides: the first stage keeps the full resolution (1, 1, 1), not {strides[0]}")
    if any(k % 2 == 0 for kernel in kernels for k in kernel):
        raise ValueError("kernels: sizes must be odd, so that a voxel has a centre")


SCRATCH = ("unet", "resunet")
PRETRAINED = ("unet", "unetplusplus", "manet", "upernet", "segformer", "deeplabv3", "deeplabv3plus")
MONAI = ("segresnet", "swinunetr")
NNUNET = ("nnunet", "nnunet-residual")
TAGS = ("scratch", "pretrained", "monai", "bundle", "nnunet")


def _family(data: Any) -> str:
    """Which section it is: by the name, or for a name that only the registry of networks knows by the keys."""

    def value(key: str) -> Any:
        return data.get(key) if isinstance(data, dict) else getattr(data, key, None)

    name = value("name")
    if value("target") is not None:
        return "bundle"
    if name in NNUNET or value("depths") is not None:
        return "nnunet"
    if (name in PRETRAINED and name not in SCRATCH) or value("encoder") is not None:
        return "pretrained"
    return "scratch" if name in (None, *SCRATCH) or value("strides") is not None else "monai"


AnyNetwork = Annotated[
    Annotated[Network, Tag("scratch")]
    | Annotated[Pretrained, Tag("pretrained")]
    | Annotated[Monai, Tag("monai")]
    | Annotated[MonaiBundle, Tag("bundle")]
    | Annotated[NnUNet, Tag("nnunet")],
    Discriminator(_family),
]
