"""A cache on disk of networks converted for OpenVINO: converting takes seconds, reading a tenth of one.

Files are OpenVINO's own form (a graph in XML and its weights), which cannot run code. They are named by a hash of the
network, its weights, the shape and the libraries' versions, so that one is never taken for another.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from osteon.core.file_stamps import age_key
from osteon.core.folders import user_cache

MAX_NETWORKS = 12
"""The networks that were used last are kept."""


def load_or_convert(
    openvino: Any, network: nn.Module, shape: tuple[int, ...], convert: Callable[[nn.Module, tuple[int, ...]], Any]
) -> Any:
    """The OpenVINO model of a network and a shape, read from disk where it was converted before.

    Args:
        openvino: The library.
        network: In eval mode, on the CPU.
        shape: `[batch, channel, i, j, k]` of what it will be given.
        convert: Makes the model, where it is not cached.
    """
    path = user_cache() / "openvino" / f"{_key(network, shape, openvino.__version__)}.xml"
    if path.is_file():
        try:
            model = openvino.Core().read_model(path)
            os.utime(path)
        except (RuntimeError, OSError):
            path.unlink(missing_ok=True)  # cut off, or no longer readable: it is converted anew
        else:
            return model
    model = convert(network, shape)
    _store(openvino, model, path)
    return model


def _store(openvino: Any, model: Any, path: Path) -> None:
    """Write it; a full disk or a folder that cannot be written costs only the time to convert it again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            written = Path(folder) / path.name
            openvino.save_model(model, written, compress_to_fp16=False)
            written.with_suffix(".bin").replace(path.with_suffix(".bin"))
            written.replace(path)
        for old in sorted(path.parent.glob("*.xml"), key=age_key)[:-MAX_NETWORKS]:
            old.unlink(missing_ok=True)
            old.with_suffix(".bin").unlink(missing_ok=True)
    except (OSError, RuntimeError):
        return


def _key(network: nn.Module, shape: tuple[int, ...], version: str) -> str:
    digest = hashlib.sha256("|".join([version, str(torch.__version__), repr(network), str(shape)]).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
