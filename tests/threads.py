"""Doing things at once, each on a database connection of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections


def run_all(things: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each returned, or the exception that it raised, in their order."""

    def run(thing: Callable[[], Any]) -> Any:
        try:
            return thing()
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(things)) as pool:
        return list(pool.map(run, things))
