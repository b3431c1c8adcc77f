"""Orthanc's configuration: one file or a folder of them, and what somebody has to do who leaves Orthanc."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from pacs.services.orthanc_nodes import LARGEST, document_of
from radiology.errors import InvalidValue, NotFound

# What Orthanc does where its configuration does not say otherwise.
DICOM_AET, DICOM_PORT, HTTP_PORT = "ORTHANC", 4242, 8042
SCRIPTS = ("LuaScripts", "PythonScript", "Plugins")
LIMITS = ("MaximumStorageSize", "MaximumPatientCount")


def read_configuration(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The settings of a file, or of all JSON files of a folder, and what of them was left out.

    Raises NotFound when there is nothing, InvalidValue for what is no configuration.
    """
    files = sorted(each for each in path.glob("*.json") if each.is_file()) if path.is_dir() else [path]
    if not files:
        raise NotFound(_("There is no JSON file in %(path)s.") % {"path": path})
    document: dict[str, Any] = {}
    left_out: list[str] = []
    for file in files:
        for name, value in _settings_of(file).items():
            if name in document and document[name] != value:
                left_out.append(
                    _("%(setting)s stands in several files: that of %(file)s was left out.")
                    % {"setting": name, "file": file}
                )
            else:
                document[name] = value
    return document, left_out


def _settings_of(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST:
            raise InvalidValue(_("The file is larger than any configuration: 5 MB at most."), field="file")
        return document_of(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise NotFound(_("There is nothing at %(path)s.") % {"path": file}) from error
    except OSError as error:
        raise InvalidValue(
            _("%(file)s cannot be read: %(reason)s") % {"file": file, "reason": error.strerror}, field="file"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidValue(_("%(file)s is no UTF-8 text.") % {"file": file}, field="file") from error
    except InvalidValue as error:
        raise InvalidValue(f"{file}: {error.message}", field="file") from error


def to_do(document: Mapping[str, Any], *, moves: bool) -> Iterator[str]:
    """What the settings mean that are not taken over, one sentence each. No password is in them.

    `moves`: the images are being imported already.
    """
    title, ours = document.get("DicomAet", DICOM_AET), settings.DIMSE["AE_TITLE"]
    if title != ours:
        yield _(
            "Devices call Orthanc %(title)s (DicomAet), and this archive %(ours)s: set SINAR_AE_TITLE=%(title)s, or "
            "change the title at the devices."
        ) % {"title": title, "ours": ours}
    port = document.get("DicomPort", DICOM_PORT)
    if document.get("DicomServerEnabled", True) and port not in settings.SINAR_DICOM_PORTS:
        listed = ",".join(map(str, [*settings.SINAR_DICOM_PORTS, port]))
        yield _(
            "Devices send to port %(port)s (DicomPort): once Orthanc is stopped, set SINAR_DICOM_PORT=%(listed)s, or "
            "change the port at the devices."
        ) % {"port": port, "listed": listed}
    port = document.get("HttpPort", HTTP_PORT)
    if document.get("HttpServerEnabled", True) and port != settings.SINAR_ORTHANC_PORT:
        yield _(
            "Programs ask port %(port)s (HttpPort): once Orthanc is stopped, set SINAR_ORTHANC_PORT=%(port)s, or "
            "change the port in the programs."
        ) % {"port": port}
    if document.get("DicomAlwaysAllowStore", True) is not False:
        yield _(
            "Orthanc takes images from any device (DicomAlwaysAllowStore). Here only registered nodes may send: "
            "register those that are not among its DicomModalities."
        )
    if document.get("DicomModalitiesInDatabase") is True:
        yield _(
            "Orthanc keeps its modalities in its database (DicomModalitiesInDatabase): register them by hand, as "
            "/modalities?expand of its REST API lists them."
        )
    if peers := _names(document.get("OrthancPeers")):
        yield _("OrthancPeers are servers and no DICOM nodes: %(names)s. Nothing was taken from them.") % {
            "names": peers
        }
    if users := _names(document.get("RegisteredUsers")):
        yield _(
            "RegisteredUsers are not taken over: %(names)s. Make a token for each program (manage.py apitoken) and a "
            "user for each person."
        ) % {"names": users}
    if _section(document, "Worklists").get("Enable") is True:
        yield _("Worklists: here the worklist is made of orders, and not of files in a folder.")
    if servers := _names(_section(document, "DicomWeb").get("Servers")):
        yield _("DicomWeb servers are not taken over: %(names)s.") % {"names": servers}
    for name in SCRIPTS:
        if document.get(name):
            yield _("%(setting)s: what Orthanc runs there does not run here.") % {"setting": name}
    for name in LIMITS:
        if document.get(name):
            yield _(
                "%(setting)s: Orthanc deletes its oldest patients to make room. Here nothing is deleted for that: "
                "provide space (docs/storage.md)."
            ) % {"setting": name}
    if not moves and isinstance(document.get("StorageDirectory"), str):
        yield _("Its images lie in %(folder)s: manage.py importorthanc imports them from there.") % {
            "folder": document["StorageDirectory"]
        }


def index_folder(document: Mapping[str, Any], storage: Path) -> Path:
    """Where the index of that storage lies: beside its files, unless the configuration names another folder."""
    named, folder = document.get("IndexDirectory"), document.get("StorageDirectory")
    if isinstance(named, str) and isinstance(folder, str) and Path(folder).resolve() == storage.resolve():
        return Path(named)
    return storage


def _section(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = document.get(name)
    return section if isinstance(section, dict) else {}


def _names(entries: Any) -> str:
    return ", ".join(sorted(entries)) if isinstance(entries, dict) else ""
