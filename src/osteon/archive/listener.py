"""The station that scanners and routers send to: C-STORE, C-ECHO and storage commitment, on a port of its own."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

from osteon.archive.commitment import COMMITMENT, REQUEST, make_report, send_report
from osteon.archive.dimse import DimseArchive
from osteon.archive.dimse_messages import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS, every_syntax
from osteon.archive.received import ReceivedStudies
from osteon.archive.settings import ArchiveSettings
from osteon.core.errors import ArchiveDownError, DiskFullError, OsteonError, UsageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

logger = logging.getLogger(__name__)
_VERIFICATION = "1.2.840.10008.1.1"
_PROCESSING_FAILURE, _NO_SUCH_ACTION, _NOT_AUTHORISED = 0x0110, 0x0123, 0x0124
_MOST_CONNECTIONS = 32
_REPORT_ATTEMPTS, _REPORT_PAUSE_S = 6, 2.0
"""A report on commitment is sent so often, with pauses that double."""


@dataclass(frozen=True)
class Listener:
    """What arrives at the station.

    Attributes:
        received: Where instances are kept.
        senders: AE title → where its reports on storage commitment go; None where nobody has said it.
        archive: AE title of the archive, whose reports are heard; None where none is waited for.
        commits: Whether this station keeps what it takes for good.
        reports: TransactionUID → the archive's report on what this station asked for.
    """

    received: ReceivedStudies
    senders: Mapping[str, DimseArchive | None]
    archive: str | None
    commits: bool
    reports: dict[str, Queue[Dataset]] = field(default_factory=dict)
    _reporting: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _closed: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def report_on(self, transaction: str, seconds: float) -> Iterator[Callable[[], Dataset]]:
        """Hear the report on a request, which is sent in the block; what is given waits for it.

        Raises:
            ArchiveDownError: None comes in time.
        """
        expected = self.reports[transaction] = Queue()

        def wait() -> Dataset:
            try:
                return expected.get(timeout=seconds)
            except Empty:
                raise ArchiveDownError(
                    f"the archive has not said within {seconds:g} s that it keeps an answer",
                    hint="have this station's AE title, host and port entered there",
                ) from None

        try:
            yield wait
        finally:
            del self.reports[transaction]

    def store(self, event: Any) -> int:
        """Answer C-STORE: taken only when it is on disk."""
        if _title(event) not in self.senders:  # the archive, which is heard for its reports
            return _NOT_AUTHORISED
        try:
            self.received.take(event.dataset, event.encoded_dataset())
        except DiskFullError as error:
            logger.warning(f"nothing more can be taken: {error.hint}")
            return OUT_OF_RESOURCES
        except OsteonError as error:
            logger.warning(f"{_title(event)}: an instance was refused: {error.message}")
            return CANNOT_UNDERSTAND
        return SUCCESS

    def request(self, event: Any) -> tuple[int, None]:
        """Answer N-ACTION, a request for storage commitment; the report follows on a connection of its own."""
        title = _title(event)
        station = self.senders.get(title)
        if event.action_type != REQUEST:
            return _NO_SUCH_ACTION, None
        if not self.commits or station is None:
            why = "senders has no address for it" if self.commits else "nothing is kept for good (keep)"
            logger.warning(f"{title}: its request for storage commitment was refused: {why}")
            return _PROCESSING_FAILURE, None
        report = make_report(event.action_information, self.received.__contains__)
        self._reporting.submit(self._report, station, report)
        return SUCCESS, None

    def take_report(self, event: Any) -> tuple[int, None]:
        """Answer N-EVENT-REPORT, an archive's report on what this station asked for."""
        report = event.event_information
        if (expected := self.reports.get(str(report.get("TransactionUID", "")))) is not None:
            expected.put(report)
        return SUCCESS, None

    def close(self) -> None:
        """Send no more reports."""
        self._closed.set()
        self._reporting.shutdown(wait=False, cancel_futures=True)

    def _report(self, station: DimseArchive, report: Dataset) -> None:
        for attempt in range(_REPORT_ATTEMPTS):
            try:
                return send_report(station, report)
            except ArchiveDownError:
                if self._closed.wait(_REPORT_PAUSE_S * 2**attempt):
                    return None
            except OsteonError as error:
                return logger.warning(f"no report on storage commitment: {error.message}")
        return logger.warning(
            f"{station}: does not answer, so it has no report on storage commitment; it will ask again"
        )


def _title(event: Any) -> str:
    return str(event.assoc.requestor.ae_title).strip()


@contextmanager
def listening(address: tuple[str, int], settings: ArchiveSettings, listener: Listener, *, tls: bool) -> Iterator[None]:
    """Listen while the block runs.

    Args:
        address: Host and port.
        settings: Whose AE title, certificate and timeout are taken; with `ca` senders must show certificates, too.
        listener: What is done with what arrives.
        tls: Whether it is encrypted.

    Raises:
        UsageError: The port cannot be listened on, or there is no certificate.
    """
    try:
        from pynetdicom import AE, evt
        from pynetdicom.presentation import AllStoragePresentationContexts
    except ImportError:
        raise UsageError("DIMSE needs pynetdicom", hint="pip install 'osteon[archive]'") from None
    entity = AE(ae_title=settings.aet)
    entity.require_calling_aet = [*listener.senders, *([listener.archive] if listener.archive else [])]
    entity.require_called_aet = True
    entity.maximum_associations = _MOST_CONNECTIONS
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = settings.timeout
    entity.add_supported_context(_VERIFICATION)
    entity.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
    for kind in AllStoragePresentationContexts:
        entity.add_supported_context(str(kind.abstract_syntax), every_syntax())
    context = _server_tls(settings) if tls else None
    try:
        entity.start_server(
            address,
            block=False,
            ssl_context=context,
            evt_handlers=[
                (evt.EVT_C_STORE, listener.store),
                (evt.EVT_N_ACTION, listener.request),
                (evt.EVT_N_EVENT_REPORT, listener.take_report),
            ],
        )
    except OSError as error:
        raise UsageError(
            f"listen: {address[0]}:{address[1]} cannot be listened on ({error.strerror})", hint="give another port"
        ) from None
    try:
        yield
    finally:
        listener.close()
        entity.shutdown()


class _LazyHandshakeContext(ssl.SSLContext):
    """Of a server whose connections shake hands one by one: pynetdicom would do it before it hears the next."""

    timeout = 60.0

    def wrap_socket(self, sock: socket.socket, *_: Any, **__: Any) -> ssl.SSLSocket:
        """See ssl.SSLContext."""
        sock.settimeout(self.timeout)
        return super().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)


def _server_tls(settings: ArchiveSettings) -> ssl.SSLContext:
    if settings.cert is None:
        raise UsageError("listen: TLS needs a certificate", hint="give cert and key in settings")
    try:
        context = _LazyHandshakeContext(ssl.PROTOCOL_TLS_SERVER)
        context.timeout = settings.timeout
        context.load_cert_chain(settings.cert, settings.key)
        if settings.ca is not None:
            context.load_verify_locations(settings.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"listen: a certificate cannot be read ({error})", hint="give PEM files") from None
    return context
