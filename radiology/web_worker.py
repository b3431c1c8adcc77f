"""Gunicorn's worker, which gives up the ports at once when its main process is gone."""

import os

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]


class WebWorker(ThreadWorker):
    """Gunicorn's own would hold the ports for as long as a request is in hand: whoever connects meanwhile waits for
    nobody, and the next main process cannot listen.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not enabled and os.getppid() != self.ppid:
            for listener in self.sockets:
                listener.close()
