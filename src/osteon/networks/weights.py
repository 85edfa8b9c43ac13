"""Tensors in files that cannot run code, written whole or not at all; other programs' files are read as safely."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from osteon.core.errors import FileError, UsageError, missing_file_error, summarise_error
from osteon.core.files import atomic_write, is_file

CHECKSUM = "sha256"
"""Under which key a safetensors file has it."""
TORCH = (".pth", ".pt", ".bin")
SUFFIXES = (".safetensors", *TORCH)
WRAPPERS = ("state_dict", "model_state_dict", "model", "network")
"""Keys under which training scripts keep the weights in a checkpoint."""


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], *, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors from any device to a safetensors file, with a checksum of what they hold.

    Raises:
        FileError: The disk is full, or the folder cannot be written.
    """
    flat: dict[str, torch.Tensor] = {}
    places = set[int]()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        flat[name] = own.clone() if place in places else own  # one tensor under two names, as in MONAI's DynUNet
        places.add(place)
    with atomic_write(path) as temporary:
        try:
            save_file(flat, temporary, metadata={**(metadata or {}), CHECKSUM: checksum(flat)})
        except SafetensorError as error:  # its writer hides the operating system's error in the text
            raise OSError(_errno(str(error)), str(error)) from error


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_checked(path: Path) -> dict[str, torch.Tensor]:
    """Tensors that `save_tensors` wrote, unchanged since.

    Raises:
        SafetensorError: The file is no safetensors, or cut off.
        OSError: It cannot be read.
        RuntimeError: Its checksum is another.
    """
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        expected = (file.metadata() or {}).get(CHECKSUM)
    if expected is not None and checksum(tensors) != expected:
        raise RuntimeError("its SHA-256 is not the one that was written with it")
    return tensors


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Named tensors of a safetensors file, or of one that `torch.save` wrote; nothing in it is run.

    Raises:
        FileError: It is missing, damaged, or holds more than tensors.
        UsageError: Its name says neither safetensors nor torch.
    """
    if not is_file(path):
        raise missing_file_error(path, "the file of weights")
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: not a file of weights by its name", hint=f"give one of {', '.join(SUFFIXES)}")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True) if path.suffix in TORCH else load_file(path)
    except pickle.UnpicklingError as error:
        raise FileError(
            f"{path}: is damaged, or holds more than tensors, so that loading it could run code",
            hint="copy it again; or, where it comes from, save the network's state_dict() alone, best as safetensors",
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise FileError(
            f"{path}: cannot be read as weights; it is damaged or cut off ({summarise_error(error)})",
            hint="fetch or copy it again",
        ) from error
    tensors = _unwrap(data)
    if not tensors:
        raise FileError(f"{path}: holds no named tensors", hint="save the network's state_dict()")
    return tensors


def _unwrap(data: Any) -> dict[str, torch.Tensor]:
    for key in WRAPPERS:
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
    if not isinstance(data, Mapping):
        return {}
    return {str(name): value for name, value in data.items() if isinstance(value, torch.Tensor)}


def _errno(text: str) -> int:
    """The operating system's number in Rust's text: `(os error 28)` or `code: 28`; 0 where there is none."""
    found = re.search(r"(?:os error |code: )(\d+)", text)
    return int(found[1]) if found else 0
