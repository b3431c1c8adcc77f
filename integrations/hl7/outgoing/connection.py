"""One connection to a peer, over MLLP and, where it wants, TLS: messages out, what it says in return."""

import socket
import ssl
import time
from collections.abc import Iterator

from django.conf import settings
from django.utils.translation import gettext as _

from integrations.hl7.message import Message, parse
from integrations.hl7.mllp import BadFrame, Framer, TokenRequest, frame
from integrations.models import Hl7Peer
from radiology.errors import CannotUnderstand, Unreachable

BLOCK = 64 * 1024
LARGEST_ANSWER = 1024 * 1024
# What is waited for must end well within a job's lease.
MOST_PATIENCE = 30.0


def patience() -> float:
    """So many seconds an answer may take."""
    return float(min(settings.HL7["ANSWER_SECONDS"], MOST_PATIENCE))


class NoAnswer(Unreachable):
    """The message went out, and no answer came: whether it was taken in is not known."""


class Closed(NoAnswer):
    """The peer closed the connection instead."""


class Connection:
    """Open from the beginning. `said` are messages of the peer, in order, each with its bytes. Raises Unreachable."""

    def __init__(self, peer: Hl7Peer) -> None:
        self._peer = peer
        self._framer = Framer(LARGEST_ANSWER)
        self._socket = self._open()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: bytes) -> None:
        """Raises Closed when the peer has gone."""
        try:
            self._socket.settimeout(patience())
            self._socket.sendall(frame(message))
        except TimeoutError as error:
            raise NoAnswer(self._silence()) from error
        except OSError as error:
            raise Closed(self._closed()) from error

    def said(self, *, seconds: float) -> Iterator[tuple[bytes, Message]]:
        """What the peer says, as it comes. Raises NoAnswer when `seconds` have passed, Closed when it closes.

        What is no HL7 is passed over; what is no MLLP is as good as a closed connection.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                raw = self._framer.next_message()
            except BadFrame as error:
                raise Closed(self._no_mllp()) from error
            if isinstance(raw, TokenRequest):
                raise Closed(self._no_mllp())
            if raw is None:
                self._read(deadline)
                continue
            try:
                message = parse(raw, character_set=self._peer.sent_character_set)
            except CannotUnderstand:
                continue
            yield raw, message

    def _no_mllp(self) -> str:
        return _("%(peer)s answered with something else than MLLP.") % {"peer": self._peer}

    def is_gone(self) -> bool:
        """Whether the peer has closed meanwhile, as some do after each answer."""
        try:
            self._socket.settimeout(0.0)
            received = self._socket.recv(BLOCK)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        self._framer.feed(received)
        return not received

    def _read(self, deadline: float) -> None:
        try:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            received = self._socket.recv(BLOCK)
        except TimeoutError as error:
            raise NoAnswer(self._silence()) from error
        except OSError as error:
            raise Closed(self._closed()) from error
        if not received:
            raise Closed(self._closed())
        self._framer.feed(received)

    def _open(self) -> socket.socket:
        peer, seconds = self._peer, min(settings.HL7["CONNECT_SECONDS"], MOST_PATIENCE)
        place = {"peer": peer.name, "host": peer.destination_host, "port": peer.destination_port}
        try:
            plain = socket.create_connection((peer.destination_host, peer.destination_port), timeout=seconds)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not peer.destination_tls:
                return plain
            try:
                return _tls_context().wrap_socket(plain, server_hostname=peer.destination_host)
            except BaseException:
                plain.close()
                raise
        except ssl.SSLCertVerificationError as error:
            why = {**place, "why": error.verify_message}
            raise Unreachable(_("The certificate of %(peer)s is not trusted: %(why)s.") % why) from error
        except ssl.SSLError as error:
            raise Unreachable(_("%(peer)s speaks no TLS at %(host)s port %(port)d.") % place) from error
        except (OSError, UnicodeError) as error:
            raise Unreachable(_("%(peer)s does not answer at %(host)s port %(port)d.") % place) from error

    def _silence(self) -> str:
        return _("%(peer)s gave no answer within %(seconds)d seconds.") % {"peer": self._peer, "seconds": patience()}

    def _closed(self) -> str:
        return _("%(peer)s closed the connection without an answer.") % {"peer": self._peer}


def _tls_context() -> ssl.SSLContext:
    """Certificates are verified; ours is shown when the deployment has one (IHE ITI-19)."""
    context = ssl.create_default_context(cafile=settings.HL7["SENDER_TLS_CA"] or None)
    if settings.HL7["SENDER_TLS_CERTIFICATE"]:
        context.load_cert_chain(settings.HL7["SENDER_TLS_CERTIFICATE"])
    return context
