"""The answer to STOW-RS: which objects were stored and which were not (PS3.18 10.5.3, Annex I.2)."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pacs.dicomweb.native_model import to_xml
from pacs.services.store import Stored

JSON, XML = "application/dicom+json", "application/dicom+xml"
TYPES = (JSON, "application/json", XML)
OUT_OF_RESOURCES = 0xA700
# "Coercion of Data Elements": of the defined warning reasons the nearest to "kept for review".
WARNING_HELD = 0xB000
# Why, in words: Error Comment (0000,0902), as other archives put it there.
LONGEST_COMMENT = 64


@dataclass(frozen=True)
class Failure:
    """One object that was not stored. `reason` is a DIMSE status; UIDs are empty when they are not known."""

    reason: int
    text: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


@dataclass
class StoreReport:
    """Grows while a request is worked on; `status` and `body` say the whole of it."""

    base_url: str
    accepted: list[tuple[Stored, bool]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def accept(self, stored: Stored, *, held: bool) -> None:
        self.accepted.append((stored, held))

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)

    @property
    def items(self) -> int:
        return len(self.accepted) + len(self.failures)

    @property
    def stored(self) -> int:
        return len(self.accepted)

    @property
    def failed(self) -> int:
        return len(self.failures)

    @property
    def studies(self) -> Counter[str]:
        return Counter(stored.study_instance_uid for stored, _ in self.accepted)

    @property
    def status(self) -> int:
        """200, 202 with warnings or failures, 409 when nothing was stored (507: for want of space)."""
        if not self.accepted:
            return 507 if all(failure.reason == OUT_OF_RESOURCES for failure in self.failures) else 409
        return 202 if self.failures or any(held for _, held in self.accepted) else 200

    def body(self, media_type: str) -> bytes:
        """The response data set."""
        data_set = self._data_set()
        if media_type == XML:
            return to_xml(data_set)
        return json.dumps(data_set, ensure_ascii=False).encode()

    def _data_set(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if len(self.studies) == 1:
            found["00081190"] = _value("UR", f"{self.base_url}/studies/{next(iter(self.studies))}")
        if self.failures:
            found["00081198"] = {"vr": "SQ", "Value": [_failed(failure) for failure in self.failures]}
        if self.accepted:
            found["00081199"] = {"vr": "SQ", "Value": [self._referenced(*each) for each in self.accepted]}
        return found

    def _referenced(self, stored: Stored, held: bool) -> dict[str, Any]:
        item = {
            "00081150": _value("UI", stored.sop_class_uid),
            "00081155": _value("UI", stored.sop_instance_uid),
        }
        if held:
            item["00081196"] = _value("US", WARNING_HELD)
            item["00000902"] = _value("LO", stored.reason[:LONGEST_COMMENT])
        else:
            item["00081190"] = _value(
                "UR",
                f"{self.base_url}/studies/{stored.study_instance_uid}/series/{stored.series_instance_uid}"
                f"/instances/{stored.sop_instance_uid}",
            )
        return dict(sorted(item.items()))


def _failed(failure: Failure) -> dict[str, Any]:
    item = {}
    if failure.sop_class_uid:
        item["00081150"] = _value("UI", failure.sop_class_uid)
    if failure.sop_instance_uid:
        item["00081155"] = _value("UI", failure.sop_instance_uid)
    item["00081197"] = _value("US", failure.reason)
    item["00000902"] = _value("LO", failure.text[:LONGEST_COMMENT])
    return dict(sorted(item.items()))


def _value(vr: str, value: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}
