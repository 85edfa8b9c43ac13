"""All kinds of made-up cohorts, and how one is written.

DIR/source/     what is handed over, in the job's own form
DIR/truth/      the true label map of each case
DIR/truth.json  what was asked for; the true size of every structure in every case
"""

from __future__ import annotations

import shutil
from pathlib import Path

from osteon.core.errors import UsageError
from osteon.core.files import read_json, write_json
from osteon.core.plugins import with_plugins
from osteon.core.progress import track
from osteon.phantoms import fragments, hand, limb, lung, spine
from osteon.phantoms.record import SOURCE, TRUTH, CaseTruth, CohortRequest, PhantomKind

KINDS: dict[str, PhantomKind] = {
    kind.name: kind for kind in (fragments.KIND, limb.KIND, spine.KIND, hand.KIND, lung.KIND)
}
"""The kinds by name; a new one is one module and one row, here or in a package's entry points `osteon.phantoms`."""

SIDECAR = "truth.json"
MIN_SIZE = 24


def find_kind(name: str, variants: str = "") -> PhantomKind:
    """The kind of that name, a plugin's too, or its row of `variants`. Raises UsageError that lists the names."""
    kinds = with_plugins("osteon.phantoms", KINDS, PhantomKind)
    if name not in kinds:
        raise UsageError(f"there is no phantom {name}", hint=f"choose one of: {', '.join(kinds)}")
    kind = kinds[name]
    if variants and variants not in kind.variants:
        known = f"give one of: {', '.join(kind.variants)}" if kind.variants else "leave --variants out"
        raise UsageError(f"--variants {variants} is not known for {name}", hint=known)
    return kind.variants[variants] if variants else kind


def make_request(
    kind: str,
    *,
    cases: int = 6,
    seed: int = 0,
    size: int | None = None,
    layout: str | None = None,
    variants: str | None = None,
) -> CohortRequest:
    """A request that can be fulfilled.

    Raises:
        UsageError: There is no such kind, layout or variants, or a number makes no sense.
    """
    row = find_kind(kind, variants or "")
    if cases < 1 or seed < 0:
        raise UsageError(
            f"a cohort of {cases} cases with seed {seed} cannot be made",
            hint="give at least one case, and no negative seed",
        )
    if size is not None and not MIN_SIZE <= size <= 4 * row.size:
        raise UsageError(
            f"--size {size}: {kind} is made with {MIN_SIZE} to {4 * row.size} along its longest axis",
            hint=f"{row.size} is usual",
        )
    if layout is not None and layout not in row.layouts:
        known = f"one of: {', '.join(row.layouts)}" if row.layouts else "none: its files lie in one way"
        raise UsageError(f"--layout {layout} is not known for {kind}", hint=f"give {known}")
    return CohortRequest(kind, cases, seed, size or row.size, layout or next(iter(row.layouts), ""), variants or "")


def write_phantoms(folder: Path, request: CohortRequest, *, overwrite: bool = False) -> bool:
    """Write a cohort.

    Args:
        folder: Where it goes; made if it does not exist.
        request: What `make_request` gave.
        overwrite: Replace another cohort of phantoms that is there. Nothing else is ever replaced.

    Returns:
        Whether it was made now; False where the same cohort was there already, whole.

    Raises:
        UsageError: The folder holds other things, or another cohort.
        FileError: A file cannot be written.
    """
    folder, kind = Path(folder), find_kind(request.kind, request.variants)
    if _is_there(folder, request, overwrite):
        return False
    for part in (SOURCE, TRUTH):
        shutil.rmtree(folder / part, ignore_errors=True)
    _write_sidecar(folder, request, [])  # says whose folder it is, should the writing be interrupted
    numbers = track(range(request.cases), f"making phantoms: {kind.name}")
    cases = [kind.make(folder, number, request) for number in numbers]
    if kind.finish is not None:
        kind.finish(folder, cases)
    _write_sidecar(folder, request, cases)
    return True


def _is_there(folder: Path, request: CohortRequest, overwrite: bool) -> bool:
    """Whether the whole cohort is in the folder. Raises UsageError where something else is."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    record = read_json(folder / SIDECAR, "the phantoms' record") if (folder / SIDECAR).is_file() else None
    if not isinstance(record, dict) or "phantoms" not in record:
        raise UsageError(f"{folder}: holds other things than phantoms", hint="give a new or an empty folder")
    if record["phantoms"] == request.to_dict():
        return len(record.get("cases", {})) == request.cases and not overwrite
    if not overwrite:
        raise UsageError(
            f"{folder}: holds other phantoms ({_short(record['phantoms'])})",
            hint="give another folder, or --overwrite to replace them",
        )
    return False


def _write_sidecar(folder: Path, request: CohortRequest, cases: list[CaseTruth]) -> None:
    rows = {case.id: {"labels": case.labels, case.unit: case.sizes, **case.more} for case in cases}
    write_json(folder / SIDECAR, {"phantoms": request.to_dict(), "cases": rows})


def _short(asked: object) -> str:
    if not isinstance(asked, dict):
        return "of an unknown kind"
    return ", ".join(f"{key} {value}" for key, value in asked.items() if value != "")
