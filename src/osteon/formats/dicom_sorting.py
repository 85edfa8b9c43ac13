"""From heaps of slices to series: what belongs into one volume, and what only shares its SeriesInstanceUID."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osteon.formats.dicom_slices import DISCRIMINATOR_NAMES, Slice
from osteon.formats.dicom_stack import SAME_POSITION_MM

_COSINE = 1e-3
"""Cosines that differ by less are one orientation; headers round to 4 digits at worst."""
_SPACING = 1e-4
"""Relative; 0.05 pixels over 512."""
_ECHO_MS = 0.05


def split_volumes(slices: Sequence[Slice]) -> list[tuple[list[Slice], str]]:
    """Split the slices of one SeriesInstanceUID into those that make one volume each.

    They are told apart by matrix, orientation, pixel spacing, stack and echo; then, where several share a position, by
    the first of time, image type, b-value … that leaves one image at each position of each part.

    Args:
        slices: All of them say where they lie.

    Returns:
        The parts in the order of their first slices, each with words for what is particular to it (empty where there
        is one part only). Images that nothing tells apart stay in one part.
    """
    groups: list[list[Slice]] = []
    for slice_ in slices:
        for group in groups:
            if _is_one_volume(group[0], slice_):
                group.append(slice_)
                break
        else:
            groups.append([slice_])
    found: list[tuple[list[Slice], list[str]]] = []
    for group in groups:
        words = _differences(group[0], [other[0] for other in groups])
        found += [(part, [*words, *more]) for part, more in _split_by_content(group)]
    named = [(part, ", ".join(word for word in words if word)) for part, words in found]
    if len(named) == 1:
        return [(named[0][0], "")]
    twice = [name for _, name in named]
    return [
        (part, name if name and twice.count(name) == 1 else ", ".join(filter(None, [name, f"part {n}"])))
        for n, (part, name) in enumerate(named, start=1)
    ]


def _is_one_volume(one: Slice, other: Slice) -> bool:
    told, others = (
        (s.rows, s.columns, s.stack, s.echo_number, s.spacing is None, s.echo_ms is None) for s in (one, other)
    )
    if told != others:
        return False
    turned = np.abs(np.subtract(one.orientation or 0.0, other.orientation or 0.0)).max() > _COSINE
    scaled = one.spacing and other.spacing and not np.allclose(one.spacing, other.spacing, rtol=_SPACING, atol=0)
    later = one.echo_ms is not None and other.echo_ms is not None and abs(one.echo_ms - other.echo_ms) > _ECHO_MS
    return not (turned or scaled or later)


def _split_by_content(group: list[Slice]) -> list[tuple[list[Slice], list[str]]]:
    """The parts of a group in which each position has one image; the group as it is where none can be found."""
    most = _most_at_one_place(group)
    if most == 1:
        return [(group, [])]
    tried: list[int] = []
    for tell in range(len(DISCRIMINATOR_NAMES)):
        tried.append(tell)
        for keys in ([tell], tried):
            sorted_out: dict[tuple[str, ...], list[Slice]] = {}
            for slice_ in group:
                sorted_out.setdefault(tuple(slice_.discriminators[key] for key in keys), []).append(slice_)
            # More parts than images at a place: each image has a value of its own, and that tells nothing.
            if len(sorted_out) == most and all(_most_at_one_place(part) == 1 for part in sorted_out.values()):
                return [(part, _discriminator_words(keys, values, sorted_out)) for values, part in sorted_out.items()]
    return [(group, [])]


def _discriminator_words(
    keys: Sequence[int], values: tuple[str, ...], among: dict[tuple[str, ...], list[Slice]]
) -> list[str]:
    varies = [n for n in range(len(keys)) if len({other[n] for other in among}) > 1]
    return [
        f"{DISCRIMINATOR_NAMES[keys[n]]} {values[n].replace(chr(92), ' ')}"
        for n in varies
        if DISCRIMINATOR_NAMES[keys[n]] and values[n]
    ]


def _most_at_one_place(slices: Sequence[Slice]) -> int:
    """How many different images share a position at most; copies of one image count once."""
    images = list({(s.instance, s.frame, s.position): s for s in slices}.values())
    if len(images) < 2:
        return len(images)
    frame = np.array(images[0].orientation)
    places = np.array([slice_.position for slice_ in images])
    depth = np.sort(places @ np.cross(frame[:3], frame[3:]))
    near = np.diff(depth) < SAME_POSITION_MM * min(images[0].spacing or (1.0,))
    most = run = 1
    for same in near:
        run = run + 1 if same else 1
        most = max(most, run)
    return most


def _differences(one: Slice, others: Sequence[Slice]) -> list[str]:
    """What tells a group from the others, in words."""
    every = zip(*map(_describe_slice, others), strict=True)
    return [words for words, found in zip(_describe_slice(one), every, strict=True) if len(set(found)) > 1]


def _describe_slice(slice_: Slice) -> tuple[str, str, str, str]:
    """Plane, matrix, pixel and echo."""
    frame = np.array(slice_.orientation)
    return (
        ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(np.cross(frame[:3], frame[3:]))))],
        f"{slice_.columns}×{slice_.rows}",
        f"{slice_.spacing[1]:.4g} mm" if slice_.spacing else "",
        f"echo {slice_.echo_ms:g} ms" if slice_.echo_ms is not None else f"echo {slice_.echo_number}",
    )
