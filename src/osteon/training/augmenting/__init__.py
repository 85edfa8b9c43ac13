"""Random changes to a batch: all parameters are drawn first, then applied to the whole batch where it lies."""

from osteon.training.augmenting.apply import apply_augmentation
from osteon.training.augmenting.description import describe_augmentation
from osteon.training.augmenting.parameters import AugmentationParameters, draw_parameters

__all__ = ["AugmentationParameters", "apply_augmentation", "describe_augmentation", "draw_parameters"]
