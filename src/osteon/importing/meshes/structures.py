"""Which structure each mesh belongs to: by its colour, all to one, or each its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.core.file_names import natural_key
from osteon.core.labels import Structure
from osteon.core.text import pluralise
from osteon.formats.labelmap import piece_stem
from osteon.formats.mask_names import structure_name
from osteon.formats.stl import read_stl_colour
from osteon.importing.meshes.colours import COLOURS, colour_from_file, colour_from_name, nearest_colour
from osteon.importing.meshes.folders import MeshCase
from osteon.importing.options import ImportOptions
from osteon.importing.pieces import FRAGMENT, common_name, lay_out, number_pieces
from osteon.importing.structure_names import user_structures

ALL = "bone"
"""The structure of `--group all`."""


@dataclass
class MeshStructures:
    """The structures of all meshes.

    Attributes:
        structures: In the order of their values.
        parts: For each case, structure name → its meshes, relative to the source.
        summary: How they came about, in sentences.
        warnings: What a person should look at.
    """

    structures: tuple[Structure, ...]
    parts: list[dict[str, list[PurePosixPath]]]
    summary: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def group_meshes(cases: Sequence[MeshCase], source: Path, options: ImportOptions) -> MeshStructures:
    """Give every mesh its structure; a case with a mesh of which nobody knows it gets a `problem`.

    Raises:
        UsageError: No mesh has a colour where colours are asked for, or `--labels` names other structures.
    """
    named = user_structures(options.structures)
    rows = _StructureAssigner(source)
    numbered: dict[str, int] = {}
    if options.fragments == "instances":
        bone = named[0].name if named and len(named) == 1 else _common_name(cases)
        parts = [rows.by_bone(case, bone if options.group != "none" else None) for case in cases]
        order, shades = list(dict.fromkeys(name for part in parts for name in part)) or [bone], rows.shades
        numbered = {name: max(len(part.get(name, ())) for part in parts) for name in order}
        numbered = {name: count for name, count in numbered.items() if count > 1 or options.group != "none"}
    elif options.group == "colour":
        parts = [rows.by_colour(case) for case in cases]
        if rows.colourless and not rows.colour_sources:
            raise UsageError(
                f"{source}: no mesh has a colour, neither in its name nor in the file, such as {rows.colourless}",
                hint="--group all makes one structure of all meshes of a case, --group none one of each mesh",
            )
        order = [colour.name for colour in COLOURS if any(colour.name in part for part in parts)]
        shades = {colour.name: colour.shown for colour in COLOURS}
    elif options.group == "all":
        name = named[0].name if named and len(named) == 1 else ALL
        parts = [{name: list(case.meshes)} if case.meshes else {} for case in cases]
        order, shades = [name], {}
    else:
        parts = [rows.by_name(case) for case in cases]
        order, shades = list(rows.spelling.values()), rows.shades
    structures = lay_out(order, numbered) if named is None else named
    if named and options.fragments == "instances":
        structures = number_pieces(named, order[0])
    if missing := [name for name in order if name not in {structure.name for structure in structures}]:
        raise UsageError(f"--labels: does not name {', '.join(missing)}", hint=f"the meshes are {', '.join(order)}")
    structures = tuple(s.model_copy(update={"colour": shades.get(s.name, s.colour)}) for s in structures)
    counts = {name: [len(part[name]) for part in parts if name in part] for name in order}
    counted_names = [
        f"{name} ({pluralise(sum(count), 'mesh', 'meshes')} in {pluralise(len(count), 'case')})"
        for name, count in counts.items()
    ]
    methods = {
        "colour": f"by colour, {rows.describe()}",
        "all": "all meshes together",
        "none": "one for each mesh's name",
        "pieces": f"each mesh a piece of its own of {', '.join(numbered)}",
    }
    method = "pieces" if numbered else options.group
    summary = [f"structures {methods[method]}: {', '.join(counted_names)}"]
    if method == "colour":
        summary.append("a colour without a mesh in a case is taken as not there")
    return MeshStructures(structures, parts, summary, rows.warnings)


def _common_name(cases: Sequence[MeshCase]) -> str:
    """What the names of all meshes say of the bone."""
    colours = [word for colour in COLOURS for word in colour.words]
    return common_name((mesh.stem for case in cases for mesh in case.meshes), colours)


class _StructureAssigner:
    """Goes through the cases and keeps what concerns all of them."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.colourless: PurePosixPath | None = None
        self.colour_sources: Counter[str] = Counter()
        self.spelling: dict[str, str] = {}
        self.bones: dict[str, str] = {}
        self.shades: dict[str, str] = {}
        self.warnings: list[str] = []

    def describe(self) -> str:
        """Where the colours stand."""
        return " and ".join(f"from the {where} of {count}" for where, count in self.colour_sources.most_common())

    def by_colour(self, case: MeshCase) -> dict[str, list[PurePosixPath]]:
        """The meshes of each colour."""
        parts: dict[str, list[PurePosixPath]] = defaultdict(list)
        shades: dict[str, set[str]] = defaultdict(set)
        for mesh in case.meshes:
            try:
                colour = colour_from_name(mesh.relative_to(case.home).with_suffix(""), case.words)
                if colour is not None:
                    self.colour_sources["names"] += 1
                elif (shade := colour_from_file(self.source / mesh)) is not None:
                    colour = nearest_colour(shade)
                    shades[colour.name].add(shade)
                    self.colour_sources["files"] += 1
                if colour is None:
                    self.colourless = mesh
                    raise DatasetError(
                        f"{mesh}: has no colour, neither in its name nor in the file",
                        hint="name a colour in the file's name, or pass --group all or --group none",
                    )
            except OsteonError as error:
                case.problem = case.problem or error
            else:
                parts[colour.name].append(mesh)
        for name, several in shades.items():
            if len(several) > 1:
                self.warnings.append(f"case {case.name}: {', '.join(sorted(several))} are all taken as {name}")
        return dict(parts)

    def by_bone(self, case: MeshCase, bone: str | None) -> dict[str, list[PurePosixPath]]:
        """The pieces of each bone: all meshes of `bone`, or by their names without the numbers at their ends."""
        if bone is not None:
            return {bone: sorted(case.meshes, key=lambda mesh: natural_key(str(mesh)))} if case.meshes else {}
        parts: dict[str, list[PurePosixPath]] = defaultdict(list)
        named = sorted(self.by_name(case).items(), key=lambda item: natural_key(item[0]))
        for name, meshes in named:
            stem = piece_stem(name) or FRAGMENT
            parts[self.bones.setdefault(stem.casefold(), stem)] += meshes
        return dict(parts)

    def by_name(self, case: MeshCase) -> dict[str, list[PurePosixPath]]:
        """Each mesh by its own name, without the case's; capitals or not."""
        parts: dict[str, list[PurePosixPath]] = defaultdict(list)
        prefixes = [case.name, case.home.name, case.scan.name if case.scan else ""]
        for mesh in case.meshes:
            mesh_name = structure_name(mesh.relative_to(case.home).with_suffix(""), prefixes) or mesh.stem
            name = self.spelling.setdefault(mesh_name.casefold(), mesh_name)
            if parts[name]:
                self.warnings.append(f"case {case.name}: several meshes are called {name}; taken as one structure")
            parts[name].append(mesh)
            try:
                if name not in self.shades and (shade := read_stl_colour(self.source / mesh)):
                    self.shades[name] = shade
            except OsteonError as error:
                case.problem = case.problem or error
        return dict(parts)
