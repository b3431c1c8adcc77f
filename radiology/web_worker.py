"""Gunicorn's worker: a shorter way to the next request, files that the kernel sends, ports given up at once."""

import os
import select
from functools import partial
from typing import Any

from gunicorn.http.wsgi import Response  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from radiology.send_file import SEND_FILE, send_file
from radiology.web_response import Together

# A client that asks one thing after another sends the next within this time of our answer.
NEXT_SECONDS = 0.02


class WebWorker(ThreadWorker):
    """Gunicorn's own gives a connection back to its main thread after each answer, and gets it from there again with
    the next request: that takes as long as a small answer. Here a thread stays for a moment, while others are free.

    And an orphan would hold the ports for as long as a request is in hand: whoever connects meanwhile waits for nobody,
    and the next main process cannot listen. Nor would it tell clients that keep asking to come back by another
    connection, and so cut them off at last.
    """

    def handle(self, conn: Any) -> Any:
        while (kept := super().handle(conn)) is True and self.alive and not conn.is_http2 and self._has_next(conn):
            pass
        return kept

    def _has_next(self, conn: Any) -> bool:
        """Whether the client's next request begins to come at once; not asked while half of the threads are taken."""
        if conn.parser.unreader.buf.getvalue():
            return True
        if self.nr_conns - len(self.keepalived_conns) - len(self.pending_conns) > self.cfg.threads // 2:
            return False
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        return bool(poll.poll(NEXT_SECONDS * 1000))

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not enabled and os.getppid() != self.ppid:
            self.alive = False
            for listener in self.sockets:
                listener.close()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        application: Any = self.wsgi

        def called(environ: dict[str, Any], start_response: Any) -> Any:
            response: Any = getattr(start_response, "__self__", None)
            if type(response) is Response:
                response.__class__ = Together
                if not self.cfg.is_ssl and response.can_sendfile():
                    environ[SEND_FILE] = partial(send_file, response)
            return application(environ, start_response)

        self.wsgi: Any = called
