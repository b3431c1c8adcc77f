"""`make scale`: the same questions at 1,000, 100,000 and 1,000,000 studies, and what the largest costs more."""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg

from benchmarks import dcmtk, machine
from benchmarks.objects import Objects
from benchmarks.report import written
from benchmarks.rows import Wrong
from benchmarks.scale.questions import QUESTIONS, Department
from benchmarks.servers import free_port
from benchmarks.servers.sinar import Sinar
from deploy import project
from deploy.project import ROOT
from deploy.screen import Screen, SetUpFailed

SIZES = [1_000, 100_000, 1_000_000]
MOST = 1.5  # times as long at the largest size as at the smallest
STORE = "C-STORE of a small image"
BIG = 10_000  # rows of a table that nobody may read from end to end
# Of a size: the seconds of each question, and tables that were read from end to end.
Times = dict[str, list[float]]


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make scale", description="Whether many studies cost more than few.")
    parser.add_argument("--sizes", type=_sizes, default=SIZES, help="numbers of studies, comma separated")
    parser.add_argument("--runs", type=int, default=30, help="how often each question is asked (30)")
    parser.add_argument("--data", type=Path, default=ROOT / "var" / "scale", help="where the department lies")
    parser.add_argument("--results", type=Path, help="where to write the table (with the usual sizes: SCALE.md)")
    return parser.parse_args(arguments)


def _sizes(text: str) -> list[int]:
    return sorted(int(each.replace("_", "")) for each in text.split(","))


def generate(server: Sinar, studies: int, today: date) -> None:
    """Add rows until there are so many studies."""
    command = [str(project.PYTHON), "-m", "benchmarks.scale.generate", str(studies), today.isoformat()]
    done = subprocess.run(command, cwd=ROOT, env=server.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetUpFailed(f"The rows were not made: {done.stderr.strip()[-800:]}")


def database(server: Sinar) -> psycopg.Connection:
    """The department's own PostgreSQL, at the address that its daemons know."""
    kept = (server.folder / "environment").read_text().splitlines()
    url = next(line.partition("=")[2] for line in kept if line.startswith("DATABASE_URL="))
    return psycopg.connect(url.strip("\"'"), autocommit=True)


def scans(connection: psycopg.Connection) -> dict[str, int]:
    """How often each big table was read from end to end."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    rows = connection.execute(
        "SELECT s.relname, s.seq_scan FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid"
        " WHERE c.reltuples >= %s",
        [BIG],
    )
    return {str(name): int(count) for name, count in rows}


def ask(at: Department, objects: Objects, studies: int, runs: int) -> Times:
    """Each question `runs` times, about another study each time; the first time is not counted."""
    smallest = min(SIZES[0], studies)
    times: Times = {}
    for name, question in QUESTIONS.items():
        for run in range(runs + 1):
            number = run * 31 % smallest
            began = time.perf_counter()
            question(at, number)
            if run:
                times.setdefault(name, []).append(time.perf_counter() - began)
    for run in range(min(runs, 3) + 1):
        objects.tiny.renew(int(time.time()))  # such a number, in seconds, was never there before
        os.sync()
        began = time.perf_counter()
        dcmtk.store(at.server, objects.tiny.folder)
        if run:
            images = objects.tiny.studies * objects.tiny.per_study
            times.setdefault(STORE, []).append((time.perf_counter() - began) / images)
    return times


def table(found: dict[int, Times]) -> tuple[list[list[str]], bool]:
    """The lines, and whether everything is flat."""
    sizes = sorted(found)
    lines = [["question", *(f"{size:,} studies" for size in sizes), "largest to smallest", f"≤ {MOST}"]]
    flat = True
    for name in found[sizes[0]]:
        medians = [statistics.median(found[size][name]) for size in sizes]
        ratio = medians[-1] / medians[0]
        flat = flat and ratio <= MOST
        lines.append([name, *map(written, medians), f"{ratio:.2f}", "yes" if ratio <= MOST else "NO"])
    return lines, flat


def measure(chosen: argparse.Namespace) -> int:
    """Everything; 0 when all is flat."""
    screen = Screen()
    server = Sinar(chosen.data / "sinar", receiver_port=free_port())
    objects = Objects(chosen.data / "objects")
    with screen.step("Objects"):
        objects.tiny.prepare()
    shutil.rmtree(chosen.data / "sinar", ignore_errors=True)
    (chosen.data / "sinar").mkdir(parents=True, exist_ok=True, mode=0o711)
    found: dict[int, Times] = {}
    read_whole: dict[int, dict[str, int]] = {}
    with screen.step("Starting Sinar"):
        server.start()
    try:
        today = datetime.now(UTC).date()
        last = datetime.combine(today, datetime.min.time(), UTC) - timedelta(hours=8)
        with database(server) as connection:
            for size in chosen.sizes:
                with screen.step(f"Rows of {size:,} studies"):
                    generate(server, size, today)
                before = scans(connection)
                with screen.step(f"Questions at {size:,} studies"):
                    at = Department.of(server, last)
                    found[size] = ask(at, objects, size, chosen.runs)
                    at.close()
                after = scans(connection)
                read_whole[size] = {
                    name: count - before.get(name, count)
                    for name, count in after.items()
                    if count > before.get(name, count)
                }
    finally:
        server.stop()
    return report(chosen, found, read_whole, screen)


def report(
    chosen: argparse.Namespace, found: dict[int, Times], read_whole: dict[int, dict[str, int]], screen: Screen
) -> int:
    lines, flat = table(found)
    whole = {
        f"{name} at {size:,} studies": count for size, names in read_whole.items() for name, count in names.items()
    }
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    screen.say(
        "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    )
    said = [f"{name}: {count} times" for name, count in whole.items()] or ["None."]
    screen.say("Big tables that were read from end to end: " + "; ".join(said))
    to = chosen.results or (ROOT / "benchmarks" / "SCALE.md" if chosen.sizes == SIZES else None)
    if to:
        facts = [*machine.describe(chosen.data), f"Measured on {datetime.now(UTC):%Y-%m-%d}, load {machine.load()}"]
        text = "# As fast with a million\n\n"
        text += "Written by `make scale`; see [docs/performance.md](../docs/performance.md).\n\n"
        text += "".join(f"- {fact}\n" for fact in facts)
        text += f"\nMedians of {chosen.runs}. Two hundred studies a day, the newest of today.\n\n"
        rows = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
        text += "".join(f"| {' | '.join(line)} |\n" for line in rows)
        text += "\nBig tables that were read from end to end: " + "; ".join(said) + "\n"
        to.write_text(text, encoding="utf-8")
    return 0 if flat and not whole else 1


def main() -> int:
    try:
        return measure(options(sys.argv[1:]))
    except KeyboardInterrupt:
        return 130
    except (SetUpFailed, Wrong) as error:
        print(error, file=sys.stderr)
        return 1
