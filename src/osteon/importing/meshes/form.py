"""A CT and STL surfaces, one for each fragment or bone: sorted into cases, coloured, and filled onto the CT's grid."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from osteon.core.errors import OsteonError, UsageError
from osteon.dataset.manifest import Channel
from osteon.formats.dicom_folders import contains_dicom
from osteon.importing.masks.dicom import patient_of
from osteon.importing.masks.files import volume_files
from osteon.importing.meshes.conversion import MeshJob, convert, decide
from osteon.importing.meshes.headers import passed_over, read_said, without_told
from osteon.importing.meshes.sorting import MeshCase, mesh_files, sort_heap
from osteon.importing.meshes.structures import group_meshes
from osteon.importing.pseudonyms import Patient, Pseudonyms
from osteon.importing.skipped_files import tell_passed_over
from osteon.importing.source_forms import Converted, Form, Found, FoundCase, Options


def misses(source: Path) -> str | None:
    """What `source` lacks to be a folder of CTs and meshes."""
    if not source.is_dir():
        return "not a folder"
    if next(mesh_files(source), None) is None:
        return "no .stl file"
    if next(volume_files(source), None) is None and not contains_dicom(source):
        return "no CT (NIfTI, NRRD, MetaImage or DICOM) beside the .stl files"
    return None


def read(source: Path, options: Options) -> Found:
    """Sort the heap into cases, and find out how the meshes are meant; reads the voxels of a few cases at most.

    Raises:
        UsageError: An option makes no sense, or one is needed to tell unit and world of the coordinates.
        DatasetError: There is no scan, or cases contradict each other in how their meshes are meant.
        FileError: None of the cases can be read.
    """
    heap = sort_heap(source, options.case_pattern, options.series)
    series_of = [case.scan.series if case.scan else None for case in heap.cases]
    patients = [Patient() if series is None else patient_of(series) for series in series_of]
    pseudonyms = Pseudonyms(source, [] if options.keep_identity else patients)
    if not options.keep_identity:
        heap.ids = pseudonyms.hide_ids(heap.ids, patients, heap.warnings)
    grouped = group_meshes(heap.cases, source, options)
    modality = options.modality or "ct"
    found = Found(
        name=source.absolute().name,
        channels=[Channel(name="image" if modality == "other" else modality, modality=modality)],
        cases=[],
        structures=grouped.structures,
        warnings=[*heap.warnings, *grouped.warnings],
        lost=heap.lost,
        understood=[*heap.understood, *grouped.understood],
    )
    known = {structure.name for structure in grouped.structures}
    if unknown := [name for name in options.priority or () if name not in known]:
        raise UsageError(f"--priority: no structure is called {', '.join(unknown)}", hint=f"use {', '.join(known)}")
    said = read_said(source, [mesh for case in heap.cases for mesh in case.meshes])
    found.warnings += passed_over(said, options)
    said = {place: without_told(one, options) for place, one in said.items()}
    jobs = {
        case_id: MeshJob(
            case_id,
            case.scan,
            source,
            parts,
            grouped.structures,
            options,
            {place: said[place] for place in case.meshes},
        )
        for case_id, case, parts in zip(heap.ids, heap.cases, grouped.parts, strict=True)
        if case.scan is not None
    }
    usable = [
        jobs[case_id]
        for case_id, case in zip(heap.ids, heap.cases, strict=True)
        if case_id in jobs and case.problem is None and case.meshes
    ]
    reading = None
    if usable:
        reading, line = decide(usable, options)
        found.understood.append(line)
    for case_id, case, patient in zip(heap.ids, heap.cases, patients, strict=True):
        job = jobs.get(case_id)
        if case.problem is not None or job is None:
            found.cases.append(_failing(case_id, case, source))
            continue
        series = job.scan.series
        meshes = tuple(source / mesh for mesh in case.meshes)
        how = partial(convert, job, reading) if meshes and reading else partial(_image_alone, job) if series else None
        if how is not None and series and not options.keep_identity:
            how = partial(pseudonyms.without_names, how, patient, (*series.files, *meshes))
        found.cases.append(
            FoundCase(
                case_id,
                () if series else (job.scan.path,),
                subject=pseudonyms.subject(patient, keep_identity=options.keep_identity),
                convert=how,
                parts=(*(series.files if series else ()), *meshes),
                labels=bool(meshes),
            )
        )
    tell_passed_over(found, source, ["images", "surfaces"], [".stl"])
    return found


def _image_alone(job: MeshJob) -> Converted:
    volume, done = job.image()
    return Converted(volume, provenance=tuple(done))


def _failing(case_id: str, case: MeshCase, source: Path) -> FoundCase:
    problem = case.problem or OsteonError(f"case {case_id}: cannot be used")
    return FoundCase(
        case_id, (), convert=partial(_fail, problem), parts=tuple(source / mesh for mesh in case.meshes), labels=True
    )


def _fail(problem: OsteonError) -> Converted:
    raise problem


FORM = Form(
    "meshes",
    "a folder of CTs with STL meshes, one for each fragment or bone",
    misses,
    read,
    "STL files and CTs below one folder",
    heeds=frozenset(
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
