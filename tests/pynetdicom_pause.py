"""pynetdicom's associations, made to stand still while a request is sent over them.

Before it sends a request, an association asks its own thread to pause, lest that thread take the answer off
the queue; but it also takes the thread to be pausing in the moment when the thread has just passed the gate.
The answer is then thrown away ("Received unexpected C-FIND service message"), the sender waits out its time
and aborts. On a busy machine that happens to one request in fifty.
"""

import threading
from functools import wraps
from typing import Any

from pynetdicom.association import Association


class Gate:
    """The part of threading.Event that an association uses. `clear` returns once `keeper` stands at `wait`."""

    def __init__(self, keeper: threading.Thread) -> None:
        self._keeper = keeper
        self._change = threading.Condition()
        self._is_open = True
        self._is_waiting = False

    def set(self) -> None:
        with self._change:
            self._is_open = True
            self._change.notify_all()

    def clear(self) -> None:
        with self._change:
            self._is_open = False
            if threading.current_thread() is self._keeper:
                return
            while self._keeper.is_alive() and not self._is_waiting and not self._is_open:
                self._change.wait(0.05)

    def wait(self) -> None:
        with self._change:
            self._is_waiting = threading.current_thread() is self._keeper
            self._change.notify_all()
            while not self._is_open:
                self._change.wait()
            self._is_waiting = False


def stand_still() -> None:
    """Give such a gate to every association that this process requests from now on."""
    original = Association.__init__

    @wraps(original)
    def made(self: Association, ae: Any, mode: str) -> None:
        original(self, ae, mode)
        if self.is_requestor:
            self._reactor_checkpoint = Gate(self)  # type: ignore[assignment]

    Association.__init__ = made  # type: ignore[method-assign]
