"""What is measured in each case, as it is kept in audit.json and between two runs."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator

from osteon.dataset.case_stamps import NO_STAMP, CaseStamp

Triple = tuple[float, float, float]


def _pack(values: Iterable[float]) -> Sequence[float]:
    try:
        return array("f", values)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"no list of numbers ({error})") from error


def _to_list(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]


Floats = Annotated[Sequence[float], PlainValidator(_pack), PlainSerializer(_to_list)]
"""Many 32-bit floats: 4 bytes for each in memory, where a list takes 32; in files a list of three decimals."""


@dataclass(frozen=True, slots=True)
class NumberedPieces:
    """The numbered pieces of a structure in a case.

    Attributes:
        count: How many there are.
        tiny: Value and voxels of those of a few voxels.
        twice: Value, voxels of the largest part and of the next one, of those in parts that lie apart.
    """

    count: int
    tiny: list[tuple[int, int]]
    twice: list[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class StructureFacts:
    """One structure in one case.

    Attributes:
        voxels: How many it has.
        volume_mm3: Their volume; square pixels where the unit is px.
        centre_ras: World position of its centroid.
        extent: Length of its box along R, A, S in the unit.
        thinnest_voxels: Voxels of its box along the shortest axis that the grid has.
        pieces: Voxels of its connected pieces (26 neighbours; 8 in a picture), largest first, shreds left out.
        shreds: Pieces too small to count.
        holes: Voxels of each enclosed hole that no structure fills, largest first.
        cut: The sides of the field of view that it touches, such as `S`.
        mean, sd, p5, median, p95: Intensities inside, in the first channel.
        shell: Mean intensity just outside, where no structure is; None where there is none.
        step: The usual distance between its slices, in slices; 1 where it is drawn on every one.
        drawn: On how many slices it is drawn where they have others between them, such as `femur on 5 of 9`.
        numbered: Its pieces, where they are numbered.
        gaps: Empty slices that may be anatomy, such as `femur in slices 4 to 5 along k`, as the file counts them.
    """

    voxels: int
    volume_mm3: float
    centre_ras: Triple
    extent: Triple
    thinnest_voxels: int
    pieces: list[int]
    shreds: int
    holes: list[int]
    cut: list[str]
    mean: float
    sd: float
    p5: float
    median: float
    p95: float
    shell: float | None = None
    step: int = 1
    drawn: str = ""
    gaps: str = ""
    numbered: NumberedPieces | None = None


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """Intensities of a whole channel: extremes and percentiles."""

    lowest: float
    p1: float
    median: float
    p99: float
    highest: float


class CaseFacts(BaseModel):
    """One case. Shape, spacing and field of view run along R, A, S.

    Attributes:
        id: The case.
        key: How it was measured; see `osteon.auditing.run`.
        mark: What it was when it was measured.
        shape: Voxels.
        spacing: Edges of a voxel in `unit`.
        unit: `mm` or `px`.
        orientation: The file's axes, such as `LPS`.
        channels: Intensities of each channel.
        content: SHA-256 of the image.
        label_content: SHA-256 of the label map; None without one, or where it is empty.
        thumbnail: A coarse image of the case, for likenesses.
        labelled: Whether there is a segmentation.
        structures: Those that have a voxel.
        overlaps: Pairs of structures that share voxels: first, second, voxels.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    key: str
    mark: CaseStamp = NO_STAMP
    shape: tuple[int, int, int]
    spacing: Triple
    unit: str
    orientation: str
    channels: list[ChannelFacts]
    content: str
    label_content: str | None
    thumbnail: Floats
    labelled: bool
    structures: dict[str, StructureFacts]
    overlaps: list[tuple[str, str, int]]

    @property
    def field_of_view(self) -> Triple:
        """Length of the image along R, A, S in the unit."""
        r, a, s = (n * edge for n, edge in zip(self.shape, self.spacing, strict=True))
        return r, a, s
