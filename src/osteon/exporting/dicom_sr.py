"""DICOM SR: the figures of a case as a measurement report (TID 1500) on the series that it was made from.

Figures of the same structures are a group: of one segment of the SEG (TID 1411), or, where several structures are
measured together and in pictures, of the images (TID 1501). The ends of an interval are the uncertainties of TID 310,
above and below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from osteon.core.errors import CaseError
from osteon.core.labels import Structure
from osteon.core.version import __version__
from osteon.exporting.dicom_codes import SCHEME, codes_of, local_code
from osteon.exporting.dicom_common import derived_uid, ignore_pydicom_warnings
from osteon.exporting.dicom_source import PlacedSegmentation
from osteon.exporting.sr_codes import code_of_measure, code_of_unit
from osteon.measuring.figure import Figure

if TYPE_CHECKING:
    from highdicom.sr import Measurement

INTERVAL = "uncertainties: ends of the 95 % interval"
NOT_MEASURED = ("not measured", "Not measured, and why")
"""Name of a local code, and its meaning."""
_LONGEST_TEXT = 1024


def make_sr(
    figures: Sequence[Figure],
    placed: PlacedSegmentation,
    segmentation: Any,
    *,
    words: Mapping[str, str],
    model: str = "",
) -> Any:
    """The report as a pydicom dataset.

    Args:
        figures: Of one case.
        placed: What they were measured in, on the grid of its series.
        segmentation: The DICOM SEG of that.
        words: Measure → what it is, in words.
        model: Hash of the model that segmented; empty where that is not known.

    Raises:
        CaseError: The series lacks what a report must repeat of it.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    uid = derived_uid(segmentation.SOPInstanceUID, [figure.model_dump_json(exclude={"drawings"}) for figure in figures])
    images = list(placed.headers.values())
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("osteon", __version__), name="osteon", manufacturer_name="osteon", model_name=__version__
    )
    try:
        with ignore_pydicom_warnings():
            context = hd.sr.ObservationContext(hd.sr.ObserverContext(codes.DCM.Device, device))
            content = hd.sr.MeasurementReport(
                observation_context=context,
                procedure_reported=codes.SCT.ImagingProcedure,
                imaging_measurements=_groups(figures, placed, segmentation, words, model),
                title=codes.DCM.ImagingMeasurementReport,
                referenced_images=images if _has_library(placed) else None,
            )
            report = hd.sr.ComprehensiveSR(
                evidence=[*images, segmentation],
                content=content,
                series_instance_uid=derived_uid(uid, "series"),
                series_number=2000 + (placed.series.number or 0) % 1000,
                sop_instance_uid=uid,
                instance_number=1,
                manufacturer="osteon",
                is_complete=True,
                series_description="osteon measures",
            )
            report.CodingSchemeIdentificationSequence = [_own_scheme()]
            return report
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CaseError(
            f"{placed.series.folder}: a DICOM SR cannot refer to this series ({error})",
            hint="give the series as the scanner made it",
        ) from error


def _has_library(placed: PlacedSegmentation) -> bool:
    """Whether the images have what highdicom's image library says of each; radiographs may lack it."""
    return not placed.series.picture or all("ImagerPixelSpacing" in header for header in placed.headers.values())


def _own_scheme() -> Any:
    """Whose the local codes are."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodingSchemeDesignator, item.CodingSchemeName = SCHEME, "osteon"
    return item


def _groups(
    figures: Sequence[Figure], placed: PlacedSegmentation, segmentation: Any, words: Mapping[str, str], model: str
) -> list[Any]:
    """One for each tuple of structures, in the figures' order."""
    import highdicom as hd

    together: dict[tuple[str, ...], list[Figure]] = {}
    for figure in figures:
        together.setdefault(figure.structures, []).append(figure)
    segments = {item.SegmentLabel: int(item.SegmentNumber) for item in segmentation.SegmentSequence}
    found = placed.segmentation.structures
    wholes = {whole.name: whole for whole in placed.wholes}
    wholes |= dict(zip((s.name for s in found), placed.wholes or found, strict=True))
    algorithm = hd.sr.AlgorithmIdentification(
        name="osteon measure", version=f"{__version__} {model}"[:64].strip(), parameters=[INTERVAL]
    )
    images = list(placed.headers.values())
    series = hd.sr.SourceSeriesForSegmentation(images[0].SeriesInstanceUID)
    sources = [
        hd.sr.SourceImageForMeasurementGroup.from_source_image(header)
        for header in (images if placed.series.picture else ())
    ]
    groups = []
    for names, own in together.items():
        coded = [codes_of(_structure(name, own, wholes)) for name in names]
        common: dict[str, Any] = {
            "tracking_identifier": hd.sr.TrackingIdentifier(
                uid=derived_uid(placed.series.uid, names), identifier=own[0].about[:64]
            ),
            "finding_category": coded[0].category,
            "finding_type": coded[0].kind,
            "algorithm_id": algorithm,
            "finding_sites": [hd.sr.FindingSite(one.kind, one.side) for one in coded],
            "measurements": [_measurement(one, words) for one in own if one.value is not None],
        }
        number = segments.get(names[0][:64]) if len(names) == 1 and not placed.series.picture else None
        if number is None:
            group: Any = hd.sr.MeasurementsAndQualitativeEvaluations(source_images=sources, **common)
        else:
            segment = hd.sr.ReferencedSegment(
                segmentation.SOPClassUID, segmentation.SOPInstanceUID, number, source_series=series
            )
            group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **common)
        group[0].ContentSequence.extend(_texts(own))
        groups.append(group)
    return groups


def _structure(name: str, figures: Sequence[Figure], wholes: Mapping[str, Structure]) -> Structure:
    """The structure of a name; of one that is missing nothing but name and side are known."""
    return wholes.get(name) or Structure(name=name, value=1, colour="#808080", side=figures[0].side)


def _measurement(figure: Figure, words: Mapping[str, str]) -> Measurement:
    import highdicom as hd

    unit = code_of_unit(figure.unit)
    code = code_of_measure(figure, words.get(figure.measure, figure.measure))
    value = figure.value or 0.0
    measurement = hd.sr.Measurement(code, _decimal(value), unit, tracking_identifier=None)
    ends = (
        ("371886008", "+, range of upper measurement uncertainty", figure.high),
        ("371885007", "-, range of lower measurement uncertainty", figure.low),
    )
    items = [
        hd.sr.NumContentItem(
            hd.sr.CodedConcept(number, "SCT", meaning),
            _decimal(abs(end - value)),
            unit,
            relationship_type=hd.sr.RelationshipTypeValues.HAS_PROPERTIES,
        )
        for number, meaning, end in ends
        if end is not None
    ]
    if items:
        measurement[0].ContentSequence = hd.sr.ContentSequence(items)
    return measurement


def _decimal(value: float) -> float:
    """As many digits as DICOM's decimal strings of 16 characters hold."""
    return float(f"{value:.8g}")


def _texts(figures: Sequence[Figure]) -> list[Any]:
    """What speaks against figures, and what was not measured."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    contains = hd.sr.RelationshipTypeValues.CONTAINS
    said = [(codes.DCM.Comment, one, "; ".join(one.flags)) for one in figures if one.value is not None and one.flags]
    said += [(local_code(*NOT_MEASURED), one, one.not_measured) for one in figures if one.value is None]
    return [
        hd.sr.TextContentItem(name, f"{one.name}: {text}"[:_LONGEST_TEXT], relationship_type=contains)
        for name, one, text in said
    ]
