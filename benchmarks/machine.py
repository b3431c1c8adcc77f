"""What the figures were measured on."""

import os
import platform
import subprocess
from pathlib import Path


def describe(folder: Path) -> list[str]:
    """Processor, memory, the disk that `folder` lies on, system."""
    return [
        f"Processor: {_processor()}, {os.cpu_count()} cores",
        f"Memory: {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.0f} GB",
        f"Disk: {_disk(folder)}",
        f"System: {_distribution()}, Linux {platform.release()}, Python {platform.python_version()}",
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Hardware")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _disk(folder: Path) -> str:
    command = ["findmnt", "--noheadings", "--output", "SOURCE,FSTYPE,OPTIONS", "--target", str(folder)]
    try:
        return " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def load() -> str:
    """How much else was going on: the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"
