"""Sending objects as others do: C-STORE over an association, STOW-RS with a bearer token."""

import http.client
import json
import socket
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

from django.utils.translation import gettext as _
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from radiology.errors import NotAllowed, RadiologyError, Unreachable

BOUNDARY = "sinar-demo-7c1d"
NOT_AUTHORIZED = 0x0124  # PS3.7 Annex C
FAILED_SOP_SEQUENCE, FAILURE_REASON = "00081198", "00081197"


class NotStored(RadiologyError):
    """The archive answered an object with a failure."""


def _send_at_once(event: Any) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def c_store(
    objects: Iterable[Dataset],
    *,
    contexts: Iterable[tuple[str, str]],
    host: str,
    port: int,
    called_ae_title: str,
    calling_ae_title: str,
) -> int:
    """Send `objects` over one association (PS3.4 B); how many. Raises Unreachable, NotAllowed or NotStored."""
    ae = AE(ae_title=calling_ae_title)
    ae.connection_timeout = 10
    ae.acse_timeout = ae.dimse_timeout = 60
    association = ae.associate(
        host,
        port,
        contexts=[build_context(sop_class, transfer_syntax) for sop_class, transfer_syntax in contexts],
        ae_title=called_ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
    )
    where = f"{host}:{port}"
    refused = NotAllowed(
        _("The DICOM daemon on %(where)s takes nothing from %(title)s: look at that node in the administration.")
        % {"where": where, "title": calling_ae_title}
    )
    if association.is_rejected or association.rejected_contexts:
        association.abort()
        raise refused
    if not association.is_established:
        raise Unreachable(
            _("The DICOM daemon does not answer on %(where)s: start it with `manage.py dimse` or `make run`.")
            % {"where": where}
        )
    sent = 0
    try:
        for ds in objects:
            try:
                status = association.send_c_store(ds)
            except (ValueError, RuntimeError) as error:  # no accepted context, or the association is gone
                raise NotStored(
                    _("%(uid)s could not be sent: %(why)s") % {"uid": ds.SOPInstanceUID, "why": error}
                ) from error
            if "Status" not in status:
                raise Unreachable(_("The DICOM daemon on %(where)s ended the association.") % {"where": where})
            if status.Status == NOT_AUTHORIZED:
                raise refused
            if status.Status != 0x0000 and status.Status & 0xF000 != 0xB000:
                raise NotStored(
                    _("%(uid)s was refused with status %(status)s: the daemon's log says why.")
                    % {"uid": ds.SOPInstanceUID, "status": f"0x{status.Status:04X}"}
                )
            sent += 1
    finally:
        if association.is_established:
            association.release()
        else:
            association.abort()
    return sent


def stow(objects: Iterable[Dataset], *, host: str, port: int, token: str) -> int:
    """Store `objects` in one request (PS3.18 10.5); how many they were. Raises Unreachable, NotAllowed or NotStored."""
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for ds in objects:
            sent += 1
            yield f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            yield _part10(ds)
            yield b"\r\n"
        yield f"--{BOUNDARY}--\r\n".encode()

    where = f"http://{host}:{port}"
    connection = http.client.HTTPConnection(host, port, timeout=120)
    try:
        connection.request(
            "POST",
            "/dicom-web/studies",
            body=body(),
            encode_chunked=True,
            headers={
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
                "Accept": "application/dicom+json",
                "Authorization": f"Bearer {token}",
                "Transfer-Encoding": "chunked",
            },
        )
        response = connection.getresponse()
        answer = response.read()
    except OSError as error:
        raise Unreachable(
            _("The web server does not answer on %(where)s: start it with `make run`.") % {"where": where}
        ) from error
    finally:
        connection.close()
    _check(response.status, answer, where)
    return sent


def _part10(ds: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _check(status: int, answer: bytes, where: str) -> None:
    if status in (401, 403):
        raise NotAllowed(_("The web server on %(where)s did not accept the demo's token.") % {"where": where})
    reasons: list[str] = []
    if status in (200, 202, 409):
        try:
            failed = json.loads(answer or b"{}").get(FAILED_SOP_SEQUENCE, {}).get("Value", [])
        except (ValueError, AttributeError):
            failed = [{}]
        reasons = [f"0x{(item.get(FAILURE_REASON, {}).get('Value') or [0])[0]:04X}" for item in failed]
    if status not in (200, 202) or reasons:
        raise NotStored(
            _("The web server on %(where)s answered %(status)s%(reasons)s: its log says why.")
            % {"where": where, "status": status, "reasons": f" ({', '.join(reasons)})" if reasons else ""}
        )
