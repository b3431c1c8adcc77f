"""What is written on a picture when the caller asks for it (PS3.18 8.3.5.1.1)."""

from collections.abc import Collection
from typing import Any

from pacs.models import Location
from pacs.services.metadata import metadata_of
from radiology.dicom import PersonName

# Keywords that are understood, and where their lines stand.
PLACES = {"patient": "top", "technique": "bottom"}
LONGEST = 120


def annotation_of(*, location: Location, keywords: Collection[str]) -> dict[str, list[str]]:
    """The lines for "top" and "bottom", out of the header with its corrections."""
    if not keywords:
        return {}
    found = metadata_of(location=location, base_url="")
    lines = {"patient": _patient(found), "technique": _technique(found)}
    return {PLACES[keyword]: [line[:LONGEST] for line in lines[keyword] if line] for keyword in keywords}


def _patient(found: dict[str, Any]) -> list[str]:
    name = found.get("00100010", {}).get("Value", [None])[0] or {}
    shown = PersonName(name.get("Alphabetic", "") if isinstance(name, dict) else str(name)).display
    return [shown, _joined(found, "00100020", "00100030", "00100040")]


def _technique(found: dict[str, Any]) -> list[str]:
    def measured(tag: str, before: str, unit: str) -> str:
        value = _text(found, tag)
        return f"{before}{value} {unit}" if value else ""

    exposure = (measured("00180060", "", "kV"), measured("00181151", "", "mA"), measured("00181152", "", "mAs"))
    magnetic = (measured("00180080", "TR ", "ms"), measured("00180081", "TE ", "ms"))
    thickness = (measured("00180050", "", "mm"),)
    return [
        _joined(found, "00080060", "00180015", "00200060", "00185101"),
        _joined(found, "00081030", "0008103E"),
        _joined(found, "00080020", "00080030"),
        "  ".join(part for part in (*exposure, *magnetic, *thickness) if part),
    ]


def _joined(found: dict[str, Any], *tags: str) -> str:
    return "  ".join(text for tag in tags if (text := _text(found, tag)))


def _text(found: dict[str, Any], tag: str) -> str:
    values = found.get(tag, {}).get("Value") or []
    return "" if not values or values[0] is None else str(values[0])
