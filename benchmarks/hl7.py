"""HL7 v2 over MLLP, as fast as it is answered: `python3 benchmarks/hl7.py --port 2575`.

The address that this runs from must be a peer of the server; its messages register and order for real. Each
connection sends a message, waits for its answer and sends the next. Prints messages answered a second, by kind.

On a machine that others use too, the second figure says more: `--cpu sinar=PID --cpu postgres=PID` (the daemon's main
process, PostgreSQL's) adds how many milliseconds of CPU each message cost in that process and all its descendants.
"""

import argparse
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

NOW = f"{time.time_ns():x}"
Kind = Callable[[int, int], bytes]


def fresh(connection: int) -> str:
    """A number that no other message has."""
    return f"{time.time_ns():x}{connection:02}"


def header(kind: str, connection: int, asked: str = "") -> str:
    return f"MSH|^~\\&|BENCH|BENCH|SINAR|RAD|20260101120000||{kind}|{fresh(connection)}|P|2.5.1{asked}"


def patient(number: int, name: str = "SANTOSO^BUDI") -> str:
    return f"PID|1||{NOW[-6:]}{number:07}^^^^MR||{name}||19{number % 90 + 10}0203|M|||JL. MELATI 1^^BANDUNG"


def message(*segments: str) -> bytes:
    return ("\r".join(segments) + "\r").encode()


def kept(number: int, connection: int) -> bytes:
    """Enhanced mode, answered when it is durable."""
    return message(header("ADT^A08", connection, "|||AL|NE"), patient(connection), "PV1|1|I|ICU^1^2")


def new(number: int, connection: int) -> bytes:
    return message(header("ADT^A04", connection), patient(connection * 100_000 + number + 1000))


def visit(number: int, connection: int) -> bytes:
    """An update that says nothing new of the person: what a hospital sends most."""
    return message(header("ADT^A08", connection), patient(connection), f"PV1|1|I|ICU^{number}^2")


def renamed(number: int, connection: int) -> bytes:
    return message(header("ADT^A08", connection), patient(connection, f"SANTOSO^BUDI{number}"))


def order(number: int, connection: int) -> bytes:
    placer = fresh(connection)
    return message(
        header("ORM^O01", connection),
        patient(connection),
        "PV1|1|O|RAD^1^2",
        f"ORC|NW|{placer}^HIS",
        f"OBR|1|{placer}^HIS||CTHEAD^CT Head^L||||||||||||||||||||CT|||1^^^20300101083000^^R",
    )


def mixed(number: int, connection: int) -> bytes:
    """Of ten messages six about visits, one new patient, one new name, two orders."""
    return (visit, visit, order, visit, renamed, visit, visit, order, visit, new)[number % 10](number, connection)


KINDS: dict[str, Kind] = {
    "kept (CA)": kept,
    "visit": visit,
    "new patient": new,
    "renamed": renamed,
    "order": order,
    "mixed": mixed,
}


def run(host: str, port: int, kind: Kind, connections: int, seconds: float) -> tuple[int, float]:
    """How many were answered, and within how long."""
    counts = [0] * connections
    refused: list[bytes] = []
    until = time.monotonic() + seconds

    def send(connection: int) -> None:
        with socket.create_connection((host, port), timeout=60) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.monotonic() < until:
                peer.sendall(b"\x0b" + kind(counts[connection], connection) + b"\x1c\r")
                answer = b""
                while not answer.endswith(b"\x1c\r"):
                    answer += peer.recv(65536) or b"closed\x1c\r"
                if b"MSA|AA" not in answer and b"MSA|CA" not in answer:
                    refused.append(answer)
                    return
                counts[connection] += 1

    began = time.monotonic()
    threads = [threading.Thread(target=send, args=(each,)) for each in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise SystemExit(f"refused: {refused[0]!r}")
    return sum(counts), time.monotonic() - began


def cpu_of(root: int) -> float:
    """Seconds of CPU that a process, its descendants and those of them that ended have used."""
    ticks, known = 0, [root]
    for pid in known:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            known += map(int, listing.read_text().split())
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2575)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--cpu", action="append", default=[], metavar="NAME=PID")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    told = parser.parse_args()
    roots = {name: int(pid) for name, _, pid in (each.partition("=") for each in told.cpu)}
    run(told.host, told.port, visit, told.connections, 1)  # the patients of each connection
    for name in told.kinds or KINDS:
        before = {each: cpu_of(pid) for each, pid in roots.items()}
        count, took = run(told.host, told.port, KINDS[name], told.connections, told.seconds)
        costs = [f"{each} {1000 * (cpu_of(pid) - before[each]) / count:.2f} ms" for each, pid in roots.items()]
        print(f"{name:12} {count / took:8.1f} a second  {'  '.join(costs)}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
