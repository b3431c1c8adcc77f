"""Nodes out of a configuration of Orthanc (`orthanc.json`): its DicomModalities."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from pacs.models import ApplicationEntity
from radiology.errors import InvalidValue
from radiology.services import configuration

# Orthanc's files hold comments and commas before a bracket, which JSON does not know; strings may hold what looks
# like them.
STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
STRING_OR_LAST_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])', re.DOTALL)
LARGEST = 5 * 1024 * 1024
# What is said of a modality beside its address, and the column of a node that it becomes.
COLUMNS = {
    "UseDicomTls": "tls",
    "AllowStore": "may_store",
    "AllowFind": "may_query",
    "AllowFindWorklist": "may_ask_worklist",
    "AllowMove": "may_retrieve",
    "AllowGet": "may_retrieve",
    "AllowStorageCommitment": "may_commit",
    "AllowNAction": "may_commit",
}
# What says something that nodes have no value for, and its default.
WITHOUT_COUNTERPART = {"AllowEcho": True, "AllowTranscoding": True, "LocalAet": "", "Timeout": 0}


@dataclass(frozen=True)
class Found:
    """Nodes as rows of the configuration file, and what of the file was left out, in words."""

    nodes: list[dict[str, Any]]
    left_out: list[str]


@dataclass(frozen=True)
class TakenOver:
    """What became of the nodes: new ones, those that were here like this, and what contradicts what is here."""

    new: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def document_of(text: str) -> dict[str, Any]:
    """What a file of Orthanc's configuration says. Raises InvalidValue."""
    if len(text) > LARGEST:
        raise InvalidValue(_("The file is larger than any configuration: 5 MB at most."), field="file")
    bare = STRING_OR_COMMENT.sub(lambda match: match[0] if match[0].startswith('"') else " ", text.lstrip("\ufeff"))
    bare = STRING_OR_LAST_COMMA.sub(lambda match: match[0] if match[0].startswith('"') else " ", bare)
    try:
        document = json.loads(bare)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(_("The file is no JSON: %(error)s.") % {"error": error}, field="file") from error
    if not isinstance(document, dict):
        raise InvalidValue(_("The file has no DicomModalities."), field="file")
    return document


def nodes_of(*, text: str, site_code: str) -> Found:
    """The nodes of an `orthanc.json`. Raises InvalidValue for what is no such file."""
    document = document_of(text)
    if not isinstance(document.get("DicomModalities"), dict):
        raise InvalidValue(_("The file has no DicomModalities."), field="file")
    found = nodes_in(document, site_code=site_code)
    for setting in ("OrthancPeers", "RegisteredUsers"):
        if document.get(setting):
            found.left_out.append(_("%(setting)s: not DICOM nodes; nothing was taken from it.") % {"setting": setting})
    return found


def nodes_in(document: Mapping[str, Any], *, site_code: str) -> Found:
    """The nodes of a configuration that was read already; none where it has no DicomModalities."""
    modalities = document.get("DicomModalities")
    check_address = document.get("DicomCheckModalityHost") is True
    nodes: dict[tuple[Any, ...], dict[str, Any]] = {}
    left_out: list[str] = []
    for name, entry in modalities.items() if isinstance(modalities, dict) else ():
        try:
            node = node_of(name, entry)
        except (KeyError, IndexError, TypeError, ValueError):
            left_out.append(
                _("%(name)s: neither [title, host, port] nor an object with AET, Host and Port.") % {"name": name}
            )
            continue
        node |= {"site": site_code, "check_address": check_address}
        first = nodes.setdefault((node["title"], node["host"], node["port"]), node)
        if first is not node:
            left_out.append(
                _("%(name)s: the same device as %(first)s; only that name goes on leading to it.")
                % {"name": name, "first": first["description"]}
            )
            continue
        if lost := without_counterpart(entry):
            left_out.append(
                _("%(name)s: there is nothing here like %(settings)s.") % {"name": name, "settings": ", ".join(lost)}
            )
    return Found(list(nodes.values()), left_out)


def take_over(found: Found, *, who: Any = None) -> TakenOver:
    """Make the nodes that are not here. What is here stays as it is, also where it is otherwise: that is told."""
    result = TakenOver()
    new: list[dict[str, Any]] = []
    before = list(ApplicationEntity.objects.order_by("id"))
    for node in found.nodes:
        shown = _shown(node)
        try:
            changes = configuration.plan(text=_text([node]))
        except InvalidValue as error:
            result.conflicts.append(f"{node['description']}: {error.message}")
            continue
        if not changes:
            result.there.append(shown)
            continue
        if not changes[0].is_new:
            result.conflicts.append(
                _("%(node)s is here with other values and stays as it is: %(differences)s.")
                % {"node": shown, "differences": _differences(changes[0])}
            )
            continue
        namesake = next((each for each in before if each.title == node["title"]), None)
        if namesake is not None:
            result.conflicts.append(
                _("%(node)s: the title is that of %(other)s. If it is another device, register it: node add.")
                % {"node": shown, "other": namesake}
            )
            continue
        new.append(node)
        result.new.append(shown)
        if other := _led_to(node, before, found.nodes):
            result.conflicts.append(
                _("%(node)s: its name %(name)s leads to %(other)s here. Use its title.")
                % {"node": shown, "name": node["description"], "other": other}
            )
    if new:
        configuration.apply(who=who, text=_text(new))
    return result


def _led_to(node: dict[str, Any], before: list[ApplicationEntity], nodes: list[dict[str, Any]]) -> str:
    """Another node that the name of `node` leads to: one of that title, or one that had the name before."""
    name = node["description"]
    if name == node["title"]:
        return ""
    titles = [_shown(each) for each in nodes if each is not node and each["title"] == name]
    return next((str(each) for each in before if name in {each.title, each.description}), "") or "".join(titles[:1])


def _shown(node: dict[str, Any]) -> str:
    return f"{node['title']} ({node['host']}:{node['port']})"


def _text(nodes: list[dict[str, Any]]) -> str:
    return json.dumps({"sinar": configuration.FORMAT, "nodes": nodes})


def _differences(change: configuration.Change) -> str:
    return "; ".join(
        _("%(name)s %(here)r here, %(there)r there") % {"name": name, "here": here, "there": there}
        for name, (here, there) in change.values.items()
    )


def without_counterpart(entry: Any) -> list[str]:
    """What an entry says, not by default, that nodes have no value for."""
    if not isinstance(entry, dict):
        return []
    return [name for name, default in WITHOUT_COUNTERPART.items() if entry.get(name, default) != default]


def node_of(name: str, entry: Any) -> dict[str, Any]:
    """The columns of a node. Raises KeyError, IndexError, TypeError or ValueError for what describes none."""
    if isinstance(entry, list):
        title, host, port = entry[0], entry[1], entry[2]
        rights: dict[str, Any] = {}
    else:
        title, host, port = entry["AET"], entry["Host"], entry["Port"]
        rights = entry
    if not isinstance(title, str) or not isinstance(host, str):
        raise TypeError("title and host are texts")

    def allowed(*settings: str) -> bool:
        return all(rights.get(each, True) is not False for each in settings)

    return {
        "title": title.strip(" "),
        "host": host,
        "port": int(port),
        "description": name[:200],
        "tls": rights.get("UseDicomTls", False) is True,
        "may_store": allowed("AllowStore"),
        "may_query": allowed("AllowFind"),
        "may_ask_worklist": allowed("AllowFindWorklist"),
        "may_retrieve": allowed("AllowMove") or allowed("AllowGet"),
        "may_commit": allowed("AllowStorageCommitment", "AllowNAction"),
    }
