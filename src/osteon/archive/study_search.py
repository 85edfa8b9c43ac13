"""New studies of an archive that rules fit, and studies that still grow."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from osteon.archive.archive import Archive, Query, SeriesEntry, query_studies
from osteon.archive.watch_config import Rule, WatchConfig
from osteon.archive.work_list import WorkItem, WorkList
from osteon.core.errors import UsageError
from osteon.core.text import pluralise

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Choice:
    """The series of a study that is segmented, and by which rule."""

    rule: Rule
    series: SeriesEntry
    instances: int
    in_range: bool

    def facts(self) -> dict[str, Any]:
        """The fields of its `WorkItem`."""
        return {
            "series": self.series.series_uid,
            "model": self.rule.model,
            "rule": str(self.rule),
            "modality": self.series.modality,
            "instances": self.instances,
            "in_range": self.in_range,
        }


class StudySearch:
    """Looks for new studies, and at those that were found and not yet fetched.

    Args:
        config: Of the watch.
        archive: That is watched.
        work: The work list; new studies are added to it.
        ask: Whether many new studies are refused.
    """

    def __init__(self, config: WatchConfig, archive: Archive, work: WorkList, *, ask: bool) -> None:
        self.config, self.archive, self.work, self.ask = config, archive, work, ask
        self._passed_over: dict[str, int | None] = {}
        """Studies that no rule fits, and how many images each had."""
        self.looked_at = 0.0
        """When the last look began, in seconds of the epoch; 0: never."""
        self._described = False

    def look(self) -> None:
        """Look once.

        Raises:
            UsageError: More new studies fit than may be fetched unasked; nothing is added to the work list.
            OsteonError: The archive does not answer as it should.
        """
        began = time.time()
        studies = {study.study_uid: study for study in query_studies(self.archive, self._query())}
        found: list[WorkItem] = []
        for uid, study in studies.items():
            if uid in self.work or (study.instances is not None and self._passed_over.get(uid, -1) == study.instances):
                continue
            item = self._match(uid)
            if item is None:
                self._passed_over[uid] = study.instances
                continue
            found.append(item)
            if self.ask and len(found) > self.config.most_studies:
                raise UsageError(
                    f"the rules fit more than {self.config.most_studies} new studies of {len(studies)}",
                    hint="--yes fetches them all; or narrow the rules, days, or raise most_studies",
                )
        for item in found:
            self.work.save(item)
            logger.info(f"study {item.name}: found, {pluralise(item.instances, 'image')}")
        if studies and not self._described:
            self._describe(len(studies), list(studies))
        new = {item.study for item in found}
        for item in self.work.waiting():
            if item.state == "found" and item.study not in new:
                self._refresh(item)
        self.looked_at = began

    def wait_again(self, item: WorkItem) -> None:
        """Of a series that grew while it was fetched: it is waited for from now on."""
        item.changed_at = time.time()
        self._refresh(item)
        self.work.save(item)

    def _query(self) -> Query:
        days = self.config.days
        return Query(since=None if days is None else date.today() - timedelta(days=days))

    def _match(self, study: str) -> WorkItem | None:
        chosen = self._choose(study, self.archive.find_series(study))
        if chosen is None:
            return None
        now = time.time()
        return WorkItem(study=study, changed_at=now, found_at=now, **chosen.facts())

    def _refresh(self, item: WorkItem) -> None:
        """What the archive has of a study by now: while it grows another series may fit better."""
        chosen = self._choose(item.study, self.archive.find_series(item.study))
        if chosen is None:
            return
        if not chosen.facts().items() <= item.model_dump().items():
            for name, value in chosen.facts().items():
                setattr(item, name, value)
            item.changed_at = time.time()
            self.work.save(item)

    def _choose(self, study: str, series: Sequence[SeriesEntry]) -> _Choice | None:
        """The first rule that fits with enough slices, else the first that fits; of its series that with the most."""
        fitting = []
        for number, rule in enumerate(self.config.rules):
            for one in series:
                if rule.fits(one.modality, one.body_part, one.description):
                    count = one.instances
                    if count is None:
                        count = len(self.archive.find_instances(study, one.series_uid))
                    in_range = rule.slices.min <= count <= rule.slices.max
                    fitting.append(((in_range, -number, count, one.series_uid), _Choice(rule, one, count, in_range)))
        return max(fitting, key=lambda pair: pair[0])[1] if fitting else None

    def _describe(self, count: int, studies: Sequence[str]) -> None:
        """Say once how much each rule takes: one that fits nothing or everything is seldom meant."""
        self._described = True
        taken = Counter(item.rule for study in studies if (item := self.work.get(study)) is not None)
        for number, rule in enumerate(self.config.rules, 1):
            fitting = taken[str(rule)]
            if not fitting:
                logger.warning(f"rule {number} ({rule}): fits none of {pluralise(count, 'study', 'studies')}")
            elif fitting == count > 1:
                logger.warning(f"rule {number} ({rule}): fits all {count} studies")
