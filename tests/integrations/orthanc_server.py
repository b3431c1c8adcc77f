"""A real Orthanc of the tests' own, and ours beside it, both over real sockets."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.conftest import require_tool
from tests.daemons import free_port, wait_until


@contextmanager
def real_orthanc(folder: Path, **settings: Any) -> Iterator[str]:
    """Debian's Orthanc on free ports, its files in `folder`; its address. `settings` go into its configuration."""
    http, dicom = free_port(), free_port()
    configuration = {
        "Name": "real",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": http,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
        "Locale": "C.UTF-8",
        "StableAge": 60,
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [require_tool("Orthanc"), str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{http}"
    try:
        wait_until(lambda: _answers(url), what="Orthanc")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/system", timeout=5).status_code in {200, 401}
    except requests.RequestException:
        return False
