"""Gunicorn's own messages, as JSON lines that quote no request, and the line of each request."""

import time
from functools import lru_cache
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from radiology.log import json_formatter


class WebLogger(Logger):
    """Gunicorn's logger; its errors would show whole request lines and the texts of exceptions."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(json_formatter())

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> dict[str, Any]:
        """What `access_log_format` names (deploy/gunicorn.conf.py); all that may be named takes as long as parsing."""
        return {
            "t": _moment(int(time.time())),
            "h": environ.get("REMOTE_ADDR", "-"),
            "m": environ.get("REQUEST_METHOD"),
            "U": environ.get("PATH_INFO"),
            "s": str(resp.status).split(None, 1)[0],
            "B": resp.sent,
            "M": request_time.seconds * 1000 + request_time.microseconds // 1000,
        }


@lru_cache(1)
def _moment(seconds: int) -> str:
    return time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(seconds))
