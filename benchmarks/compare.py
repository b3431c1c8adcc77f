"""The command line and the order of things: start the servers, load them, run each row in turn, report."""

import argparse
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import dcmtk, machine, report
from benchmarks.command_line import main_of
from benchmarks.objects import Objects
from benchmarks.report import Result
from benchmarks.rows import Bench, Row, all_rows
from benchmarks.servers import Server, free_port
from benchmarks.servers.orthanc import Orthanc, OrthancPostgreSQL
from benchmarks.servers.sinar import Sinar
from deploy.project import ROOT
from deploy.screen import Screen, SetUpFailed

PEERS: dict[str, list[type[Server]]] = {
    "sqlite": [Orthanc],
    "postgresql": [OrthancPostgreSQL],
    "both": [Orthanc, OrthancPostgreSQL],
    "none": [],
}
# Of SINAR_DATA: what the set-up made and the next start would make again.
SET_UP = {"www", "ohif", "static", "static.stamp"}
GIGABYTES_NEEDED = 40
# Jobs of new studies are over by then: they belong to no row that reads.
SETTLE_SECONDS = 30.0


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Sinar and Orthanc side by side.")
    parser.add_argument("--rows", default="", help="only rows whose name contains one of these, comma separated")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each row, after one that is not (5)")
    parser.add_argument("--peer", choices=PEERS, default="both", help="whom to compare with (both)")
    parser.add_argument("--data", type=Path, default=ROOT / "var" / "bench", help="where objects and servers lie")
    parser.add_argument("--results", type=Path, help="where to write the table (all rows: benchmarks/RESULTS.md)")
    parser.add_argument("--keep", action="store_true", help="leave the servers running until Ctrl-C")
    parser.add_argument("--list", action="store_true", help="name the rows, and no more")
    return parser.parse_args(arguments)


def chosen_rows(wanted: str) -> list[type[Row]]:
    parts = [part.strip().lower() for part in wanted.split(",") if part.strip()]
    rows = [row for row in all_rows() if not parts or any(part in row.name.lower() for part in parts)]
    if not rows:
        raise SetUpFailed(f"No row's name contains {wanted}: --list names them.")
    return rows


@contextlib.contextmanager
def running(servers: list[Server], screen: Screen) -> Iterator[None]:
    """All servers, started one after another and ended whatever happens."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            with screen.step(f"Starting {server.name}"):
                server.start()
            stack.callback(server.stop)
        yield


def load(server: Server, objects: Objects) -> None:
    """What the rows that read ask for."""
    dcmtk.store(server, objects.ct.folder, objects.tiny.folder)
    compressed = [path.read_bytes() for path in objects.compressed.files]
    for body in compressed:  # storescu would need to be told the transfer syntax
        kind = 'multipart/related; type="application/dicom"; boundary=load'
        framed = b"--load\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n--load--\r\n"
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        answer = server.http.request("POST", f"{server.dicomweb}/studies", body=framed, headers=headers)
        if answer.status != 200:
            raise SetUpFailed(f"{server.name} did not store a JPEG Lossless image: {answer.body[:300]!r}")


def measure(row: Row, servers: Sequence[Server], runs: int, screen: Screen) -> Result:
    """The first run warms up and is not counted. Each run begins with another server."""
    result = Result(type(row))
    if row.only_ours:
        servers = servers[:1]
    try:
        for run in range(runs + 1):
            row.prepare()
            for server in [*servers[run % len(servers) :], *servers[: run % len(servers)]]:
                if server.name in result.failures:
                    continue
                row.before(server)
                os.sync()  # what others wrote must not be written at this one's cost
                cpu, began = server.cpu(), time.perf_counter()
                try:
                    outcome = row.work(server)
                    seconds = (time.perf_counter() - began) / row.pieces
                    cpu = (server.cpu() - cpu) / row.pieces
                    row.check(server, outcome)
                except Exception as error:  # whatever is wrong with this answer, the others are worth knowing
                    result.failures[server.name] = f"{type(error).__name__}: {str(error)[:500]}"
                    result.seconds.pop(server.name, None)
                    result.cpu.pop(server.name, None)
                    screen.say(f"    {server.name}: {error}")
                    continue
                if run:
                    result.seconds.setdefault(server.name, []).append(seconds)
                    result.cpu.setdefault(server.name, []).append(cpu)
    finally:
        row.close()
    return result


def compare(chosen: argparse.Namespace) -> int:
    screen = Screen()
    rows = chosen_rows(chosen.rows)
    if chosen.list:
        screen.say("\n".join(row.name for row in rows))
        return 0
    folder: Path = chosen.data.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # as root, databases run as a user of their own that passes through
    if shutil.disk_usage(folder).free < GIGABYTES_NEEDED * 1024**3:
        raise SetUpFailed(f"Less than {GIGABYTES_NEEDED} GB are free at {folder}: choose another folder with --data.")
    objects = Objects(folder / "objects")
    with screen.step("Objects"):
        for each in objects.sets:
            each.prepare()
    received = folder / "received"
    port = free_port()
    kinds: list[type[Server]] = [Sinar, *PEERS[chosen.peer]]
    servers = [kind(folder / kind.__name__.lower(), receiver_port=port) for kind in kinds]
    empty(servers, received)
    results = []
    began = datetime.now(UTC)
    with running(servers, screen), dcmtk.receiver(port, received):
        if any(row.reads for row in rows):
            for server in servers:
                with screen.step(f"Loading {server.name}"):
                    load(server, objects)
            with screen.step("What follows from storing"):
                time.sleep(SETTLE_SECONDS)
        facts = {
            "Machine": machine.describe(folder),
            "Servers": [server.version() for server in servers],
        }
        names = [server.name for server in servers]
        before = machine.load()
        clients = dcmtk.run("storescu", "--version").splitlines()[0].strip("$ ")
        to = chosen.results or (None if chosen.rows else ROOT / "benchmarks" / "RESULTS.md")
        for row in rows:
            with screen.step(row.name):
                results.append(measure(row(Bench(objects, received)), servers, chosen.runs, screen))
            facts["Run"] = [
                f"{began:%Y-%m-%d %H:%M} UTC, in {(datetime.now(UTC) - began).seconds // 60} minutes",
                f"{chosen.runs} runs of each row, after one that is not counted",
                f"Load average before the first row {before}, after the last {machine.load()}",
                f"{clients}; TCP_NODELAY=1 for them and for Orthanc",
            ]
            if to:  # after each row: what was measured outlives a run that is cut short
                report.write(to, results, names, facts)
        screen.say("\n" + report.for_screen(results, names))
        if to:
            screen.say(f"\nWritten to {to}")
        if chosen.keep:
            keep(servers, screen)
    empty(servers, received)
    return 1 if any(result.failures for result in results) else 0


def keep(servers: Sequence[Server], screen: Screen) -> None:
    for server in servers:
        screen.say(f"{server.name}: http://127.0.0.1:{server.http_port} DICOM {server.dicom_port} in {server.folder}")
    screen.say("Ctrl-C stops all.")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def empty(servers: Sequence[Server], received: Path) -> None:
    """Each run begins from nothing; the objects and what the set-up made stay."""
    shutil.rmtree(received, ignore_errors=True)
    received.mkdir()
    for server in servers:
        server.folder.mkdir(exist_ok=True, mode=0o711)
        for path in server.folder.iterdir():
            if path.name not in SET_UP:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def main() -> int:
    return main_of(compare, options)
