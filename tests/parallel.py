"""Running one function in many threads at once, each with a database connection of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

Result = TypeVar("Result")


def at_once(function: Callable[[int], Result], *, threads: int) -> list[Result]:
    """The results of `function(0)`, `function(1)`, …, all begun at the same moment."""
    barrier = threading.Barrier(threads)

    def run(number: int) -> Result:
        try:
            barrier.wait(10)
            return function(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))
