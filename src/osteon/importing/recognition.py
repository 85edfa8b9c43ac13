"""Which form the user's data has, and why."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from pathlib import Path

from osteon.core.errors import UsageError, missing_file_error
from osteon.core.folders import files_below
from osteon.core.plugins import with_plugins
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.registry import suffix_of
from osteon.formats.unsupported import describe_unsupported
from osteon.importing import decathlon, nnunet, pairs, scans
from osteon.importing.masks import form as masks
from osteon.importing.meshes import form as meshes
from osteon.importing.radiographs import form as radiographs
from osteon.importing.source_forms import SourceForm

FORMS: tuple[SourceForm, ...] = (
    decathlon.FORM,
    nnunet.FORM,
    pairs.FORM,
    masks.FORM,
    meshes.FORM,
    radiographs.FORM,
    scans.FORM,
)
"""Every form that osteon reads. A new one is one file and one row, here or in a package's entry points
`osteon.importers`. The last is what is left where none fits.
"""

_MAX_READ = 10_000
_SUFFIX = re.compile(r"(\.[a-z][a-z0-9]{0,7})+")


def source_forms() -> dict[str, SourceForm]:
    """All forms by name, plugins' too. Raises UsageError where a plugin's row is none."""
    return with_plugins("osteon.importers", {form.name: form for form in FORMS}, SourceForm)


def get_form(name: str) -> SourceForm:
    """The form of that name. Raises UsageError that lists the names."""
    forms = source_forms()
    if name not in forms:
        known = "; ".join(f"{form.name}: {form.description}" for form in forms.values())
        raise UsageError(f"--form {name}: no such form", hint=f"known forms: {known}")
    return forms[name]


def find_form(source: Path, name: str | None) -> SourceForm:
    """The form of that name, which `source` must have; the one that it has where there is no name.

    Raises:
        FileError, UsageError: As `recognise`; or there is no such form, or `source` is not of it.
    """
    if name is None:
        return recognise(source)
    form = get_form(name)
    if (reason := form.explain_mismatch(source)) is not None:
        raise UsageError(f"{source}: is not of the form {name}: {reason}", hint="check SOURCE, or leave --form out")
    return form


def recognise(source: Path) -> SourceForm:
    """The one form that `source` has.

    Raises:
        FileError: `source` does not exist.
        UsageError: It has none of the forms, or several; the message says what was found and what each form misses.
    """
    source = Path(source)
    if not source.exists():
        raise missing_file_error(source, "the data to import")
    bare = FORMS[-1]
    labelled = [form for form in source_forms().values() if form is not bare]
    missing = {form.name: form.explain_mismatch(source) for form in labelled}
    fitting = [form for form in labelled if missing[form.name] is None]
    if not fitting:
        missing[bare.name] = bare.explain_mismatch(source)
        fitting = [bare] if missing[bare.name] is None else []
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = [form.name for form in fitting]
        raise UsageError(
            f"{source}: can be read as {' and as '.join(names)}", hint=f"say which: --form {' or --form '.join(names)}"
        )
    reasons = "\n".join(f"  {name}: {reason}" for name, reason in missing.items())
    raise UsageError(
        f"{source}: holds no form of data that osteon knows. Found: {_inventory(source)}. What each form misses:\n"
        + reasons,
        hint="; ".join(_ways(source)) or "write a text file with a line `image,label` for each case, as SOURCE",
    )


def _kind(path: Path) -> str:
    suffix = suffix_of(path) or path.suffix.lower()
    if suffix in ("", ".dcm") or not _SUFFIX.fullmatch(suffix):  # the end of a UID is no suffix
        return "DICOM files" if looks_like_dicom(path) else suffix if _SUFFIX.fullmatch(suffix) else "other files"
    return suffix


def _ways(source: Path) -> list[str]:
    """How the files that are not read become some that are."""
    files = [source] if source.is_file() else islice(files_below(source, hidden=False), _MAX_READ)
    return describe_unsupported(files, ["images", "pictures", "surfaces", "anything"])


def _inventory(source: Path) -> str:
    """What lies there, in words: `24 .nii.gz, 2 .txt`."""
    if source.is_file():
        return f"one file, {source.name}"
    files = list(islice(files_below(source), _MAX_READ))
    kinds = Counter(_kind(path) for path in files)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6)) or "an empty folder"
