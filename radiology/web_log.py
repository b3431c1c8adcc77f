"""Gunicorn's own messages, as JSON lines that quote no request."""

from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from radiology.log import json_formatter


class WebLogger(Logger):
    """Gunicorn's logger; its errors would show whole request lines and the texts of exceptions."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(json_formatter())
