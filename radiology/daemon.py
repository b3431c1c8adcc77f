"""The main process of a daemon: binds the ports, keeps the workers alive, ends them gracefully.

It has no threads and no database connection, so that forking is safe at any moment. The workers share
the listening sockets by inheritance: a connection that waits to be accepted is lost with no worker.
"""

import ctypes
import errno
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

import structlog

log = structlog.get_logger(__name__)

BACKLOG = 1024
BIND_SECONDS = 5.0
SHORT_LIFE = 5.0
LONGEST_PAUSE = 30.0
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}


class CannotListen(Exception):
    """A port cannot be had; the text says which and what to do."""


def listen(address: str, ports: Sequence[int], *, setting: str) -> list[socket.socket]:
    """Sockets that listen on the ports, which `setting` names. A port that is just being given up is waited for."""
    return [_listen(address, port, setting) for port in ports]


def _listen(address: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    until = time.monotonic() + BIND_SECONDS
    while True:
        try:
            return socket.create_server((address, port), family=family, backlog=BACKLOG, dualstack_ipv6=address == "::")
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < until:
                time.sleep(0.2)
                continue
            why = {
                errno.EADDRINUSE: f"another program uses it: stop that one, or set {setting}",
                errno.EACCES: f"ports below 1024 need a right: set {setting}, or grant CAP_NET_BIND_SERVICE",
                errno.EADDRNOTAVAIL: "this machine has no such address: set SINAR_BIND",
            }.get(error.errno or 0, os.strerror(error.errno or 0))
            raise CannotListen(f"Cannot listen on {address} port {port}: {why}.") from None


class Server:
    """`run` serves until SIGTERM or SIGINT: it keeps a process for each of `works`, and one for `helper`.

    One that is asked to end has `stop_seconds` to finish what is in hand; the helper is asked when the others
    have ended. `name` is the daemon's word in the log, and with "helper" what the system calls that process.
    """

    def __init__(
        self,
        name: str,
        listeners: Sequence[socket.socket],
        works: Sequence[Callable[[], None]],
        *,
        stop_seconds: float,
        helper: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._listeners = listeners
        self._works = [*works, *([helper] if helper else [])]
        self._helper = len(works) if helper else None  # its place
        self._stop_seconds = stop_seconds
        self._workers: dict[int, tuple[int, float]] = {}  # process id: its place in `works`, when it began
        self._pause = 0.0
        self._next_start = 0.0

    def run(self) -> None:
        _raise_descriptor_limit()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        while True:
            while len(self._workers) < len(self._works) and time.monotonic() >= self._next_start:
                taken = {place for place, _began in self._workers.values()}
                self._start_worker(next(place for place in range(len(self._works)) if place not in taken))
            received = signal.sigtimedwait(SIGNALS, 0.5)
            if received is not None and received.si_signo != signal.SIGCHLD:
                break
            self._collect()
        self._end()

    def _start_worker(self, place: int) -> None:
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._workers[pid] = place, time.monotonic()
            return
        _run_child(self._name, self._works[place], parent, is_helper=place == self._helper)

    def _collect(self) -> None:
        for pid in _exited():
            known = self._workers.pop(pid, None)
            if known is None:
                continue
            lived = time.monotonic() - known[1]
            self._pause = min(max(1.0, self._pause * 2), LONGEST_PAUSE) if lived < SHORT_LIFE else 0.0
            self._next_start = time.monotonic() + self._pause
            log.error(f"{self._name}_worker_died", worker=pid, lived=round(lived, 1), pause=self._pause)

    def _end(self) -> None:
        for listener in self._listeners:
            listener.close()
        helper = {pid for pid, (place, _began) in self._workers.items() if place == self._helper}
        self._end_all(set(self._workers) - helper)
        self._end_all(helper)
        log.info(f"{self._name}_ended")

    def _end_all(self, left: set[int]) -> None:
        until = time.monotonic() + self._stop_seconds + 5
        number = signal.SIGTERM
        while left := left & self._workers.keys():
            for pid in left:
                os.kill(pid, number)
            while left & self._workers.keys() and time.monotonic() < until:
                signal.sigtimedwait({signal.SIGCHLD}, 0.2)
                for pid in _exited():
                    self._workers.pop(pid, None)
            number, until = signal.SIGKILL, time.monotonic() + 2


def _run_child(name: str, work: Callable[[], None], parent: int, *, is_helper: bool) -> None:
    """Do `work` in this forked process and end it, never returning into the parent's code."""
    status = 1
    try:
        # A worker whose parent is gone would keep the port from the next one.
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if is_helper:
            libc.prctl(PR_SET_NAME, f"{name} helper".encode())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if os.getppid() == parent:
            work()
            status = 0
    except BaseException as error:
        log.exception(f"{name}_worker_failed", exc_info=error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _exited() -> list[int]:
    gone: list[int] = []
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return gone
        if not pid:
            return gone
        gone.append(pid)


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
