"""The folder that stands in for a message broker where there is none: each message a file in SINAR_DATA/broker.

Kombu has such a transport, but it shows readers a message before its bytes are in it, and a worker that
meets an empty one ends. Here a file appears whole, under its name, or not at all.
"""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import structlog
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

log = structlog.get_logger(__name__)


class Channel(virtual.Channel):
    """Queues as files named `<time>_<uuid>.<queue>.msg`, oldest first; the option `folder` says where."""

    @property
    def folder(self) -> Path:
        return Path(self.connection.client.transport_options["folder"])

    def _messages(self, queue: str) -> Iterator[Path]:
        for name in sorted(os.listdir(self.folder)):
            if name.partition(".")[2] == f"{queue}.msg":
                yield self.folder / name

    def _put(self, queue: str, message: Any, **_: Any) -> None:
        path = self.folder / f"{time.time_ns()}_{uuid.uuid4()}.{queue}.msg"
        part = path.with_suffix(".part")
        part.write_text(dumps(message), encoding="utf-8")
        part.rename(path)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for path in self._messages(queue):
            try:
                text = path.read_bytes()
                path.unlink()  # whoever removes it has it
            except OSError:
                continue
            try:
                return loads(text)
            except ValueError:  # a power cut emptied it
                log.warning("unreadable message thrown away", queue=queue)
        raise Empty

    def _size(self, queue: str) -> int:
        return sum(1 for _ in self._messages(queue))

    def _purge(self, queue: str) -> int:
        messages = list(self._messages(queue))
        for path in messages:
            path.unlink(missing_ok=True)
        return len(messages)


class Transport(virtual.Transport):
    """Direct and topic exchanges, which are known to a connection once it declares them. No remote control."""

    Channel = Channel
    driver_type = driver_name = "folder"
    polling_interval = 0.2  # also how long a worker whose threads are all busy waits before it looks again

    def driver_version(self) -> str:
        return "1"
