"""STOW-RS (PS3.18 10.5): objects come in, in parts or alone, straight from the request's stream to the store."""

from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase

from pacs.dicomweb.access import DicomWebView
from pacs.dicomweb.addresses import root_url
from pacs.dicomweb.media_types import DICOM, MULTIPART, MediaRange, accepted, parse_accept, picture_type
from pacs.dicomweb.multipart import State, Truncated, read_parts
from pacs.dicomweb.outcome import TYPES, Failure, StoreReport
from pacs.dicomweb.store_batch import Batch, failure_of, finish
from pacs.dicomweb.store_metadata import METADATA_TYPES, store_described
from pacs.services.store import Incoming, Source, receive_part10
from pacs.storage import CurrentVolume
from radiology.authentication import SessionAuthentication
from radiology.dicom import is_uid
from radiology.errors import InvalidValue, NotAcceptable, RadiologyError, TooLarge, UnsupportedMediaType
from radiology.models import AuditAction, Site
from radiology.services import audit

log = structlog.get_logger(__name__)

BLOCK = 1 << 20
# One request may bring a whole study of large objects, but not the archive.
LARGEST_BODY = 64 * 1024**3
HEAD_ROOM = 64 * 1024
SILENCE = 60.0
CANNOT_UNDERSTAND = 0xC000


class StoreInstances(DicomWebView):
    """`POST /studies` and `/studies/{study}`."""

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """A form would be parsed by whoever first looks for a CSRF token in it: its type is refused before."""
        if request.content_type not in {DICOM, MULTIPART}:
            request.content_type = ""
        return super().initialize_request(request, *args, **kwargs)

    def post(self, request: Any, study: str = "") -> HttpResponseBase:
        media = _media(request)
        answer_type = picture_type(accepted(request), TYPES)
        if answer_type is None:
            raise NotAcceptable("The outcome is sent as application/dicom+json or application/dicom+xml.")
        if study and not is_uid(study):
            raise InvalidValue("The study in the address is no UID.", field="study")
        _require_size(request, multipart=media.is_multipart)
        source = Source.of_site(Site.objects.get(pk=request.user.site_id))
        base_url = root_url(request)
        report = StoreReport(base_url)
        by_session = isinstance(request.successful_authenticator, SessionAuthentication)
        batch = Batch(report, request.user if by_session else None)
        read = _reader(request)
        try:
            if media.inner in METADATA_TYPES:
                store_described(
                    read=read, boundary=media.parameters["boundary"], source=source, study=study, batch=batch
                )
            elif media.is_multipart:
                _store_parts(read, media, source, study, batch)
            else:
                _store_alone(read, source, study, batch)
            batch.store()
        except (Truncated, UnreadablePostError, OSError) as error:
            log.info("STOW body truncated", stored=report.stored, reason=type(error).__name__)
            batch.store()
            if not report.stored:
                raise InvalidValue("The body ends before it is complete.") from error
            report.fail(Failure(CANNOT_UNDERSTAND, "The body ends before it is complete."))
        finally:
            batch.discard()
        if not report.items:
            raise InvalidValue("The body holds no DICOM object.")
        self._record(request, report)
        return HttpResponse(report.body(answer_type[0]), content_type=answer_type[0], status=report.status)

    @staticmethod
    def _record(request: Any, report: StoreReport) -> None:
        for study, count in report.studies.items():
            audit.record(
                event="dicomweb.store",
                action=AuditAction.CREATE,
                who=request.user,
                address=audit.address_of(request),
                study_instance_uid=study,
                detail={"instances": count},
            )
        log.info("STOW", stored=report.stored, failed=report.failed, status=report.status)


def _media(request: Any) -> MediaRange:
    """What the body is. Raises UnsupportedMediaType for what STOW does not take."""
    try:
        found = parse_accept(request.META.get("CONTENT_TYPE", ""))
    except InvalidValue as error:
        raise UnsupportedMediaType("The Content-Type cannot be understood.") from error
    media = found[0] if found else MediaRange("")
    if media.type not in {DICOM, MULTIPART} or media.inner not in {DICOM, "*/*", *METADATA_TYPES}:
        raise UnsupportedMediaType(
            'Send application/dicom, or multipart/related with type="application/dicom", "application/dicom+json" '
            'or "application/dicom+xml".'
        )
    if media.is_multipart and not media.parameters.get("boundary"):
        raise InvalidValue("The Content-Type names no boundary.", field="boundary")
    return media


def _require_size(request: Any, *, multipart: bool) -> None:
    try:
        announced = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError as error:
        raise InvalidValue("The Content-Length is no number.", field="Content-Length") from error
    if announced > (LARGEST_BODY if multipart else settings.SINAR_MAX_OBJECT_SIZE + HEAD_ROOM):
        raise TooLarge("The body is larger than what is taken in one request.")


def _reader(request: Any) -> Callable[[int], bytes]:
    """The request's stream. Without a length (chunked), the server's own, which knows where it ends."""
    plain = request._request
    if connection := plain.META.get("gunicorn.socket"):
        connection.settimeout(SILENCE)  # a sender that vanished must not hold a thread for good
    if plain.META.get("wsgi.input_terminated") and not plain.META.get("CONTENT_LENGTH"):
        return plain.META["wsgi.input"].read
    return plain.read


def _store_parts(read: Callable[[int], bytes], media: MediaRange, source: Source, study: str, batch: Batch) -> None:
    """Each part on its own: a bad one never ends the others."""
    incoming: Incoming | None = None
    failure: Failure | None = None
    volume = CurrentVolume()
    try:
        for event in read_parts(read=read, boundary=media.parameters["boundary"]):
            if event.state is State.BEGIN:
                failure = _unfit(event.headers or {})
                if failure is None:
                    try:
                        incoming = receive_part10(source=source, volume=volume())
                    except RadiologyError as error:
                        failure = failure_of(error)
            elif event.state is State.DATA:
                if incoming is not None and event.data is not None:
                    try:
                        incoming.write(event.data)
                    except RadiologyError as error:
                        failure = failure_of(error)
                        incoming.__exit__(None, None, None)
                        incoming = None
            else:
                if incoming is not None:
                    failure = finish(incoming, study, batch)
                    incoming = None
                if failure is not None:
                    batch.report.fail(failure)
    finally:
        if incoming is not None:
            incoming.__exit__(None, None, None)


def _store_alone(read: Callable[[int], bytes], source: Source, study: str, batch: Batch) -> None:
    incoming = receive_part10(source=source)
    failure: Failure | None = None
    with incoming:
        while chunk := read(BLOCK):
            if failure is None:
                try:
                    incoming.write(chunk)
                except TooLarge:
                    raise
                except RadiologyError as error:
                    failure = failure_of(error)
        failure = failure or finish(incoming, study, batch)
    if failure is not None:
        batch.report.fail(failure)


def _unfit(headers: dict[str, str]) -> Failure | None:
    """Whether a part is something else than a DICOM object in plain bytes."""
    try:
        found = parse_accept(headers.get("content-type", DICOM))
    except InvalidValue:
        found = []
    if not found or found[0].type != DICOM:
        return Failure(CANNOT_UNDERSTAND, "This part is not application/dicom.")
    if headers.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
        return Failure(CANNOT_UNDERSTAND, "This part is not in plain bytes.")
    return None
