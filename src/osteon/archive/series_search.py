"""Looking for series in an archive before anything is fetched: so many, and no more."""

from __future__ import annotations

from dataclasses import dataclass, replace

from osteon.archive.archive import Archive, Query, SeriesEntry, StudyEntry, query_studies
from osteon.core.text import pluralise

MOST_STUDIES = 200
"""So many studies are looked into: an archive has millions, and is asked for the series of each."""
MOST_SERIES = 1000
"""So many series are listed."""


@dataclass(frozen=True)
class SeriesList:
    """What a query finds.

    Attributes:
        rows: Series that fit, each with its study; the newest studies first.
        studies: How many studies they are of.
        more: Whether more would fit.
    """

    rows: list[tuple[StudyEntry, SeriesEntry]]
    studies: int
    more: bool

    def describe(self) -> str:
        """In a sentence."""
        if not self.rows:
            return f"Nothing was found in the first {MOST_STUDIES} studies." if self.more else "Nothing was found."
        counted = f"{pluralise(len(self.rows), 'series', 'series')} of {pluralise(self.studies, 'study', 'studies')}"
        return f"{counted}, and there are more." if self.more else f"{counted}."


def search_series(archive: Archive, query: Query) -> SeriesList:
    """Look for series.

    Raises:
        ArchiveError: The archive did not answer as it should.
        AccessError: This user is not let in.
    """
    found = query_studies(archive, replace(query, limit=MOST_STUDIES + 1))
    studies, more = found[::-1][:MOST_STUDIES], len(found) > MOST_STUDIES
    rows: list[tuple[StudyEntry, SeriesEntry]] = []
    for study in studies:
        fitting = [(study, one) for one in archive.find_series(study.study_uid) if query.fits(one)]
        if len(rows) + len(fitting) > MOST_SERIES:
            more = True
            break
        rows += fitting
    return SeriesList(rows, len({study.study_uid for study, _ in rows}), more)
