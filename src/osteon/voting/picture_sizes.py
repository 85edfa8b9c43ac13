"""How large a picture is: a table of RLE does not say."""

from __future__ import annotations

from dataclasses import dataclass

from osteon.core.errors import DatasetError, UsageError
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.voting.rle_rows import picture_name

DEFAULT_SIZE = (2048, 2048)
"""Rows and columns of the hand radiographs whose tables these are."""

Size = tuple[int, int]


@dataclass(frozen=True)
class PictureSizes:
    """Rows and columns of pictures.

    Attributes:
        every: Of all pictures that the dataset does not have; None where nobody has said it.
        dataset: Whose images have their sizes; None without one.
    """

    every: Size | None = None
    dataset: Dataset | None = None

    def of(self, image: str) -> Size:
        """Rows and columns of a picture, by its name in a table.

        Raises:
            DatasetError: The dataset has no such picture and no size is given, or it has a volume under that name.
            FileError: The dataset's image cannot be read.
        """
        if self.dataset is None:
            return self.every or DEFAULT_SIZE
        case = find_case(self.dataset, image)
        if case is None:
            if self.every is None:
                raise DatasetError(
                    f"{image}: {self.dataset.folder} has no such picture, so its size is not known",
                    hint="give --image-size HxW, or a dataset that has the picture",
                )
            return self.every
        columns, rows, slices = self.dataset.geometry(case).shape
        if slices != 1:
            raise DatasetError(
                f"{image}: case {case.id} of {self.dataset.folder} is a volume of {slices} slices and no picture",
                hint="give the dataset of the radiographs that the tables are about",
            )
        return rows, columns


def find_case(dataset: Dataset, image: str) -> Case | None:
    """The case of a picture's name: its id, or the name of its image's file."""
    wanted = picture_name(image)
    for case in dataset.manifest.cases:
        if wanted in (case.id, picture_name(dataset.resolve(case.images[0]).name)):
            return case
    return None


def parse_size(text: str) -> Size:
    """Rows and columns of `HxW`. Raises UsageError."""
    rows, _, columns = text.lower().replace("×", "x").partition("x")
    if not (rows.strip().isdecimal() and columns.strip().isdecimal()) or not int(rows) or not int(columns):
        raise UsageError(f"--image-size {text}: not HxW", hint="rows x columns in pixels, such as 2048x2048")
    return int(rows), int(columns)
