"""Files of images and labels, each format in one file; `registry` is the table of them."""

from osteon.formats.io import (
    read_geometry,
    read_segmentation,
    read_structures,
    read_volume,
    write_segmentation,
    write_volume,
)

__all__ = ["read_geometry", "read_segmentation", "read_structures", "read_volume", "write_segmentation", "write_volume"]
