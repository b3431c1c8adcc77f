"""Connections that are kept: requests at once, later, and from more clients than there are threads."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.daemons import Daemon

ASKED = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
def opened(web_server: Daemon, committed_db: None) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _connect(web_server: Daemon, opened: ExitStack) -> socket.socket:
    port = int(web_server.url.rpartition(":")[2].strip("/"))
    return opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))


def _answers(sock: socket.socket, count: int) -> bytes:
    came = b""
    while came.count(b"\r\n\r\nok\n") < count:
        block = sock.recv(65536)
        assert block, came
        came += block
    return came


def test_requests_in_one_piece_are_answered_in_turn(web_server: Daemon, opened: ExitStack) -> None:
    sock = _connect(web_server, opened)
    sock.sendall(3 * ASKED)
    assert _answers(sock, 3).count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("pause", [0.0, 0.005, 0.1])
def test_a_kept_connection_is_answered_soon_and_late(web_server: Daemon, opened: ExitStack, pause: float) -> None:
    sock = _connect(web_server, opened)
    for _ in range(5):
        sock.sendall(ASKED)
        _answers(sock, 1)
        time.sleep(pause)


def test_a_request_in_pieces_is_waited_for(web_server: Daemon, opened: ExitStack) -> None:
    sock = _connect(web_server, opened)
    sock.sendall(ASKED)
    _answers(sock, 1)
    sock.sendall(ASKED[:20])
    time.sleep(0.1)
    sock.sendall(ASKED[20:])
    _answers(sock, 1)


def test_clients_that_stay_take_no_thread_from_others(web_server: Daemon, opened: ExitStack) -> None:
    staying = [_connect(web_server, opened) for _ in range(60)]
    for sock in staying:
        sock.sendall(ASKED)
    for sock in staying:
        _answers(sock, 1)
    sock = _connect(web_server, opened)
    for _ in range(20):
        sock.sendall(ASKED)
        _answers(sock, 1)
    for sock in staying:  # they are not forgotten meanwhile
        sock.sendall(ASKED)
        _answers(sock, 1)
