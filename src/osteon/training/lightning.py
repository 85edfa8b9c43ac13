"""Lightning, imported after torchvision was looked at (`osteon.core.torchvision_ops`), and with no look for garbage."""

from __future__ import annotations

from osteon.core.garbage import pause_collector
from osteon.core.torchvision_ops import patch_torchvision_ops

with pause_collector():
    patch_torchvision_ops()

    import lightning as lightning
    from lightning.fabric.plugins.environments import LightningEnvironment as LightningEnvironment
    from lightning.fabric.plugins.environments import SLURMEnvironment as SLURMEnvironment
    from lightning.pytorch.loggers import Logger as Logger
    from lightning.pytorch.loggers import TensorBoardLogger as TensorBoardLogger
