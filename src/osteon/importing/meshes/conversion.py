"""A scan and its meshes, read: decides how the coordinates are meant, and fills the meshes onto the scan's grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from osteon.core.errors import DatasetError, GeometryError, OsteonError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Structure
from osteon.core.text import pluralise
from osteon.core.volume import Volume
from osteon.formats.io import read_volume
from osteon.formats.stl import read_stl
from osteon.importing.masks.files import Scan
from osteon.importing.masks.merging import merge_masks
from osteon.importing.meshes.frames import (
    MIN_CONTRAST_HU,
    MIN_INSIDE,
    FrameEvidence,
    MeshFrame,
    MeshHeader,
    Points,
    candidate_frames,
    open_frames,
    weigh_frames,
)
from osteon.importing.meshes.voxelisation import VoxelisedMesh, voxelise
from osteon.importing.options import ImportOptions
from osteon.importing.source_forms import ConvertedCase

_ASKED = 8
"""Cases that are asked, at most, how the coordinates are meant."""
_ENOUGH = 3
"""As many that agree settle it."""
_WAYS_OUT = "say how the coordinates are meant: --mesh-unit mm, cm or m; --mesh-space LPS or RAS"


@dataclass(frozen=True)
class MeshConversion:
    """One case with all that its conversion needs.

    Attributes:
        id: The case's.
        scan: The CT.
        source: What the meshes' places are relative to.
        parts: Structure name → its meshes.
        structures: All of the dataset.
        options: What the user says.
        headers: Mesh → what its header says that no option says otherwise.
    """

    id: str
    scan: Scan
    source: Path
    parts: Mapping[str, Sequence[PurePosixPath]]
    structures: tuple[Structure, ...]
    options: ImportOptions
    headers: Mapping[PurePosixPath, MeshHeader] = field(default_factory=dict)

    @property
    def meshes(self) -> list[PurePosixPath]:
        """Paths of the case's meshes."""
        return [place for part in self.parts.values() for place in part]

    @property
    def open_frames(self) -> list[MeshFrame]:
        """The frames that options and headers leave open."""
        return open_frames([self.headers.get(place, MeshHeader()) for place in self.meshes], self.options)

    def image(self) -> tuple[Volume, list[str]]:
        """The scan, and what was done to it. Raises FileError or GeometryError."""
        if self.scan.series is None:
            return read_volume(self.scan.path), []
        from osteon.formats.dicom_series import read_series

        return read_series(
            self.scan.series, accept_gaps=self.options.accept_gaps, resample_tilt=self.options.resample_tilt
        )

    def resolve_frame(self, frame: MeshFrame) -> MeshFrame:
        """That of the dataset, or what is settled for this case."""
        units, spaces = ({getattr(one, what) for one in self.open_frames} for what in ("unit", "space"))
        return MeshFrame(
            frame.unit if len(units) > 1 else units.pop(), frame.space if len(spaces) > 1 else spaces.pop()
        )

    def triangles(self, frame: MeshFrame) -> dict[PurePosixPath, Points]:
        """Triangles `[n, 3, 3]` in the coordinates of a frame; as the files have them where these say nothing else.

        Raises:
            FileError: One cannot be read.
        """
        return {
            place: self.headers.get(place, MeshHeader()).to_frame(read_stl(self.source / place).triangles, frame)
            for place in self.meshes
        }


def decide_frame(jobs: Sequence[MeshConversion], options: ImportOptions) -> tuple[MeshFrame, str]:
    """How the coordinates of all meshes are meant, and why; asks some cases, spread over the dataset.

    Raises:
        UsageError: It is not clear.
        DatasetError: Cases contradict each other.
        FileError: None of the cases asked can be read.
    """
    by_space = [job for job in jobs if len({frame.space for frame in job.open_frames}) > 1]
    unclear_jobs = by_space or [job for job in jobs if len(job.open_frames) > 1]
    if not unclear_jobs:
        why = "as told" if options.mesh_unit and options.mesh_space else "as their headers say"
        return jobs[0].open_frames[0], f"coordinates of the meshes: {jobs[0].open_frames[0]}, {why}"
    jobs = unclear_jobs
    votes: dict[MeshFrame, list[str]] = defaultdict(list)
    unclear: list[str] = []
    failed: list[OsteonError] = []
    for number in np.unique(np.linspace(0, len(jobs) - 1, min(_ASKED, len(jobs))).astype(int)):
        job = jobs[number]
        try:
            evidence = _evidence(job)
        except OsteonError as error:
            failed.append(error)
            continue
        line = f"case {job.id}: {evidence.describe()}"
        if evidence.best is None:
            unclear.append(line)
        else:
            winner = evidence.best if by_space else replace(evidence.best, space=jobs[0].open_frames[0].space)
            votes[winner].append(line)
            if len(votes) == 1 and len(votes[winner]) == _ENOUGH:
                break
    if len(votes) > 1:
        lines = "".join(f"\n  {frame}: {'; '.join(found[:3])}" for frame, found in votes.items())
        raise DatasetError(f"cases contradict each other in how their meshes are meant:{lines}", hint=_WAYS_OUT)
    for frame, lines_of in votes.items():
        return (
            frame,
            f"coordinates of the meshes: {frame}, found in {pluralise(len(lines_of), 'case')} ({lines_of[0]})",
        )
    if unclear:
        raise UsageError(f"how the coordinates of the meshes are meant is unclear: {unclear[0]}", hint=_WAYS_OUT)
    raise failed[0]


def _evidence(job: MeshConversion) -> FrameEvidence:
    """By the field of view, and where that leaves it open by the image; of the meshes that say nothing, if any."""
    allowed = job.open_frames
    surfaces = job.triangles(allowed[0])
    meshes = [surfaces[place] for place in job.meshes if job.headers.get(place, MeshHeader()) == MeshHeader()]
    meshes = meshes or list(surfaces.values())
    if job.scan.series is None and job.scan.geometry is not None:
        evidence = weigh_frames(meshes, job.scan.geometry, allowed)
        if evidence.best is not None or not evidence.fitting or not _is_ct(job):
            return evidence
    image, _ = job.image()
    return weigh_frames(meshes, image.geometry, allowed, image if _is_ct(job) else None)


def _is_ct(job: MeshConversion) -> bool:
    return job.options.modality in (None, "ct")


def convert_case(job: MeshConversion, frame: MeshFrame) -> ConvertedCase:
    """The labels of a case on its scan's grid; the scan too where it has to be written anew.

    Raises:
        FileError: A file is missing or damaged.
        GeometryError: The scan has no millimetres, or its slices make no even grid.
        DatasetError: The meshes lie outside the scan, or contradict `frame`.
    """
    image, changes = job.image()
    if image.geometry.unit != "mm":
        raise GeometryError(
            f"case {job.id}: {job.scan.path}: does not say how large its voxels are, so no mesh can be placed in it",
            hint="export the CT with its spacing",
        )
    frame = job.resolve_frame(frame)
    surfaces = job.triangles(frame)
    evidence = weigh_frames(
        list(surfaces.values()), image.geometry, candidate_frames(None, None), image if _is_ct(job) else None
    )
    warnings = _check_frame(job, frame, evidence)
    world = {place: frame.ras_mm(triangles) for place, triangles in surfaces.items()}
    masks = _masks(job, world, image.geometry, warnings)
    segmentation, overlaps = merge_masks(masks, job.structures, image.geometry, job.options.priority)
    if segmentation.overlapping:
        overlaps = [f"{line} (--priority NAME,… resolves it)" for line in overlaps]
    filled = [f"{name}: filled from {', '.join(map(str, places))}" for name, places in job.parts.items()]
    if (fall := evidence.contrasts.get(frame)) is not None:
        filled.append(f"the CT falls by {fall:.0f} HU across the surfaces")
    return ConvertedCase(
        volume=None if job.scan.series is None else image,
        segmentation=segmentation,
        annotated=tuple(name for name in job.parts) if job.options.group == "none" else None,
        provenance=(*changes, f"meshes read as {frame}{_headers_note(job)}", *filled),
        warnings=(*changes, *warnings, *overlaps),
    )


def _check_frame(job: MeshConversion, frame: MeshFrame, evidence: FrameEvidence) -> list[str]:
    """What is odd about the place of the meshes. Raises DatasetError where they contradict the frame."""
    share = evidence.inside[frame]
    within = FrameEvidence({r: evidence.inside[r] for r in job.open_frames}, evidence.contrasts)
    if within.best not in (None, frame):
        raise DatasetError(
            f"case {job.id}: its meshes are meant as {within.best}, those of the dataset as {frame}: "
            f"{within.describe()}",
            hint="write its meshes like the others', or import it on its own",
        )
    if share == 0:
        raise DatasetError(
            f"case {job.id}: its meshes, read as {frame}{_headers_note(job)}, lie outside its CT or are too small to "
            f"see; {evidence.describe()}",
            hint=f"check that they belong to this CT; {_WAYS_OUT}",
        )
    found = []
    if evidence.best not in (None, frame):
        why = _headers_note(job) or " as told"
        found.append(f"its meshes, read as {frame}{why}, fit better as {evidence.best}: {evidence.describe()}")
    if share < MIN_INSIDE:
        found.append(f"{1 - share:.0%} of the meshes' corners lie outside the CT")
    fall = evidence.contrasts.get(frame)
    if fall is not None and fall < MIN_CONTRAST_HU:
        found.append(
            f"the CT falls by only {fall:.0f} HU across the surfaces of the meshes; check that they belong to this CT"
        )
    return found


def _headers_note(job: MeshConversion) -> str:
    return ", as their headers say" if any(header != MeshHeader() for header in job.headers.values()) else ""


def _masks(
    job: MeshConversion, world: Mapping[PurePosixPath, Points], geometry: Geometry, warnings: list[str]
) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Name and mask of each structure: its meshes filled one by one, then united; or each mesh, where it is a piece."""
    numbered = {structure.name for structure in job.structures if structure.instances}
    for name, places in job.parts.items():
        for together in [[place] for place in places] if name in numbered else [places]:
            mask = np.zeros(geometry.shape, np.bool_)
            for place in together:
                filled = voxelise(world[place], geometry)
                mask[filled.box] |= filled.mask
                warnings += _describe_leaks(place, filled)
            yield name, mask


def _describe_leaks(place: PurePosixPath, filled: VoxelisedMesh) -> list[str]:
    if not filled.mask.any():
        return [f"{place}: encloses no voxel"]
    if filled.closed or not (any(filled.leaks) or filled.undecided):
        return []
    columns = ", ".join(f"{leaks} of {crossed}" for leaks, crossed in zip(filled.leaks, filled.crossed, strict=True))
    return [
        f"{place}: the surface is open; {columns} columns leak along the three axes; filled by their vote, "
        f"{filled.undecided} voxels undecided"
    ]
