"""Messages of commands in the words of the pages: without options of the command line and paths of the server.

Options in a hint become what the pages call them. Alternatives that the pages do not have are left out; the whole text
stays under Details.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from osteon.app.workspace import ITEM_KINDS
from osteon.core.errors import OsteonError
from osteon.importing.options import IMPORT_CHOICES, IMPORT_FLAGS, IMPORT_TEXTS

OPTION_LABELS = {
    "--labels": "Structures",
    "--modality": "Modality",
    "--hold-out": "Keep for the final test",
    "--only": "Untick cases that are not to be imported",
    "--form": "It is something else",
    "--budget": "How long",
    "--recipe": "Recipe",
    "--probabilities": "Keep probabilities",
    **IMPORT_FLAGS,
    **IMPORT_TEXTS,
    **{option: name for option, (name, _) in IMPORT_CHOICES.items()},
}
"""Options of the command line as the pages call them."""
PHRASES: tuple[tuple[str, str], ...] = (
    (r"write a text file with a line `image,label` for each case, as SOURCE", "pair images and labels by hand, below"),
    (r"give the right (?:one|file) as SOURCE", "upload only the right one"),
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
    (
        r"correct the file of --credentials, or OSTEON_ARCHIVE_USER and OSTEON_ARCHIVE_PASSWORD",
        "the user and the password that this machine has for it must be corrected",
    ),
    (
        r"give --ca FILE with who signed it, and --cert and --key where it asks for them",
        "the certificates that this machine has for it must be corrected",
    ),
    (r"or give the one that it knows with --aet", "or the one that it knows in this machine's settings"),
    (r"pass the true --modality", "import the data again with its true --modality"),
    (r"\bpass (?=--)", "choose "),
    (r"give both the same `subject`", "import the data again with --subject"),
    (r"; where it was not annotated, list the case's `annotated` structures without .*", ""),
    (r"\((--labels [^)]*)\)", r"(“Structures”)"),
    (r"--labels( [\w{}\- ]+=[\w{}]+,?[^;)]*| NAME=VALUE,…)?", "“Structures”"),
    (r"--(?P<name>group|mesh-unit|mesh-space|mask-marks) (?P<value>\w+)", r"--\g<name>, \g<value>,"),
    (r"--modality (?:ct|mr|xray|other)(?:, mr or xray)?", "--modality"),
    (r"--hold-out (?:last:|first:)?[\d.]+", "--hold-out"),
)
"""Patterns of the command line's messages, and what replaces them on the pages."""
_COMMAND_WORDS = re.compile(
    r"--\w|\b(?:SOURCE|DATASET|RUN|MODEL|SCAN|OUT|DIR|NAME|VALUE|FOLDER|REFERENCE|PREDICTION)\b"
    r"|\b(?:dataset|plan|run)\.yaml|labels\.json|\bpip install\b|`(?:content|overlapping): "
    r"|\bosteon (?:import|audit|plan|train|predict|evaluate|compare|export|vote|sweep|doctor|weights|phantom|demo)\b"
)
"""What only the command line understands."""
_NO_ACTION = "nothing on these pages does it: correct the data, and import it again"
_SEE_DETAILS = "the advice for the command line is under Details"
_VARYING = re.compile(r"\S*[/\\]\S*|\S*\d\S*|\b[\w-]+\.[a-z]{2,4}\b")


def strip_folders(text: str, root: Path | None = None, data: Sequence[Path] = ()) -> str:
    """A text without the server's folders: `legs/p1/ct.nii.gz`."""
    for folder in data:
        text = text.replace(f"{folder.parent}/", "") if folder.parent != folder.parent.parent else text
    if root is not None:
        text = text.replace(f"{root}/", "")
    return re.sub(rf"(?<![\w/.-])(?:{'|'.join((*ITEM_KINDS, 'plans'))})/(?=\w)", "", text)


def translate_text(text: str) -> str:
    """A sentence or a hint in the pages' words; alternatives that they do not have are left out. May become empty."""
    for pattern, replacement in PHRASES:
        text = re.sub(pattern, replacement, text)
    for option, name in sorted(OPTION_LABELS.items(), key=lambda pair: -len(pair[0])):
        text = re.sub(rf"`?{option}(?![\w-])`?", f"“{name}”", text)
    if not _COMMAND_WORDS.search(text):
        return text
    sentences = []
    for sentence in re.split(r";\s+", text):
        parts = re.split(r",? or (?=[`“a-z-])|, (?=or )", sentence)
        plain = [part for part in parts if part.strip() and not _COMMAND_WORDS.search(part)]
        if plain and len(plain) == len(parts):
            sentences.append(sentence)
        elif plain and parts[0] in plain:
            sentences.append(", or ".join(plain))
    return "; ".join(sentences).removeprefix("or ")


def translate_action(action: str) -> str:
    """What to do about a finding of the check, in the pages' words."""
    return translate_text(action) or _NO_ACTION


def translate_error(error: OsteonError, root: Path | None = None, data: Sequence[Path] = ()) -> OsteonError:
    """The error as pages show it; what they leave out becomes further lines of the message, which are folded."""
    first, *rest = error.message.splitlines() or [""]
    hint = translate_text(error.hint)
    if error.hint and hint != error.hint:
        rest = [*rest, f"For the command line: {error.hint}"]
    for option, name in OPTION_LABELS.items():
        first = re.sub(rf"{option}(?![\w-])", f"“{name}”", first)
    message = "\n".join(strip_folders(line, root, data) for line in [first, *rest])
    return OsteonError(message, hint=strip_folders(hint, root, data) or (_SEE_DETAILS if error.hint else ""))


def group_similar(lines: Iterable[str]) -> list[list[str]]:
    """Groups of lines that differ only in names and numbers, in the order of their first lines."""
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(_VARYING.sub("*", line), []).append(line)
    return list(groups.values())
