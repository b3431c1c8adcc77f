"""The product as a user runs it: `make run` without the demonstration, a token for DICOMweb and REST."""

import os
import re
import secrets
import signal
import subprocess
import sys
import threading

from benchmarks.dcmtk import TITLE
from benchmarks.http_client import HttpClient
from benchmarks.servers import Server, free_port
from deploy import project
from deploy.screen import SetUpFailed


class Sinar(Server):
    name = "Sinar"
    ae_title = "MINIPACS"

    def start(self) -> None:
        self.password = secrets.token_urlsafe(12)
        chosen = {"SINAR_HTTP_PORT": self.http_port, "SINAR_DICOM_PORT": self.dicom_port}
        others = {f"SINAR_{name}_PORT": free_port() for name in ("HL7", "ORTHANC")}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SINAR_") or "WORKERS" in name},
            **{name: str(port) for name, port in {**chosen, **others}.items()},
            "SINAR_DATA": str(self.folder),
            "SINAR_DEMO": "0",
            "SINAR_ADMIN_PASSWORD": self.password,
        }
        self.environment.pop("DATABASE_URL", None)
        self.process = subprocess.Popen(
            [sys.executable, project.ROOT / "deploy" / "run.py"],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._wait()
        self._manage("node", "add", TITLE, "127.0.0.1", str(self.receiver_port))
        token = self._manage("apitoken", "bench").strip()
        self.http = HttpClient(self.http_port, {"Authorization": f"Bearer {token}"})

    def _wait(self) -> None:
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if "Ctrl-C   stops everything" in line:
                break
        else:
            raise SetUpFailed(f"Sinar did not start: {said.strip().splitlines()[-1]}")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def _manage(self, *arguments: str) -> str:
        command = [str(project.PYTHON), "manage.py", *arguments]
        done = subprocess.run(command, cwd=project.ROOT, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SetUpFailed(f"manage.py {arguments[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    def processes(self) -> list[int]:
        return [self.process.pid]

    def version(self) -> str:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=project.ROOT, capture_output=True, text=True, check=False
        )
        return f"Sinar: {commit.stdout.strip() or 'of no git'}; as `make run` starts it, embedded PostgreSQL, API token"

    def zip_path(self, study_uid: str) -> str:
        return f"/api/v1/studies/{study_uid}/archive"

    def thumbnail_path(self, instance: str, side: int) -> str:
        return f"{self.dicomweb}/{instance}/thumbnail?viewport={side},{side}"

    def session(self) -> HttpClient:
        """A client that is signed in as a person, for the pages."""
        client = HttpClient(self.http_port, {})
        page = client.get("/accounts/login/")
        csrf = re.search(r"csrftoken=([^;]+)", page.headers["Set-Cookie"])
        token = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', page.body)
        if csrf is None or token is None:
            raise SetUpFailed("Sinar's page for signing in has no form.")
        answer = client.request(
            "POST",
            "/accounts/login/",
            body=f"csrfmiddlewaretoken={token[1].decode()}&login=admin&password={self.password}".encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded", "Cookie": f"csrftoken={csrf[1]}"},
        )
        cookies = re.findall(r"(sessionid|csrftoken)=([^;]+)", answer.headers["Set-Cookie"])
        client.close()
        return HttpClient(self.http_port, {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies)})
