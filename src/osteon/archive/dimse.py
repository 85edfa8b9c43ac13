"""An archive by DIMSE (PS3.7): C-FIND, C-GET or else C-MOVE to a listener of our own, and C-STORE."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.archive.archive import Query, SeriesEntry, StudyEntry
from osteon.archive.dimse_messages import (
    SUCCESS,
    NotOfferedError,
    Taker,
    check_stored,
    every_syntax,
    read_status,
    series_identifier,
)
from osteon.archive.entries import read_series, read_study, study_keys
from osteon.archive.fetching import Inbox, check_uid, fetch_whole
from osteon.archive.settings import ArchiveSettings
from osteon.core.errors import AccessError, ArchiveDownError, ArchiveError, OsteonError, UsageError
from osteon.formats.dicom_files import read_dataset, transfer_syntax

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom.ae import ApplicationEntity
    from pynetdicom.association import Association

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
"""Study Root Query/Retrieve Information Model."""
_PENDING = (0xFF00, 0xFF01)
_CALLED_UNKNOWN, _CALLING_UNKNOWN = 7, 3
"""Diagnostics of a rejected association (PS3.8, 9.3.4)."""
_MOST_CONTEXTS = 126
"""Of the 128 of an association (PS3.8, 9.3.2.2), one of which asks."""
_OFFERED = "see which services, SOP classes and transfer syntaxes it is set up for"


class DimseArchive:
    """An archive.

    Args:
        title: Its AE title.
        host: Where it is.
        port: Of it.
        settings: Of the connection.
        tls: Whether it is encrypted.
    """

    def __init__(self, title: str, host: str, port: int, settings: ArchiveSettings, *, tls: bool) -> None:
        self.title, self.host, self.port, self.settings, self.tls = title, host, port, settings, tls
        self.gets: bool | None = None

    def find_studies(self, query: Query) -> list[StudyEntry]:
        """See Archive."""
        asked = ("PatientID", "StudyInstanceUID", "StudyDate", "StudyDescription", "ModalitiesInStudy")
        keys = dict.fromkeys((*asked, "NumberOfStudyRelatedInstances"), "") | study_keys(query)
        return [read_study(entry) for entry in self._find("STUDY", keys, query.limit)]

    def find_series(self, study_uid: str) -> list[SeriesEntry]:
        """See Archive."""
        asked = ("SeriesInstanceUID", "Modality", "BodyPartExamined", "SeriesDescription")
        keys = dict.fromkeys((*asked, "NumberOfSeriesRelatedInstances"), "")
        keys["StudyInstanceUID"] = check_uid(study_uid, "a study")
        return [read_series(study_uid, entry) for entry in self._find("SERIES", keys)]

    def find_instances(self, study_uid: str, series_uid: str) -> list[str]:
        """See Archive."""
        return list(self._classes(study_uid, series_uid))

    def fetch_series(self, study_uid: str, series_uid: str, folder: Path) -> list[Path]:
        """See Archive."""

        def download(inbox: Inbox) -> None:
            if self.gets is not False and self._get(inbox):
                return
            self._move(inbox)

        return fetch_whole(self, study_uid, series_uid, folder, download)

    def store(self, files: Sequence[Path]) -> None:
        """See Archive."""
        headers = {path: read_dataset(path, pixels=False) for path in files}
        contexts: dict[str, set[str]] = {}
        for header in headers.values():
            contexts.setdefault(str(header.SOPClassUID), set()).add(transfer_syntax(header))
        wanted = [(kind, [syntax]) for kind, syntaxes in contexts.items() for syntax in sorted(syntaxes)]
        with self.associated(wanted) as association:
            for path in files:
                try:
                    answer = association.send_c_store(str(path))
                except ValueError:
                    raise ArchiveError(
                        f"{path}: the archive takes no such objects, or none compressed like this",
                        hint="see which SOP classes and transfer syntaxes it is set up for",
                    ) from None
                check_stored(path, answer)

    def _find(self, level: str, keys: dict[str, str], limit: int | None = None) -> list[Dataset]:
        from pydicom.dataset import Dataset

        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for key, value in keys.items():
            setattr(identifier, key, value)
        found = []
        with self.associated([(FIND, None)]) as association:
            for status, entry in association.send_c_find(identifier, FIND):
                number = read_status(status)
                if number in _PENDING and entry is not None:
                    found.append(entry)
                    if len(found) == limit:
                        association.abort()  # it would send all the others before it heard of a release
                        break
                elif number != SUCCESS:
                    raise ArchiveError(
                        f"{self}: it cannot answer what was asked (status 0x{number:04X})", hint="its log says why"
                    )
        return found

    def _classes(self, study_uid: str, series_uid: str) -> dict[str, str]:
        """SOPInstanceUID → SOPClassUID of a series."""
        keys = {
            "StudyInstanceUID": check_uid(study_uid, "a study"),
            "SeriesInstanceUID": check_uid(series_uid, "a series"),
            "SOPInstanceUID": "",
            "SOPClassUID": "",
        }
        return {str(e.SOPInstanceUID): str(e.get("SOPClassUID", "") or "") for e in self._find("IMAGE", keys)}

    def _get(self, inbox: Inbox) -> bool:
        """C-GET; False where the archive has none."""
        from pynetdicom import evt
        from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

        kinds = sorted(filter(None, set(self._classes(inbox.study, inbox.series).values())))[:_MOST_CONTEXTS]
        roles = []
        for kind in kinds:
            role = SCP_SCU_RoleSelectionNegotiation()
            role.sop_class_uid, role.scu_role, role.scp_role = kind, False, True
            roles.append(role)
        taker = Taker(inbox)
        contexts = [(GET, None), *((kind, every_syntax()) for kind in kinds)]
        handlers = [(evt.EVT_C_STORE, taker)]
        try:
            with self.associated(contexts, roles=roles, handlers=handlers) as association:
                self._follow(association.send_c_get(series_identifier(inbox), GET), taker)
        except NotOfferedError:
            self.gets = False
            return False
        self.gets = True
        return True

    def _move(self, inbox: Inbox) -> None:
        """C-MOVE to a listener that is up as long as it takes."""
        from pynetdicom import AE, evt
        from pynetdicom.presentation import AllStoragePresentationContexts

        listener = AE(ae_title=self.settings.aet)
        for context in AllStoragePresentationContexts:
            listener.add_supported_context(str(context.abstract_syntax), every_syntax())
        taker = Taker(inbox)
        try:
            listener.start_server(("", self.settings.port), block=False, evt_handlers=[(evt.EVT_C_STORE, taker)])
        except OSError as error:
            raise UsageError(
                f"port {self.settings.port}: nothing can listen there ({error.strerror})", hint="give another --port"
            ) from None
        try:
            with self.associated([(MOVE, None)]) as association:
                statuses = association.send_c_move(series_identifier(inbox), self.settings.aet, MOVE)
                self._follow(statuses, taker)
        finally:
            listener.shutdown()

    def _follow(self, statuses: Iterator[tuple[Dataset, Dataset | None]], taker: Taker) -> None:
        for status, _ in statuses:
            number = read_status(status)
            if taker.error is not None:
                raise taker.error
            if number == 0xA801:
                raise AccessError(
                    f"{self}: it does not know where {self.settings.aet} is",
                    hint="have this station's AE title, host and port entered there; give them with --aet and --port",
                )
            if number not in (*_PENDING, SUCCESS, 0xB000):  # B000: some failed; they are counted as missing
                raise ArchiveError(
                    f"{self}: it cannot send the series (status 0x{number:04X})", hint="its log says why"
                )

    @cached_property
    def _entity(self) -> ApplicationEntity:
        try:
            from pynetdicom import AE
        except ImportError:
            raise UsageError("DIMSE needs pynetdicom", hint="pip install 'osteon[archive]'") from None
        entity = AE(ae_title=self.settings.aet)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.settings.timeout
        entity.connection_timeout = self.settings.timeout
        return entity

    @contextmanager
    def associated(
        self,
        contexts: Sequence[tuple[str, list[str] | None]],
        *,
        roles: Sequence[Any] = (),
        handlers: Sequence[tuple[Any, Callable[[Any], int]]] = (),
    ) -> Iterator[Association]:
        """An association in which the first context, or one like it, is accepted."""
        from pynetdicom.presentation import build_context

        associate = partial(
            self._entity.associate,
            self.host,
            self.port,
            ae_title=self.title,
            contexts=[build_context(kind, syntaxes) for kind, syntaxes in contexts],
            ext_neg=list(roles),
            evt_handlers=list(handlers),
            tls_args=(self._tls_context, self.host) if self.tls else None,
        )
        association = associate()
        if association.is_aborted:  # so it seems, too, where a rejection and the connection's end come together
            association = associate()
        if not association.is_established:
            raise self._no_association(association)
        try:
            if contexts[0][0] not in {context.abstract_syntax for context in association.accepted_contexts}:
                raise NotOfferedError(f"{self}: it offers nothing of the kind", hint=_OFFERED)
            yield association
        except BaseException:
            association.abort()  # in the middle of an answer nobody would hear of a release
            raise
        if association.is_established:
            association.release()

    def _no_association(self, association: Association) -> OsteonError:
        if association.is_rejected:
            primitive = association.acceptor.primitive
            diagnostic = None if primitive is None else primitive.diagnostic
            if diagnostic == _CALLED_UNKNOWN:
                return AccessError(
                    f"{self}: no archive of this AE title is there", hint="correct the URL: dicom://AET@…"
                )
            if diagnostic == _CALLING_UNKNOWN:
                return AccessError(
                    f"{self}: it does not know {self.settings.aet}",
                    hint="have this station's AE title entered there, or give the one that it knows with --aet",
                )
            return ArchiveDownError(f"{self}: it rejects the connection", hint="see its log, then try again")
        if association.rejected_contexts:
            return NotOfferedError(f"{self}: it offers nothing of the kind", hint=_OFFERED)
        return ArchiveDownError(f"{self}: does not answer", hint="see whether it runs and TLS agrees, then try again")

    @cached_property
    def _tls_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=None if self.settings.ca is None else str(self.settings.ca))
            if self.settings.cert is not None:
                context.load_cert_chain(self.settings.cert, self.settings.key)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"TLS: a certificate cannot be read ({error})", hint="give PEM files") from None
        return context

    def __str__(self) -> str:
        return f"{self.title} at {self.host}:{self.port}"
