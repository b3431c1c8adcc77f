"""The web server's main process is killed: its workers give up the ports at once, and finish what is in hand."""

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.daemons import Daemon, accepts, wait_until, web_daemon

GIVEN_UP_SECONDS = 5.0


@pytest.fixture
def web(committed_db) -> Iterator[Daemon]:
    daemon = web_daemon().start()
    yield daemon
    daemon.kill()


def test_workers_whose_main_process_is_killed_give_up_the_port_and_answer_what_is_in_hand(web):
    wait_until(lambda: len(web.pids) == 2, what="both workers")
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as busy:
        busy.sendall(b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\na=")
        wait_until(lambda: accepts(web.port), what="the worker has taken the connection")
        os.kill(web.pid, signal.SIGKILL)
        wait_until(lambda: not accepts(web.port), seconds=GIVEN_UP_SECONDS, what="the workers give up the port")
        second = web_daemon(port=web.port).start()
        try:
            busy.sendall(b"b;")
            assert busy.recv(65536).startswith(b"HTTP/1.1 403")  # no CSRF token; it was answered
        finally:
            second.stop()
