"""Lightning, imported after torchvision was looked at: see `osteon.core.torchvision_ops`."""

from __future__ import annotations

from osteon.core.torchvision_ops import patch_torchvision_ops

patch_torchvision_ops()

import lightning as lightning  # noqa: E402
from lightning.fabric.plugins.environments import LightningEnvironment as LightningEnvironment  # noqa: E402
from lightning.fabric.plugins.environments import SLURMEnvironment as SLURMEnvironment  # noqa: E402
from lightning.pytorch.loggers import Logger as Logger  # noqa: E402
from lightning.pytorch.loggers import TensorBoardLogger as TensorBoardLogger  # noqa: E402
