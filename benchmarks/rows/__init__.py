"""What is measured. A row is a small class; to add one, write it in the module it belongs to and name it in its ROWS.

For each run of a row: `prepare` once, then for each server `before`, `work` (only this is timed) and `check`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.objects import Objects
from benchmarks.servers import Server


class Wrong(Exception):
    """A server's answer is not what it must be: its time would mean nothing."""


def expect(is_right: bool, what: object) -> None:
    """Raise Wrong unless it is right."""
    if not is_right:
        raise Wrong(str(what))


@dataclass
class Bench:
    """What rows share: the objects, of which every server holds `ct`, `tiny` and `compressed` as the first run, and
    the folder that dcmtk's programs write to.
    """

    objects: Objects
    received: Path

    def empty_received(self) -> None:
        for path in self.received.iterdir():
            path.unlink()


class Row:
    """`goal` is how many times as fast as the peer we aim at being; for what only we have, `seconds` at most.
    `reads`: it asks for what the servers were loaded with.

    `pieces` is how many times `work` does the same: the table gives the time of one.
    """

    name: str
    goal = 1.0
    then = ""
    only_ours = False
    seconds: float | None = None
    reads = True
    pieces = 1

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.objects = bench.objects

    def prepare(self) -> None:
        """Once for each run, before any server."""

    def before(self, server: Server) -> None:
        """For each server, before its work."""

    def work(self, server: Server) -> Any:
        """What is timed. What it returns goes to `check`."""
        raise NotImplementedError

    def check(self, server: Server, result: Any) -> None:
        """Raise Wrong unless the work was done rightly."""
        raise NotImplementedError

    def close(self) -> None:
        """After the last run."""


def all_rows() -> list[type[Row]]:
    """Rows that read come first: they count what is there, and those that store add to it."""
    from benchmarks.rows import dimse_retrieve, dimse_store, fetching, own, searching, storing

    modules = (searching, fetching, dimse_retrieve, own, storing, dimse_store)
    return [row for module in modules for row in module.ROWS]
