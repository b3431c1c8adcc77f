"""The web server loses its main process or a worker: ports are given up at once, requests in hand finished."""

import http.client
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

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


def test_a_killed_worker_is_replaced_by_one_that_has_nothing_to_load(web):
    wait_until(lambda: len(web.pids) == 2, what="both workers")
    killed, other = web.pids
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(web.pids) == 2 and killed not in web.pids, what="a new worker")
    (new,) = set(web.pids) - {other}
    os.kill(other, signal.SIGSTOP)  # so that the new one answers
    try:
        assert requests.get(f"{web.url}/readyz", timeout=30).status_code == 200
    finally:
        os.kill(other, signal.SIGCONT)
    assert seconds_of_cpu(new) < seconds_of_cpu(web.pid) / 2  # the main process is who has loaded everything


def seconds_of_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_client_that_keeps_asking_is_sent_to_the_next_server(web):
    wait_until(lambda: len(web.pids) == 2, what="both workers")
    orphans = web.pids
    with closing(http.client.HTTPConnection(web.host, web.port, timeout=20)) as client:
        client.request("GET", "/healthz")
        client.getresponse().read()
        os.kill(web.pid, signal.SIGKILL)
        answer = None
        for _ in range(2_000):
            client.request("GET", "/healthz")
            answer = client.getresponse()
            answer.read()
            if answer.will_close:
                break
            time.sleep(0.005)
        assert answer is not None and answer.status == 200 and answer.will_close, "no connection was cut, all were told"
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), seconds=30, what="the orphans' end")
