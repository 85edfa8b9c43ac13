"""An archive by DICOMweb (PS3.18): QIDO-RS finds, WADO-RS fetches, STOW-RS stores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.archive.archive import Query, SeriesEntry, StudyEntry
from osteon.archive.entries import read_series, read_study, study_keys
from osteon.archive.fetching import Inbox, check_uid, fetch_whole
from osteon.archive.settings import ArchiveSettings, Credentials
from osteon.core.errors import AccessError, ArchiveDownError, ArchiveError, ArchiveFullError, OsteonError, UsageError
from osteon.formats.dicom_files import read_dataset

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient
    from pydicom.dataset import Dataset

LATER = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
"""What says that the same may work later."""
PAGE = 500
"""So many answers are asked for at once."""
BATCH_BYTES = 64 << 20
"""So much is sent at once; a larger file alone."""
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
"""FailureReason: PS3.4, B.2.3."""


class DicomWebArchive:
    """An archive.

    Args:
        url: Of its DICOMweb service.
        settings: Of the connection.
        credentials: Who asks.
    """

    def __init__(self, url: str, settings: ArchiveSettings, credentials: Credentials) -> None:
        self.url, self.settings, self.credentials = url.rstrip("/"), settings, credentials

    @cached_property
    def client(self) -> DICOMwebClient:
        """Of the library, which would repeat requests by itself and tell of them."""
        try:
            from dicomweb_client import DICOMwebClient
        except ImportError:
            raise UsageError("DICOMweb needs dicomweb-client", hint="pip install 'osteon[archive]'") from None
        import requests
        from requests.auth import HTTPBasicAuth

        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)  # it names studies and requests
        session = requests.Session()
        session.trust_env = False  # no password of a ~/.netrc goes to an archive unasked
        if self.credentials.token:
            session.headers["Authorization"] = f"Bearer {self.credentials.token}"
        elif self.credentials.user:
            session.auth = HTTPBasicAuth(self.credentials.user.encode(), self.credentials.password.encode())
        if self.settings.ca is not None:
            session.verify = str(self.settings.ca)
        if self.settings.cert is not None:
            key = self.settings.key
            session.cert = str(self.settings.cert) if key is None else (str(self.settings.cert), str(key))
        client = DICOMwebClient(self.url, session=session, timeout=self.settings.timeout)
        client.set_http_retry_params(retry=False)
        return client

    def find_studies(self, query: Query) -> list[StudyEntry]:
        """See Archive."""
        fields = ["StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"]
        search = partial(self.client.search_for_studies, search_filters=study_keys(query), fields=fields)
        return [read_study(entry) for entry in self._all(search, "StudyInstanceUID", query.limit)]

    def find_series(self, study_uid: str) -> list[SeriesEntry]:
        """See Archive."""
        fields = ["BodyPartExamined", "SeriesDescription", "NumberOfSeriesRelatedInstances"]
        search = partial(self.client.search_for_series, check_uid(study_uid, "a study"), fields=fields)
        return [read_series(study_uid, entry) for entry in self._all(search, "SeriesInstanceUID")]

    def find_instances(self, study_uid: str, series_uid: str) -> list[str]:
        """See Archive."""
        search = partial(self.client.search_for_instances, study_uid, series_uid)
        return [str(entry.SOPInstanceUID) for entry in self._all(search, "SOPInstanceUID")]

    def fetch_series(self, study_uid: str, series_uid: str, folder: Path) -> list[Path]:
        """See Archive."""

        def download(inbox: Inbox) -> None:
            as_it_is = (("application/dicom", "*"),)
            with self._asking():
                for entry in self.client.iter_series(study_uid, series_uid, media_types=as_it_is):
                    inbox.take(entry, entry.save_as)

        return fetch_whole(self, study_uid, series_uid, folder, download)

    def store(self, files: Sequence[Path]) -> None:
        """See Archive."""
        for batch in _batches(files):
            entries = {path: read_dataset(path, pixels=True) for path in batch}
            with self._asking(batch):
                answer = self.client.store_instances(list(entries.values()))
            _check_stored(answer, {str(entry.SOPInstanceUID): path for path, entry in entries.items()})

    def _all(
        self, search: Callable[..., list[dict[str, dict[Any, Any]]]], uid: str, limit: int | None = None
    ) -> list[Dataset]:
        """Every answer once, page by page: archives answer with as many as they like, and some know no pages."""
        page_size = PAGE if limit is None else min(PAGE, limit)
        from pydicom.dataset import Dataset

        found: dict[str, Dataset] = {}
        with self._asking():
            while True:
                page = [Dataset.from_json(row) for row in search(limit=page_size, offset=len(found))]
                fresh = {str(entry[uid].value): entry for entry in page if str(entry[uid].value) not in found}
                found |= fresh
                if not fresh or (limit is not None and len(found) >= limit):
                    return list(found.values())[:limit]

    @contextmanager
    def _asking(self, files: Sequence[Path] = ()) -> Iterator[None]:
        """Errors of the network and of HTTP as osteon's; their texts, which may name patients, are left out."""
        import requests

        try:
            yield
        except requests.HTTPError as error:
            raise _refusal(error.response, files) from None
        except requests.exceptions.SSLError as error:
            raise AccessError(
                f"{self.url}: its certificate is not trusted, or it wants one of this station",
                hint="give --ca FILE with who signed it, and --cert and --key where it asks for them",
            ) from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise ArchiveDownError(
                f"{self.url}: does not answer ({type(error).__name__})", hint="see whether it runs, then try again"
            ) from None
        except (requests.RequestException, ValueError, KeyError) as error:
            raise ArchiveError(
                f"{self.url}: its answer is none of DICOMweb ({type(error).__name__})",
                hint="give the URL of its DICOMweb service, such as https://HOST/dicom-web",
            ) from error


def _refusal(response: Any, files: Sequence[Path]) -> OsteonError:
    status = int(response.status_code)
    words = f"HTTP {status} {response.reason or ''}".strip()
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return AccessError(
            f"the archive does not let this user in ({words})",
            hint="correct the file of --credentials, or OSTEON_ARCHIVE_USER and OSTEON_ARCHIVE_PASSWORD",
        )
    if status == HTTPStatus.INSUFFICIENT_STORAGE:
        return ArchiveFullError(f"the archive is full ({words})", hint="send it again when there is room")
    if status in LATER:
        return ArchiveDownError(f"the archive cannot now ({words})", hint="try again later")
    if status == HTTPStatus.NOT_FOUND:
        return ArchiveError(
            f"the archive has nothing at this URL ({words})",
            hint="give the URL of its DICOMweb service, such as https://HOST/dicom-web",
        )
    if files:
        names = f"{files[0]}{'' if len(files) == 1 else f' or one of {len(files) - 1} sent with it'}"
        return ArchiveError(f"{names}: the archive refuses it ({words})", hint="its log says why")
    return ArchiveError(f"the archive refuses the request ({words})", hint="its log says why")


def _check_stored(answer: Dataset, entries: Mapping[str, Path]) -> None:
    """Raise where the archive says that it has not taken an instance."""
    refused = list(answer.get("FailedSOPSequence") or [])
    if not refused:
        return
    first = refused[0]
    path = entries.get(str(first.get("ReferencedSOPInstanceUID", "")), next(iter(entries.values())))
    reason = int(first.get("FailureReason", 0) or 0)
    kind = ArchiveFullError if reason in _OUT_OF_RESOURCES else ArchiveError
    why = "it is out of resources" if reason in _OUT_OF_RESOURCES else f"failure reason 0x{reason:04X}"
    raise kind(f"{path}: the archive has not taken {len(refused)} of {len(entries)} ({why})", hint="its log says why")


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    batch, size = list[Path](), 0
    for path in files:
        own = path.stat().st_size
        if batch and size + own > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += own
    if batch:
        yield batch
