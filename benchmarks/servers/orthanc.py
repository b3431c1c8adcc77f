"""Orthanc from Debian's packages, with Debian's defaults; its index in SQLite or in a PostgreSQL of its own."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.dcmtk import ENVIRONMENT, TITLE
from benchmarks.http_client import HttpClient
from benchmarks.servers import Server
from deploy.postgres import Postgres
from deploy.screen import SetUpFailed

PLUGINS = Path("/usr/share/orthanc/plugins")
SECONDS = 60


class Orthanc(Server):
    """With SQLite, which is its default."""

    name = "Orthanc, SQLite"
    ae_title = "ORTHANC"
    plugins: tuple[str, ...] = ("libOrthancDicomWeb.so",)

    def start(self) -> None:
        program = shutil.which("Orthanc")
        if program is None or not all((PLUGINS / name).exists() for name in self.plugins):
            raise SetUpFailed("Orthanc or a plugin is missing: type deploy/debian-packages bench as root.")
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = {
            "Name": "bench",
            "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": self.ae_title,
            "AuthenticationEnabled": False,
            "DicomModalities": {TITLE: [TITLE, "127.0.0.1", self.receiver_port]},
            "Plugins": [str(PLUGINS / name) for name in self.plugins],
            **self.settings(),
        }
        (self.folder / "orthanc.json").write_text(json.dumps(configuration, indent=1))
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [program, str(self.folder / "orthanc.json")], env=ENVIRONMENT, stdout=log, stderr=log
            )
        self.http = HttpClient(self.http_port, {})
        self._wait()

    def settings(self) -> dict[str, Any]:
        return {}

    def _wait(self) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                self.system = self.http.get("/system").json()
                return
            except OSError:
                self.http.close()
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SetUpFailed(f"{self.name} does not answer: see {self.folder / 'log'}.")
            time.sleep(0.1)

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait()

    def processes(self) -> list[int]:
        return [self.process.pid]

    def version(self) -> str:
        plugin = self.http.get("/plugins/dicom-web").json()["Version"]
        return f"{self.name}: {self.system['Version']}, DICOMweb plugin {plugin}; defaults, no authentication"

    def zip_path(self, study_uid: str) -> str:
        found = self.http.request("POST", "/tools/lookup", body=study_uid.encode()).json()
        return f"/studies/{found[0]['ID']}/archive"

    def thumbnail_path(self, instance: str, side: int) -> str:
        return f"{self.dicomweb}/{instance}/rendered?viewport={side},{side}"  # it has no thumbnails


class OrthancPostgreSQL(Orthanc):
    """With the index in PostgreSQL and the files in a folder; the server is the one that Sinar runs on."""

    name = "Orthanc, PostgreSQL"
    ae_title = "ORTHANCPG"
    plugins = ("libOrthancDicomWeb.so", "libOrthancPostgreSQLIndex.so")

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)  # as root, the database runs as a user of its own that passes through
        self.postgres = Postgres(self.folder)
        self.postgres.check_path()
        self.password = self.postgres.make()
        self.postgres.start(log=self.folder / "postgres.log")
        try:
            super().start()
        except BaseException:
            self.postgres.stop()
            raise

    def settings(self) -> dict[str, Any]:
        url = urlsplit(self.postgres.url(self.password))
        uri = f"postgresql://{url.username}:{self.password}@/sinar?{url.query}"
        return {"PostgreSQL": {"EnableIndex": True, "EnableStorage": False, "ConnectionUri": uri}}

    def processes(self) -> list[int]:
        assert self.postgres.process is not None
        return [*super().processes(), self.postgres.process.pid]

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            self.postgres.stop()
