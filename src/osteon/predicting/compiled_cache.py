"""Networks converted for OpenVINO, kept on disk: converting takes seconds, reading what was converted a tenth of one.

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

from osteon.core.clock import age_key

MOST = 12
"""So many networks are kept, those that were used last."""


def kept_model(
    openvino: Any, network: nn.Module, shape: tuple[int, ...], convert: Callable[[nn.Module, tuple[int, ...]], Any]
) -> Any:
    """The OpenVINO model of a network and a shape, read from disk where it was converted before.

    Args:
        openvino: The library.
        network: In eval mode, on the CPU.
        shape: `[batch, channel, i, j, k]` of what it will be given.
        convert: Makes the model, where it is not there.
    """
    path = _folder() / f"{_key(network, shape, openvino.__version__)}.xml"
    if path.is_file():
        try:
            model = openvino.Core().read_model(path)
            os.utime(path)
        except (RuntimeError, OSError):
            path.unlink(missing_ok=True)  # cut off, or no longer readable: it is converted anew
        else:
            return model
    model = convert(network, shape)
    _keep(openvino, model, path)
    return model


def _keep(openvino: Any, model: Any, path: Path) -> None:
    """Write it; a full disk or a folder that cannot be written costs only the time to convert it again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            written = Path(folder) / path.name
            openvino.save_model(model, written, compress_to_fp16=False)
            written.with_suffix(".bin").replace(path.with_suffix(".bin"))
            written.replace(path)
        for old in sorted(path.parent.glob("*.xml"), key=age_key)[:-MOST]:
            old.unlink(missing_ok=True)
            old.with_suffix(".bin").unlink(missing_ok=True)
    except (OSError, RuntimeError):
        return


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "osteon" / "openvino"


def _key(network: nn.Module, shape: tuple[int, ...], version: str) -> str:
    found = hashlib.sha256("|".join([version, str(torch.__version__), repr(network), str(shape)]).encode())
    for name, tensor in network.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy())
    return found.hexdigest()[:32]
