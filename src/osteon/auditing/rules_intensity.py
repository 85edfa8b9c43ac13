"""Intensities that stand out: another modality, a lost offset, reversed contrast."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from osteon.auditing.cohort import MIN_CASES, Cohort, strength_of
from osteon.auditing.facts import CaseFacts, ChannelFacts, StructureFacts
from osteon.auditing.finding import Finding
from osteon.core.statistics import robust_z
from osteon.formats.dicom_padding import HIGHEST_HU, LOWEST_HU

STANDS_OUT = 6.0
"""Robust standard deviations."""
SPREAD_HU = 60.0
"""Least spread of a structure's mean that is believed in CT."""
SPREAD_PART = 0.06
"""The same elsewhere, as a part of the image's range from the 1st to the 99th percentile."""
AIR_HU = -500.0
AIRY = ("lung", "trachea", "airway", "bronch", "colon", "sinus", "gas")
"""Words in the names of structures that hold air."""
LOWEST_CT_HU = -200.0
"""Every CT shows air, at about −1000."""
MIN_CONTRAST = 0.03
"""Part of the image's range by which inside and outside must differ for their order to mean something."""


def find_wrong_modality(cohort: Cohort) -> Iterator[Finding]:
    """CT whose numbers cannot be Hounsfield units: padding, a lost offset, air inside a bone."""
    if cohort.manifest.channels[0].modality != "ct":
        return
    for case in cohort.cases:
        lowest, padding = case.channels[0].lowest, _padding(case.channels[0])
        if padding is not None:
            yield Finding(
                severity="warning",
                kind="padding",
                cases=[case.id],
                what=f"a hundredth of the image or more has the value {padding:g}, which no CT measures: padding "
                "outside the field of view",
                against="air is −1000 HU in CT",
                action="set these voxels to −1000, or import the DICOM series itself, whose padding becomes air",
                strength=0.6,
            )
        airy = [name for name, facts in case.structures.items() if facts.median < AIR_HU and not _holds_air(name)]
        if lowest > LOWEST_CT_HU and padding is None:
            yield Finding(
                severity="warning",
                kind="no-air",
                cases=[case.id],
                what=f"the lowest value is {lowest:g}: no air anywhere",
                against="air is −1000 HU in CT",
                action="apply the rescale intercept, or pass the true --modality; a crop without air is right as it is",
                strength=0.6,
            )
        usual = {name: np.median([facts.median for _, facts in cohort.having(name)]) for name in airy}
        strange = [name for name in airy if usual[name] > AIR_HU or len(cohort.having(name)) < MIN_CASES]
        if strange:
            yield Finding(
                severity="error" if any(usual[name] > AIR_HU for name in strange) else "warning",
                kind="air",
                cases=[case.id],
                structures=strange,
                what=f"half of {strange[0]} is below {case.structures[strange[0]].median:g} HU: that is air",
                against=f"the usual median is {usual[strange[0]]:g} HU",
                action="check that the label lies on its scan (mirrored, shifted?) and that the offset of −1000 "
                "was not taken twice; lungs are right as they are",
                strength=0.8,
            )


def _padding(channel: ChannelFacts) -> float | None:
    """The one value, beyond what CT measures, that a hundredth of the voxels have; None where none is so."""
    if channel.lowest < LOWEST_HU and channel.p1 == channel.lowest:
        return channel.lowest
    return channel.highest if channel.highest > HIGHEST_HU and channel.p99 == channel.highest else None


def _holds_air(name: str) -> bool:
    return any(word in name.lower() for word in AIRY)


def find_odd_intensities(cohort: Cohort) -> Iterator[Finding]:
    """Structures whose mean intensity stands out; one finding for each case."""
    ct = cohort.manifest.channels[0].modality == "ct"
    far: dict[str, list[tuple[float, str, float, float]]] = {}
    for structure in cohort.manifest.structures:
        have = cohort.having(structure.name)
        if len(have) < MIN_CASES:
            continue
        values = [facts.mean if ct else _relative(case, facts.mean) for case, facts in have]
        z, middle, _ = robust_z(values, floor=SPREAD_HU if ct else SPREAD_PART)
        for (case, _), own, value in zip(have, z, values, strict=True):
            if abs(own) > STANDS_OUT:
                far.setdefault(case.id, []).append((float(own), structure.name, value, middle))
    for case_id, found in far.items():
        found.sort(key=lambda entry: -abs(entry[0]))
        own, name, value, middle = found[0]
        unit = "HU" if ct else "of the image's range"
        yield Finding(
            severity="warning",
            kind="intensity",
            cases=[case_id],
            structures=[entry[1] for entry in found],
            what=f"mean intensity of {name} is {value:.3g} {unit}"
            + (f"; {len(found) - 1} more structures stand out" if len(found) > 1 else ""),
            against=f"the cases' median is {middle:.3g}, {abs(own):.0f} robust standard deviations away",
            action="check modality, offset and scaling of the image, and whether the label lies on its scan",
            strength=strength_of(own, STANDS_OUT),
        )


def find_odd_contrast(cohort: Cohort) -> Iterator[Finding]:
    """Cases where structures are brighter than their surroundings and are darker elsewhere, or the other way round."""
    signs: dict[str, dict[str, float]] = {}
    for structure in cohort.manifest.structures:
        have = [
            (case, (facts.mean - facts.shell) / _range(case))
            for case, facts in cohort.having(structure.name)
            if facts.shell is not None
        ]
        if len(have) < MIN_CASES:
            continue
        usual = float(np.median([value for _, value in have]))
        agree = np.mean([value * usual > 0 for _, value in have])
        if agree < 0.8 or abs(usual) < 2 * MIN_CONTRAST:
            continue
        for case, value in have:
            signs.setdefault(case.id, {})[structure.name] = value / usual * abs(usual)
    for case_id, values in signs.items():
        turned = [name for name, value in values.items() if value < -MIN_CONTRAST]
        if turned and len(turned) > len(values) / 2:
            yield Finding(
                severity="error" if len(turned) > 1 else "warning",
                kind="contrast",
                cases=[case_id],
                structures=turned,
                what=f"{len(turned)} of {len(values)} structures differ from their surroundings the other way round: "
                f"{turned[0]} by {values[turned[0]]:+.2f} of the image's range",
                against=f"the other cases have {'+' if values[turned[0]] < 0 else '−'} there",
                action="check whether bright and dark are exchanged (MONOCHROME1), whether the scan is of another "
                "kind, and whether the label lies on it",
                strength=0.5 + 0.3 * len(turned) / len(values),
            )


def _range(case: CaseFacts) -> float:
    channel = case.channels[0]
    return max(channel.p99 - channel.p1, 1e-6)


def _relative(case: CaseFacts, value: float) -> float:
    return (value - case.channels[0].p1) / _range(case)


def find_flat_structures(cohort: Cohort) -> Iterator[Finding]:
    """Structures that have one intensity throughout, as where a label was drawn on padding."""
    for case in cohort.labelled:
        names = [name for name, facts in case.structures.items() if _constant(facts)]
        if names:
            yield Finding(
                severity="warning",
                kind="flat",
                cases=[case.id],
                structures=names,
                what=f"the image shows one value, {case.structures[names[0]].mean:g}, all over {names[0]}",
                against="bone has texture",
                action="check whether the label lies on padding beside the scan",
                strength=0.7,
            )


def _constant(facts: StructureFacts) -> bool:
    return facts.voxels >= 20 and facts.sd == 0
