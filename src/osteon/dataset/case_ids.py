"""Ids of cases, made of the names that files, folders and DICOM tags have."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from osteon.core.file_names import free_name, name_key
from osteon.dataset.manifest import LONGEST_ID


def safe_id(text: str) -> str:
    """A case id made of any text, such as a folder's name or a DICOM tag: names one file, and no other folder.

    Letters of every script, digits, space and `_-.+` stay; runs of other characters become one `_`. A text longer than
    `LONGEST_ID` is cut and ends in a digest of the whole, so that two long texts stay two. Letters are composed (NFC).
    """
    text = unicodedata.normalize("NFC", text)
    plain = re.sub(r"[^\w \-.+]+", "_", text).strip("._ ") or "case"
    if len(plain.encode()) <= LONGEST_ID:
        return plain
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]
    return plain.encode()[: LONGEST_ID - 13].decode(errors="ignore") + "-" + digest


def unique_ids(candidates: Sequence[Sequence[str]], warnings: list[str]) -> list[str]:
    """The first list of ids that are all names of different files on every system (see `name_key`), composed (NFC).

    Where no list is, the one with the fewest twins, the later of two twins called `p1-2`.

    Args:
        candidates: Lists of ids for the same cases, the best first; an empty id is none.
        warnings: Gets a line for each twin.
    """
    lists = [[unicodedata.normalize("NFC", name) or "case" for name in ids] for ids in candidates]
    best = min(lists, key=lambda ids: len(ids) - len({name_key(name) for name in ids}))
    used: dict[str, str] = {}
    tried: dict[str, int] = {}
    found = []
    for name in best:
        unique = free_name(name, used, tried)
        if unique != name:
            why = f"two cases are called {name}"
            if (first := used[name_key(name)]) != name:
                why = f"two cases are called {first} and {name}, which is one file name on Windows and macOS"
            warnings.append(f"{why}; the second becomes {unique}")
        used[name_key(unique)] = unique
        found.append(unique)
    return found
