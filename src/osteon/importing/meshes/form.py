"""A CT and STL surfaces, one for each fragment or bone: sorted into cases, coloured, and filled onto the CT's grid."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from osteon.core.errors import OsteonError, UsageError
from osteon.dataset.manifest import Channel
from osteon.formats.dicom_folders import holds_dicom
from osteon.importing.masks.dicom import read_series_patient
from osteon.importing.masks.files import volume_files
from osteon.importing.meshes.conversion import MeshConversion, convert_case, decide_frame
from osteon.importing.meshes.headers import drop_overridden, find_overridden, read_mesh_headers
from osteon.importing.meshes.sorting import MeshCase, mesh_files, sort_files
from osteon.importing.meshes.structures import group_meshes
from osteon.importing.options import ImportOptions
from osteon.importing.pseudonyms import Patient, Pseudonyms
from osteon.importing.skipped_files import report_skipped_files
from osteon.importing.source_forms import ConvertedCase, Source, SourceCase, SourceForm


def explain_mismatch(source: Path) -> str | None:
    """What `source` lacks to be a folder of CTs and meshes."""
    if not source.is_dir():
        return "not a folder"
    if next(mesh_files(source), None) is None:
        return "no .stl file"
    if next(volume_files(source), None) is None and not holds_dicom(source):
        return "no CT (NIfTI, NRRD, MetaImage or DICOM) beside the .stl files"
    return None


def read(source: Path, options: ImportOptions) -> Source:
    """Sort the heap into cases, and find out how the meshes are meant; reads the voxels of a few cases at most.

    Raises:
        UsageError: An option makes no sense, or one is needed to tell unit and world of the coordinates.
        DatasetError: There is no scan, or cases contradict each other in how their meshes are meant.
        FileError: None of the cases can be read.
    """
    sorted_meshes = sort_files(source, options.case_pattern, options.series)
    series_of = [case.scan.series if case.scan else None for case in sorted_meshes.cases]
    patients = [Patient() if series is None else read_series_patient(series) for series in series_of]
    pseudonyms = Pseudonyms(source, patients, keep_identity=options.keep_identity)
    sorted_meshes.ids = pseudonyms.hide_ids(sorted_meshes.ids, patients, sorted_meshes.warnings)
    grouped = group_meshes(sorted_meshes.cases, source, options)
    modality = options.modality or "ct"
    found = Source(
        name=source.absolute().name,
        channels=[Channel(name="image" if modality == "other" else modality, modality=modality)],
        cases=[],
        structures=grouped.structures,
        warnings=[*sorted_meshes.warnings, *grouped.warnings],
        lost=sorted_meshes.lost,
        summary=[*sorted_meshes.summary, *grouped.summary],
    )
    known = {structure.name for structure in grouped.structures}
    if unknown := [name for name in options.priority or () if name not in known]:
        raise UsageError(f"--priority: no structure is called {', '.join(unknown)}", hint=f"use {', '.join(known)}")
    headers = read_mesh_headers(source, [mesh for case in sorted_meshes.cases for mesh in case.meshes])
    found.warnings += find_overridden(headers, options)
    headers = {place: drop_overridden(one, options) for place, one in headers.items()}
    jobs = {
        case_id: MeshConversion(
            case_id,
            case.scan,
            source,
            parts,
            grouped.structures,
            options,
            {place: headers[place] for place in case.meshes},
        )
        for case_id, case, parts in zip(sorted_meshes.ids, sorted_meshes.cases, grouped.parts, strict=True)
        if case.scan is not None
    }
    usable = [
        jobs[case_id]
        for case_id, case in zip(sorted_meshes.ids, sorted_meshes.cases, strict=True)
        if case_id in jobs and case.problem is None and case.meshes
    ]
    frame = None
    if usable:
        frame, line = decide_frame(usable, options)
        found.summary.append(line)
    for case_id, case, patient in zip(sorted_meshes.ids, sorted_meshes.cases, patients, strict=True):
        job = jobs.get(case_id)
        if case.problem is not None or job is None:
            found.cases.append(_failing_case(case_id, case, source))
            continue
        series = job.scan.series
        meshes = tuple(source / mesh for mesh in case.meshes)
        convert = (
            partial(convert_case, job, frame) if meshes and frame else partial(_image_alone, job) if series else None
        )
        if convert is not None and series:
            convert = partial(pseudonyms.without_names, convert, patient, (*series.files, *meshes))
        found.cases.append(
            SourceCase(
                case_id,
                () if series else (job.scan.path,),
                subject=pseudonyms.subject(patient),
                convert=convert,
                parts=(*(series.files if series else ()), *meshes),
                labels=bool(meshes),
            )
        )
    report_skipped_files(found, source, ["images", "surfaces"], [".stl"])
    return found


def _image_alone(job: MeshConversion) -> ConvertedCase:
    volume, changes = job.image()
    return ConvertedCase(volume, provenance=tuple(changes))


def _failing_case(case_id: str, case: MeshCase, source: Path) -> SourceCase:
    problem = case.problem or OsteonError(f"case {case_id}: cannot be used")
    return SourceCase(
        case_id, (), convert=partial(_fail, problem), parts=tuple(source / mesh for mesh in case.meshes), labels=True
    )


def _fail(problem: OsteonError) -> ConvertedCase:
    raise problem


FORM = SourceForm(
    "meshes",
    "a folder of CTs with STL meshes, one for each fragment or bone",
    explain_mismatch,
    read,
    "STL files and CTs below one folder",
    options=frozenset(
        {
            "case_pattern",
            "group",
            "mesh_unit",
            "mesh_space",
            "priority",
            "accept_gaps",
            "resample_tilt",
            "keep_identity",
            "series",
        }
    ),
)
