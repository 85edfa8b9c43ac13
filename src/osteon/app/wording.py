"""What commands say, in the words of the pages: no option, no path of the server's; and what is alike said once.

An error's hint names options of the command line and what the pages call them. Alternatives that the pages do not have
are left out; the error's whole text stays under Details.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from osteon.app.workspace import KINDS
from osteon.core.errors import OsteonError

FLAGS = {
    "--repair-geometry": "Resample labels that do not lie on their image's grid",
    "--accept-gaps": "DICOM: take series with missing or uneven slices, resampled",
    "--resample-tilt": "DICOM: take series with a tilted gantry, resampled",
    "--allow-empty": "Take cases whose label is empty",
    "--ignore-references": "DICOM: take labels by their place, though they name another scan",
    "--keep-identity": "DICOM: keep names, ids and dates of patients",
}
"""Ticks of an import."""
TEXTS = {
    "--case-pattern": "Which part of a path is the case",
    "--series": "Which DICOM series",
    "--priority": "Which structure wins where they overlap",
    "--subject": "Which part of an id or path is the subject",
}
"""What is typed at an import."""
CHOICES: dict[str, tuple[str, dict[str, str]]] = {
    "--group": ("Meshes that become one structure", {"colour": "of one colour", "all": "all", "none": "each its own"}),
    "--mesh-unit": ("Unit of the meshes", {"mm": "mm", "cm": "cm", "m": "m"}),
    "--mesh-space": ("World of the meshes", {"LPS": "LPS (DICOM)", "RAS": "RAS (NIfTI)"}),
    "--mask-marks": ("Masks of pictures mark with", {"bright": "bright pixels", "dark": "dark pixels"}),
    "--between-slices": ("Between slices that were drawn", {"fill": "fill", "leave": "leave empty"}),
    "--rle-order": ("Runs are counted along", {"rows": "rows", "columns": "columns"}),
    "--rle-base": ("The first pixel of runs is", {"0": "0", "1": "1"}),
}
"""What is chosen from at an import."""
NAMES = {
    "--labels": "Structures",
    "--modality": "Modality",
    "--hold-out": "Keep for the final test",
    "--only": "Take the tick away from cases that are not to be imported",
    "--form": "It is something else",
    "--budget": "How long",
    "--recipe": "Recipe",
    "--probabilities": "Keep probabilities",
    **FLAGS,
    **TEXTS,
    **{option: name for option, (name, _) in CHOICES.items()},
}
"""Options of the command line as the pages call them."""
SAID: tuple[tuple[str, str], ...] = (
    (r"write a text file with a line `image,label` for each case, as SOURCE", "pair images and labels by hand, below"),
    (r"give (?:the one that is meant|the file that is meant) as SOURCE", "upload the one that is meant alone"),
    (r"give the dataset as REFERENCE", "compare with the dataset"),
    (r"predict again with --probabilities --overwrite", "segment again with --probabilities"),
    (r"import the data again with --overwrite", "import the data again"),
    (r"import the data again with (--[a-z-]+)", r"import the data again with \1"),
    (r"let `osteon import` take it on purpose", "import it, and take it on purpose"),
    (r"(the structures|another one) in dataset\.yaml\b", r"\1 on the dataset's page, under “Structures”"),
    (r"add a case in which they are labelled", "import the data again with a case in which they are labelled"),
    (
        r"cases held out for the final test do not count",
        "cases kept for the final test do not count: tick them on the dataset's page and press “Train on them”",
    ),
    (r"pass the true --modality", "import the data again with its true --modality"),
    (r"\bpass (?=--)", "choose "),
    (r"give both the same `subject`", "import the data again with --subject"),
    (r"; where nobody looked for it, list the case's `annotated` structures without .*", ""),
    (r"\((--labels [^)]*)\)", r"(“Structures”)"),
    (r"--labels( [\w{}\- ]+=[\w{}]+,?[^;)]*| NAME=VALUE,…)?", "“Structures”"),
    (r"--(?P<name>group|mesh-unit|mesh-space|mask-marks) (?P<value>\w+)", r"--\g<name>, \g<value>,"),
    (r"--modality (?:ct|mr|xray|other)(?:, mr or xray)?", "--modality"),
    (r"--hold-out (?:last:|first:)?[\d.]+", "--hold-out"),
)
"""Sentences and words of the command line, and what stands for them on the pages."""
_SPOKEN = re.compile(
    r"--\w|\b(?:SOURCE|DATASET|RUN|MODEL|SCAN|OUT|DIR|NAME|VALUE|FOLDER|REFERENCE|PREDICTION)\b"
    r"|\b(?:dataset|plan|run)\.yaml|labels\.json|\bpip install\b|`(?:content|overlapping): "
    r"|\bosteon (?:import|audit|plan|train|predict|evaluate|compare|export|vote|sweep|doctor|weights|phantom|demo)\b"
)
"""What only the command line understands."""
_NOWHERE = "nothing on these pages does it: correct the data, and import it again"
_ASIDE = "it says what to do in the words of the command line: see Details"
_VARIES = re.compile(r"\S*[/\\]\S*|\S*\d\S*|\b[\w-]+\.[a-z]{2,4}\b")


def plain_paths(text: str, root: Path | None = None, data: Sequence[Path] = ()) -> str:
    """A text without the places in which the server keeps things: `legs/p1/ct.nii.gz`."""
    for folder in data:
        text = text.replace(f"{folder.parent}/", "") if folder.parent != folder.parent.parent else text
    if root is not None:
        text = text.replace(f"{root}/", "")
    return re.sub(rf"(?<![\w/.-])(?:{'|'.join((*KINDS, 'plans'))})/(?=\w)", "", text)


def plain_words(text: str) -> str:
    """A sentence or a hint in the pages' words; alternatives that they do not have are left out. May become empty."""
    for pattern, said in SAID:
        text = re.sub(pattern, said, text)
    for option, name in sorted(NAMES.items(), key=lambda pair: -len(pair[0])):
        text = re.sub(rf"`?{option}(?![\w-])`?", f"“{name}”", text)
    if not _SPOKEN.search(text):
        return text
    kept = []
    for sentence in re.split(r";\s+", text):
        parts = re.split(r",? or (?=[`“a-z-])|, (?=or )", sentence)
        spoken = [part for part in parts if part.strip() and not _SPOKEN.search(part)]
        if spoken and len(spoken) == len(parts):
            kept.append(sentence)
        elif spoken and parts[0] in spoken:
            kept.append(", or ".join(spoken))
    return "; ".join(kept).removeprefix("or ")


def to_do(action: str) -> str:
    """What to do about a finding of the check, in the pages' words."""
    return plain_words(action) or _NOWHERE


def for_people(error: OsteonError, root: Path | None = None, data: Sequence[Path] = ()) -> OsteonError:
    """The error as pages show it; what they leave out is folded: further lines of the message."""
    first, *rest = error.message.splitlines() or [""]
    hint = plain_words(error.hint)
    if error.hint and hint != error.hint:
        rest = [*rest, f"For the command line: {error.hint}"]
    for option, name in NAMES.items():
        first = re.sub(rf"{option}(?![\w-])", f"“{name}”", first)
    message = "\n".join(plain_paths(line, root, data) for line in [first, *rest])
    return OsteonError(message, hint=plain_paths(hint, root, data) or (_ASIDE if error.hint else ""))


def alike(lines: Iterable[str]) -> list[list[str]]:
    """Lines that say the same of different files, together; in the order of the first of each."""
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(_VARIES.sub("*", line), []).append(line)
    return list(groups.values())
