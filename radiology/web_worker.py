"""Gunicorn's worker, which gives up the ports at once when its main process is gone, and sends files by itself."""

import os
from functools import partial
from typing import Any

from gunicorn.http.wsgi import Response  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from radiology.send_file import SEND_FILE, send_file


class WebWorker(ThreadWorker):
    """Gunicorn's own would hold the ports for as long as a request is in hand: whoever connects meanwhile waits for
    nobody, and the next main process cannot listen.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not enabled and os.getppid() != self.ppid:
            for listener in self.sockets:
                listener.close()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        application: Any = self.wsgi

        def called(environ: dict[str, Any], start_response: Any) -> Any:
            response: Any = getattr(start_response, "__self__", None)
            if type(response) is Response and not self.cfg.is_ssl and response.can_sendfile():
                environ[SEND_FILE] = partial(send_file, response)
            return application(environ, start_response)

        self.wsgi: Any = called
