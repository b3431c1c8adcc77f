"""The programs that are compared, each started on free ports with a data folder of its own."""

import contextlib
import socket
from abc import ABC, abstractmethod
from pathlib import Path

from benchmarks.hl7 import cpu_of
from benchmarks.http_client import HttpClient


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server(ABC):
    """What a row needs to know of a server. `receiver_port` is where the node BENCH receives C-MOVE."""

    name: str
    ae_title: str
    dicomweb = "/dicom-web"

    def __init__(self, folder: Path, *, receiver_port: int) -> None:
        self.folder = folder
        self.receiver_port = receiver_port
        self.http_port, self.dicom_port = free_port(), free_port()
        self.http: HttpClient

    @abstractmethod
    def start(self) -> None:
        """Start from nothing; returns when it answers, with `http` connected."""

    @abstractmethod
    def stop(self) -> None:
        """End all its processes."""

    @abstractmethod
    def processes(self) -> list[int]:
        """The process ids from which all its processes descend, its database's included."""

    def cpu(self) -> float:
        """Seconds of CPU that all its processes have used so far."""
        while True:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a process ended while it was asked about
                return sum(cpu_of(pid) for pid in self.processes())

    @abstractmethod
    def version(self) -> str:
        """Its version and the settings that matter."""

    @abstractmethod
    def zip_path(self, study_uid: str) -> str:
        """Where a study is downloaded as ZIP."""

    @abstractmethod
    def thumbnail_path(self, instance: str, side: int) -> str:
        """Where a small JPEG of the instance at this DICOMweb path is, `side` pixels square."""

    def instance_count(self, **match: str) -> int:
        """How many instances it holds in the studies that match, by QIDO-RS."""
        query = "&".join(f"{key}={value}" for key, value in match.items())
        answer = self.http.get(
            f"{self.dicomweb}/studies?{query}&includefield=00201208&limit=1000", Accept="application/dicom+json"
        )
        return sum(int(study["00201208"]["Value"][0]) for study in answer.json())
