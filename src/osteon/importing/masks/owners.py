"""Whose a mask is by its name and folders."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from osteon.formats.mask_names import MASK_WORDS, SCAN_WORDS, name_words, strip_mask_words
from osteon.formats.registry import stem_of
from osteon.importing.masks.files import MaskFile
from osteon.importing.masks.groups import ScanGroup

Name = tuple[str, ...]


class GroupNames:
    """What groups are called, to find the one that a mask's name means."""

    def __init__(self, groups: Sequence[ScanGroup]) -> None:
        self.called = defaultdict[Name, list[ScanGroup]](list)
        self.ends = defaultdict[Name, list[ScanGroup]](list)
        self.folders = defaultdict[Name, list[ScanGroup]](list)
        for group in groups:
            for name in group.names:
                self.called[name].append(group)
                for tail in (name[start:] for start in range(1, len(name) - 1)):
                    if _has_digits(tail) and self.ends[tail][-1:] != [group]:
                        self.ends[tail].append(group)
            for part in map(name_words, group.name.split("/")):
                self.folders[part].append(group)
        self._longest = max(map(len, self.called), default=0)
        self._telling = {
            name: own for name, own in self.called.items() if _has_digits(name) and not "".join(name).isdigit()
        }

    def find_owners(self, mask: MaskFile) -> list[ScanGroup] | None:
        """The groups that a mask is named after; none where it is named after none, None where these are two cases.

        Its name or one of its folders begins with a group's name, the longest wins. Or else it begins with the end of
        one, or holds one: CTPelvic1K has `CLINIC_metal_0000_mask_4label` to `dataset7_CLINIC_metal_0000_data`, and
        `dataset1_img0021_mask_4label` to `img0021`. Of groups that differ in capitals alone those spelt the same win.
        """
        parts = [strip_mask_words(part) for part in (*mask.folder.parts, stem_of(mask.path))]
        words = [name_words(part) for part in parts]
        runs = [tuple(word for part in words[start:] for word in part) for start in range(len(words))]
        within = [words[-1][start:] for start in range(len(words[-1]))]
        for names, texts in ((self.called, runs), (self.ends, runs), (self._telling, within)):
            found = [head for text in texts if (head := self._head(text, names))]
            if found:
                return self._agree(found, names, words[:-1], parts)
        return []

    def _head(self, text: Name, names: Mapping[Name, list[ScanGroup]]) -> Name:
        """The longest name with which the words begin; empty where none does."""
        heads = (text[:length] for length in range(min(len(text), self._longest), 0, -1))
        return next((head for head in heads if head in names), ())

    def _agree(
        self,
        found: Sequence[Name],
        names: Mapping[Name, list[ScanGroup]],
        folders: Sequence[Name],
        parts: Sequence[str],
    ) -> list[ScanGroup] | None:
        """The groups that all longest names mean, and that neither a shorter name nor a folder contradicts."""
        best = [head for head in found if len(head) == max(map(len, found))]
        common = set(names[best[0]]).intersection(*(names[head] for head in best[1:]))
        owners = [group for group in names[best[0]] if group in common]
        others = [
            names[head] for head in found if head not in {name[: len(head)] for name in best} and is_numbered(head)
        ]
        others += [self.folders[part] for part in folders if _has_digits(part) and part in self.folders]
        if not owners or any(set(owners).isdisjoint(other) for other in others):
            return None
        same_case = [group for group in owners if any(part.startswith(group.name.rpartition("/")[2]) for part in parts)]
        return same_case if len(owners) > 1 and same_case else owners


class NameSimilarity:
    """What tells whose a mask may be where no name says it: words and numbers of all cases, gathered once."""

    def __init__(self, groups: Sequence[ScanGroup]) -> None:
        self._called = {name for group in groups for name in group.names}
        self._shapes = {shape for name in self._called if (shape := number_pattern(name)) != name}
        self._often = Counter(word for group in groups for word in all_words(group.scans[0].relative_path))

    def shares_unique_word(self, mask: MaskFile, group: ScanGroup) -> bool:
        """Whether mask and scan share a word that other scans lack: a grid alone is no proof in a heap of many."""
        shared = all_words(group.scans[0].relative_path) & all_words(mask.relative_path)
        return any(self._often[word] == 1 for word in shared)

    def names_other_case(self, mask: MaskFile) -> bool:
        """Whether its name or folder is a case's up to the numbers in it: `p9_tibia` beside `p1` and `p2`."""
        parts = [name_words(part) for part in (*mask.folder.parts, strip_mask_words(stem_of(mask.path)))]
        heads = [part[:length] for part in parts for length in range(1, len(part) + 1)]
        return self._called.isdisjoint(heads) and not self._shapes.isdisjoint(map(number_pattern, heads))


def all_words(place: PurePosixPath) -> set[str]:
    """The words of a file's name and folders that say more than scan or mask."""
    parts = (*place.parent.parts, stem_of(Path(place)))
    return {word for part in parts for word in name_words(part)} - SCAN_WORDS - MASK_WORDS


def _has_digits(name: Name) -> bool:
    return any(character.isdigit() for word in name for character in word)


def is_numbered(name: Name) -> bool:
    """Whether a name has a number in it, as cases have; digits alone may count masks."""
    return number_pattern(name) != name and not "".join(name).isdigit()


def number_pattern(name: tuple[str, ...]) -> tuple[str, ...]:
    """A name without its numbers; a word of digits alone keeps their count, since `01_femur` may be the first bone."""
    return tuple("#" * len(word) if word.isdigit() else re.sub(r"\d+", "#", word) for word in name)
