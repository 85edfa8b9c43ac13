"""A CT and STL surfaces, one for each fragment or bone: sorted into cases, coloured, and filled onto the CT's grid."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from osteon.core.errors import OsteonError
from osteon.dataset.manifest import Channel
from osteon.formats.registry import contains_dicom
from osteon.importing.masks.dicom import read_series_patient
from osteon.importing.masks.files import volume_files
from osteon.importing.meshes.conversion import MeshConversion, convert_case, decide_frame
from osteon.importing.meshes.frames import MeshFrame, drop_overridden, find_overridden, read_mesh_headers
from osteon.importing.meshes.sorting import SortedMeshes, mesh_files, sort_files
from osteon.importing.meshes.structures import MeshStructures, group_meshes
from osteon.importing.options import DICOM_OPTIONS, ImportOptions
from osteon.importing.pseudonyms import Patient, Pseudonyms
from osteon.importing.source_forms import ConvertedCase, Source, SourceCase, SourceForm, fail, report_skipped_files
from osteon.importing.structure_names import check_priority


def explain_mismatch(source: Path) -> str | None:
    """What `source` lacks to be a folder of CTs and meshes."""
    if not source.is_dir():
        return "not a folder"
    if next(mesh_files(source), None) is None:
        return "no .stl file"
    if next(volume_files(source), None) is None and not contains_dicom(source):
        return "no CT (NIfTI, NRRD, MetaImage or DICOM) beside the .stl files"
    return None


def read(source: Path, options: ImportOptions) -> Source:
    """Sort the heap into cases, and find out how the meshes are meant; reads the voxels of a few cases at most.

    Raises:
        UsageError: An option makes no sense, or one is needed to tell unit and world of the coordinates.
        DatasetError: There is no scan, or cases contradict each other in how their meshes are meant.
        FileError: None of the cases can be read.
    """
    collection = sort_files(source, options.case_pattern, options.series)
    patients = [read_series_patient(case.scan.series if case.scan else None) for case in collection.cases]
    pseudonyms = Pseudonyms(source, patients, keep_identity=options.keep_identity)
    collection.ids = pseudonyms.hide_ids(collection.ids, patients, collection.warnings)
    grouped = group_meshes(collection.cases, source, options)
    found = Source(
        name=source.absolute().name,
        channels=[Channel.of(options.modality or "ct")],
        cases=[],
        structures=grouped.structures,
        warnings=[*collection.warnings, *grouped.warnings],
        lost=collection.lost,
        summary=[*collection.summary, *grouped.summary],
    )
    check_priority(options.priority, grouped.structures)
    conversions = _plan_conversions(collection, grouped, source, options, found.warnings)
    usable = [
        c for c, case in zip(conversions, collection.cases, strict=True) if c and not case.problem and case.meshes
    ]
    frame = None
    if usable:
        frame, line = decide_frame(usable, options)
        found.summary.append(line)
    for case_id, case, conversion, patient in zip(collection.ids, collection.cases, conversions, patients, strict=True):
        if case.problem is not None or conversion is None:
            problem = case.problem or OsteonError(f"case {case_id}: cannot be used")
            parts = tuple(source / mesh for mesh in case.meshes)
            found.cases.append(SourceCase(case_id, (), convert=partial(fail, problem), parts=parts, labels=True))
        else:
            found.cases.append(_make_case(conversion, frame, pseudonyms, patient))
    report_skipped_files(found, source, ["images", "surfaces"], [".stl"])
    return found


def _plan_conversions(
    collection: SortedMeshes, grouped: MeshStructures, source: Path, options: ImportOptions, warnings: list[str]
) -> list[MeshConversion | None]:
    """The conversion of each case; None for those without a scan."""
    headers = read_mesh_headers(source, [mesh for case in collection.cases for mesh in case.meshes])
    warnings += find_overridden(headers, options)
    headers = {mesh: drop_overridden(header, options) for mesh, header in headers.items()}
    return [
        None
        if case.scan is None
        else MeshConversion(
            case_id, case.scan, source, parts, grouped.structures, options, {m: headers[m] for m in case.meshes}
        )
        for case_id, case, parts in zip(collection.ids, collection.cases, grouped.parts, strict=True)
    ]


def _make_case(
    conversion: MeshConversion, frame: MeshFrame | None, pseudonyms: Pseudonyms, patient: Patient
) -> SourceCase:
    scan = conversion.scan
    meshes = tuple(conversion.source / mesh for mesh in conversion.headers)  # in the order of their paths
    files = (*(scan.series.files if scan.series else ()), *meshes)
    convert: partial[ConvertedCase] | None = None
    if meshes and frame:
        convert = partial(convert_case, conversion, frame)
    elif scan.series:
        convert = partial(_image_alone, conversion)
    if convert is not None and scan.series:
        convert = partial(pseudonyms.without_names, convert, patient, files)
    return SourceCase(
        conversion.id,
        () if scan.series else (scan.path,),
        subject=pseudonyms.subject(patient),
        convert=convert,
        parts=files,
        labels=bool(meshes),
    )


def _image_alone(job: MeshConversion) -> ConvertedCase:
    volume, changes = job.image()
    return ConvertedCase(volume, provenance=tuple(changes))


FORM = SourceForm(
    "meshes",
    "a folder of CTs with STL meshes, one for each fragment or bone",
    explain_mismatch,
    read,
    "STL files and CTs below one folder",
    DICOM_OPTIONS | {"fragments", "case_pattern", "group", "mesh_unit", "mesh_space", "priority"},
)
