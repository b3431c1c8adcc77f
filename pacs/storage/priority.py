"""Lets others read first: the input and output priority of a thread (Linux, ioprio_set(2))."""

import contextlib
import ctypes
import platform
from collections.abc import Iterator

# System call numbers of ioprio_set and ioprio_get.
CALLS = {"x86_64": (251, 252), "aarch64": (30, 31)}
THIS_THREAD = (1, 0)
BEST_EFFORT_LAST = (2 << 13) | 7


@contextlib.contextmanager
def low_priority() -> Iterator[None]:
    """Within, this thread's reading waits behind that of others; where that cannot be had, nothing changes."""
    calls = CALLS.get(platform.machine())
    if platform.system() != "Linux" or calls is None:
        yield
        return
    system = ctypes.CDLL(None, use_errno=True).syscall
    before = system(calls[1], *THIS_THREAD)
    system(calls[0], *THIS_THREAD, BEST_EFFORT_LAST)
    try:
        yield
    finally:
        if before >= 0:
            system(calls[0], *THIS_THREAD, before)
