"""The settings of one `make run`: from the environment, and what SINAR_DATA/environment keeps of an earlier start."""

import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from deploy.screen import SetUpFailed

ROOT = Path(__file__).resolve().parent.parent
# Given for one start only, or known by where the file lies.
NOT_KEPT = {"SINAR_DATA", "SINAR_ADMIN_PASSWORD", "SINAR_DEMO", "SINAR_PYTHON_TRIED", "SINAR_TEST_SHARED_DATA"}


def _data_folder() -> Path:
    return Path(os.environ.get("SINAR_DATA") or ROOT / "var").expanduser().resolve()


@dataclass
class Configuration:
    """What one department runs with."""

    data: Path = field(default_factory=_data_folder)
    bind: str = field(default_factory=lambda: os.environ.get("SINAR_BIND") or "127.0.0.1")
    http_port: str = field(default_factory=lambda: os.environ.get("SINAR_HTTP_PORT") or "8000")
    dicom_port: str = field(default_factory=lambda: os.environ.get("SINAR_DICOM_PORT") or "11112")
    hl7_port: str = field(default_factory=lambda: os.environ.get("SINAR_HL7_PORT") or "2575")
    orthanc_port: str = field(default_factory=lambda: os.environ.get("SINAR_ORTHANC_PORT") or "8042")
    ae_title: str = field(default_factory=lambda: os.environ.get("SINAR_AE_TITLE") or "MINIPACS")
    external_database: str = field(default_factory=lambda: os.environ.get("DATABASE_URL") or "")
    demo: bool = field(default_factory=lambda: (os.environ.get("SINAR_DEMO") or "1") != "0")

    @property
    def dicom_ports(self) -> list[str]:
        return [port.strip() for port in self.dicom_port.split(",") if port.strip()]

    @property
    def hl7_ports(self) -> list[str]:
        return [port.strip() for port in self.hl7_port.split(",") if port.strip()]

    @property
    def ports(self) -> list[tuple[str, str]]:
        """Each port with the setting that chooses it."""
        dicom = ((port, "SINAR_DICOM_PORT") for port in self.dicom_ports)
        hl7 = ((port, "SINAR_HL7_PORT") for port in self.hl7_ports)
        orthanc = [(self.orthanc_port, "SINAR_ORTHANC_PORT")] if self.orthanc_port != "0" else []
        return [(self.http_port, "SINAR_HTTP_PORT"), *dicom, *hl7, *orthanc]

    @property
    def reachable_at(self) -> str:
        """An address that leads from this machine to what listens on `bind`."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}.get(self.bind, self.bind.strip("[]"))  # noqa: S104

    @property
    def addresses(self) -> str:
        host = f"[{self.reachable_at}]" if ":" in self.reachable_at else self.reachable_at
        where = ", ".join(f"{self.reachable_at}:{port}" for port in self.dicom_ports)
        hl7 = ", ".join(f"{self.reachable_at}:{port}" for port in self.hl7_ports)
        return (
            f"  Browser  http://{host}:{self.http_port}/\n"
            f"  DICOM    {where}, called AE title {self.ae_title}\n"
            f"  HL7      {hl7}"
            + (f"\n  Orthanc  http://{host}:{self.orthanc_port}/" if self.orthanc_port != "0" else "")
        )

    def make_data_folder(self) -> None:
        """SINAR_DATA, where this user can write."""
        try:
            # Root's database runs as another user, which passes through but sees nothing.
            self.data.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
            probe = self.data / f"probe.{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except PermissionError:
            raise SetUpFailed(
                f"{self.data} cannot be written by this user: set SINAR_DATA to a folder that belongs to you, or "
                "change the owner of that one."
            ) from None
        except (FileExistsError, NotADirectoryError):
            raise SetUpFailed(f"{self.data} is not a folder: set SINAR_DATA to one.") from None

    def make_folders(self) -> None:
        """What processes expect in SINAR_DATA; the broker empty, for the rows know what is to be done."""
        for name in ("log", "run", "broker"):
            (self.data / name).mkdir(exist_ok=True, mode=0o700)
        for message in [*(self.data / "broker").rglob("*")]:
            if message.is_file():
                message.unlink()

    @property
    def file(self) -> Path:
        return self.data / "environment"

    def kept(self) -> dict[str, str]:
        """What an earlier start wrote."""
        try:
            lines = self.file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        except PermissionError:
            raise SetUpFailed(
                f"{self.file} belongs to another user: type this as that user, or set SINAR_DATA to another folder."
            ) from None
        return {match[1]: match[2] for line in lines if (match := re.fullmatch(r"(\w+)=(.*)", line))}

    def write(self, *, database_url: str) -> dict[str, str]:
        """Write SINAR_DATA/environment, so that a command typed by hand acts on this installation; returns it."""
        values = {
            "DATABASE_URL": database_url,
            "SINAR_SECRET_KEY": os.environ.get("SINAR_SECRET_KEY")
            or self.kept().get("SINAR_SECRET_KEY")
            or secrets.token_urlsafe(50),
        }
        for name, value in sorted(os.environ.items()):
            if (name.startswith("SINAR_") and name not in NOT_KEPT) or name == "CELERY_BROKER_URL":
                values.setdefault(name, value)
        text = "".join(f"{name}={value}\n" for name, value in values.items() if value and "\n" not in value)
        if not self.file.exists() or self.file.read_text(encoding="utf-8") != text:
            unfinished = self.file.with_suffix(".new")
            unfinished.unlink(missing_ok=True)
            with open(unfinished, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            unfinished.replace(self.file)
        return values
