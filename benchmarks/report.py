"""The table, on the screen and in RESULTS.md."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.rows import Row


@dataclass
class Result:
    """Seconds, and CPU of the server in seconds, of each run of one row, by server; or what went wrong instead."""

    row: type[Row]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def median(self, server: str) -> float:
        return statistics.median(self.seconds[server])

    def ratio(self, ours: str, peer: str) -> float:
        """How many times as fast as the peer we are."""
        return self.median(peer) / self.median(ours)


def written(seconds: float) -> str:
    """With the unit that gives two or three figures."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.{0 if seconds >= 0.1 else 1}f} ms"


def cells(result: Result, servers: Sequence[str]) -> list[str]:
    """One line of the table: name, then for each server its time, and for each peer the ratio; then the goal."""
    ours, row = servers[0], result.row
    line, met = [row.name], []
    for server in servers:
        if server in result.failures:
            line += ["wrong"] + [""] * (server != ours)
        elif server not in result.seconds:
            line += ["", ""]
        else:
            times = result.seconds[server]
            line.append(f"{written(result.median(server))} ({written(min(times))} – {written(max(times))})")
            if server != ours:
                ratio = result.ratio(ours, server) if ours in result.seconds else 0.0
                met.append(ratio >= row.goal)
                line.append(f"{ratio:.2f}×")
    if row.seconds is not None and ours in result.seconds:
        met.append(result.median(ours) <= row.seconds)
    goal = f"≤ {row.seconds} s" if row.seconds else "" if row.only_ours else f"≥ {row.goal:g}×"
    goal += f", then {row.then}" if row.then else ""
    return [*line, goal, ("yes" if all(met) else "NO") if met else ""]


def cpu_cells(result: Result, servers: Sequence[str]) -> list[str]:
    """One line of the table of CPU: what a piece of work costs each server on average, and the ratio."""
    means = [statistics.mean(result.cpu[server]) if server in result.cpu else None for server in servers]
    line = [result.row.name, "" if means[0] is None else written(means[0])]
    for peer in means[1:]:
        line += ["" if peer is None else written(peer), f"{peer / means[0]:.2f}×" if peer and means[0] else ""]
    return line


def heading(servers: Sequence[str]) -> list[str]:
    peers = [text for peer in servers[1:] for text in (peer, "ratio")]
    return ["work", servers[0], *peers, "we aim at", "met"]


def as_markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *rest])


def for_screen(results: Sequence[Result], servers: Sequence[str]) -> str:
    lines = [heading(servers), *(cells(result, servers) for result in results)]
    lines += [[""] * len(lines[0]), ["CPU", *heading(servers)[1:-2], "", ""]]
    lines += [[*cpu_cells(result, servers), "", ""] for result in results]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


def write(path: Path, results: Sequence[Result], servers: Sequence[str], facts: Mapping[str, Sequence[str]]) -> None:
    text = "# Side by side\n\nWritten by `make bench`; see [docs/performance.md](../docs/performance.md).\n"
    for title, lines in facts.items():
        text += f"\n{title}\n\n" + "".join(f"- {line}\n" for line in lines)
    text += "\nMedians (fastest–slowest) of one piece of work; a ratio of 2 means that Sinar took half the time.\n\n"
    text += as_markdown([heading(servers), *(cells(result, servers) for result in results)])
    text += "\nCPU of all processes of each server for one piece of work, less disturbed by other load.\n\n"
    text += as_markdown([heading(servers)[:-2], *(cpu_cells(result, servers) for result in results)])
    for result in results:
        for server, failure in result.failures.items():
            text += f"\n{result.row.name}, {server}: {failure}\n"
    path.write_text(text, encoding="utf-8")
