"""The product as `make run` starts it, and its processes by what they are."""

import json
import os
import re
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.http_client import HttpClient
from benchmarks.servers.sinar import Sinar
from deploy import processes, project
from deploy.screen import SetUpFailed

# What stands in the command line of each main process, the first that fits.
MAIN = {
    "dimse": "manage.py dimse",
    "hl7": "manage.py hl7",
    "web": "gunicorn",
    "worker": "radiology worker",
    "beat": "radiology beat",
    "postgres": "bin/postgres",
    "supervisord": "supervisor.supervisord",
}
WITH_CHILDREN = {"dimse", "hl7", "web"}


class Product(Sinar):
    def start(self) -> None:
        super().start()
        peer = {"name": "SOAK", "site": "", "addresses": ["127.0.0.1"], "queue_alarm": 0}
        exported = json.loads(self._manage("configuration", "export"))
        peer["site"] = exported["sites"][0]["code"]
        exported["hl7_peers"] = [peer]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(exported, file)
            file.flush()
            self._manage("configuration", "import", file.name)
        self.token = self._manage("apitoken", "soak").strip()

    @property
    def hl7_port(self) -> int:
        return int(self.environment["SINAR_HL7_PORT"])

    @property
    def database_url(self) -> str:
        found = re.search(r"^DATABASE_URL=(.+)$", (self.folder / "environment").read_text(), re.MULTILINE)
        if found is None:
            raise SetUpFailed(f"{self.folder / 'environment'} names no database.")
        return found[1]

    def again(self, *, seconds: float = 60) -> HttpClient:
        """One more HTTP client."""
        return HttpClient(self.http_port, {"Authorization": f"Bearer {self.token}"}, seconds=seconds)

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command of manage.py, whatever its exit code."""
        return subprocess.run(
            [str(project.PYTHON), "manage.py", *arguments],
            cwd=project.ROOT, env=self.environment, capture_output=True, text=True,
        )  # fmt: skip

    def by_kind(self) -> dict[str, list[int]]:
        """Process ids by kind: "dimse" is the main process, "dimse worker" each of its children."""
        found: dict[str, list[int]] = defaultdict(list)
        kinds: dict[int, str] = {}
        parents: dict[int, int] = {}
        for pid in processes.of(self.folder):
            command = command_of(pid)
            kinds[pid] = next((kind for kind, words in MAIN.items() if words in command), "other")
            parents[pid] = parent_of(pid)
        for pid, kind in kinds.items():
            if kinds.get(parents[pid]) == kind and kind in WITH_CHILDREN:
                kind += " worker"
            elif kinds.get(parents[pid]) == kind:
                kind = "other"  # a child on its way to become another program
            found[kind].append(pid)
        # Their titles lie where their environment was, so whose they are is known from their parent alone.
        for child in [child for postmaster in found["postgres"] for child in children_of(postmaster)]:
            found["postgres session" if "sinar sinar" in command_of(child) else "postgres helper"].append(child)
        return found


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def handles_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_of(pid: int) -> tuple[int, int]:
    """Resident and proportional set size in bytes: the latter counts what processes share once."""
    sizes = {"Rss": 0, "Pss": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in sizes:
            sizes[name] = int(rest.split()[0]) * 1024
    return sizes["Rss"], sizes["Pss"]
