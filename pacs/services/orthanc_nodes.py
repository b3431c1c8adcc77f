"""Nodes out of a configuration of Orthanc (`orthanc.json`): its DicomModalities."""

import json
import re
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from radiology.errors import InvalidValue

# Orthanc's files hold comments, which JSON does not know; strings may hold what looks like them.
STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
LARGEST = 5 * 1024 * 1024


@dataclass(frozen=True)
class Found:
    """Nodes as rows of the configuration file, and what of the file was left out, in words."""

    nodes: list[dict[str, Any]]
    left_out: list[str]


def nodes_of(*, text: str, site_code: str) -> Found:
    """The nodes of an `orthanc.json`. Raises InvalidValue for what is no such file."""
    if len(text) > LARGEST:
        raise InvalidValue(_("The file is larger than any configuration: 5 MB at most."), field="file")
    bare = STRING_OR_COMMENT.sub(lambda match: match[0] if match[0].startswith('"') else " ", text.lstrip("\ufeff"))
    try:
        document = json.loads(bare)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(_("The file is no JSON: %(error)s.") % {"error": error}, field="file") from error
    modalities = document.get("DicomModalities") if isinstance(document, dict) else None
    if not isinstance(modalities, dict):
        raise InvalidValue(_("The file has no DicomModalities."), field="file")
    check_address = document.get("DicomCheckModalityHost") is True
    nodes: dict[tuple[Any, ...], dict[str, Any]] = {}
    left_out: list[str] = []
    for name, entry in modalities.items():
        try:
            node = _node(name, entry)
        except (KeyError, IndexError, TypeError, ValueError):
            left_out.append(
                _("%(name)s: neither [title, host, port] nor an object with AET, Host and Port.") % {"name": name}
            )
            continue
        node |= {"site": site_code, "check_address": check_address}
        nodes[node["title"], node["host"], node["port"]] = node
    for setting in ("OrthancPeers", "RegisteredUsers"):
        if document.get(setting):
            left_out.append(_("%(setting)s: not DICOM nodes; nothing was taken from it.") % {"setting": setting})
    return Found(list(nodes.values()), left_out)


def _node(name: str, entry: Any) -> dict[str, Any]:
    if isinstance(entry, list):
        title, host, port = entry[0], entry[1], entry[2]
        rights: dict[str, Any] = {}
    else:
        title, host, port = entry["AET"], entry["Host"], entry["Port"]
        rights = entry
    if not isinstance(title, str) or not isinstance(host, str):
        raise TypeError("title and host are texts")
    may_retrieve = rights.get("AllowMove", True) is not False or rights.get("AllowGet", True) is not False
    return {
        "title": title.strip(" "),
        "host": host,
        "port": int(port),
        "description": name[:200],
        "tls": rights.get("UseDicomTls", False) is True,
        "may_store": rights.get("AllowStore", True) is not False,
        "may_query": rights.get("AllowFind", True) is not False,
        "may_retrieve": may_retrieve,
    }
