"""Tensors in files that cannot run code, written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from osteon.core.files import whole_file


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], *, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors from any device to a safetensors file.

    Raises:
        FileError: The disk is full, or the folder cannot be written.
    """
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        try:
            save_file(flat, temporary, metadata=metadata)
        except SafetensorError as error:  # its writer hides the operating system's error in the text
            raise OSError(_errno(str(error)), str(error)) from error


def _errno(text: str) -> int:
    """The operating system's number in Rust's text: `(os error 28)` or `code: 28`; 0 where there is none."""
    found = re.search(r"(?:os error |code: )(\d+)", text)
    return int(found[1]) if found else 0
