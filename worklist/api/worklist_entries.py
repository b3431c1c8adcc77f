"""Items of the modality worklist as JSON objects: the attributes of Table K.6-1 under their keywords in snake_case."""

import re
from collections.abc import Mapping
from typing import Any

from pydicom.datadict import dictionary_description, dictionary_VM
from rest_framework import serializers

from worklist.models import ScheduledProcedureStep
from worklist.services.worklist_attributes import ATTRIBUTES, Context, WorklistAttribute

NUMBERS = {"US"}


def snake(keyword: str) -> str:
    """`ScheduledStationAETitle` as `scheduled_station_ae_title`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", keyword).replace("_I_Ds", "_IDs").lower()


def item_entry(step: ScheduledProcedureStep, context: Context) -> dict[str, Any]:
    """All that a device can be told of a step."""
    return {"public_id": str(step.public_id), "version": step.version, **_members(ATTRIBUTES, step, context)}


def _members(attributes: Mapping[str, WorklistAttribute], row: Any, context: Context) -> dict[str, Any]:
    return {snake(each.keyword): _member(each, row, context) for each in attributes.values()}


def _member(each: WorklistAttribute, row: Any, context: Context) -> Any:
    values = each.values(row, context)
    if each.vr == "SQ":
        return [_members(each.items, item, context) for item in values]
    if _is_list(each):
        return values
    if each.vr in NUMBERS:
        return values[0] if values else None
    return values[0] if values else ""


def _is_list(each: WorklistAttribute) -> bool:
    return dictionary_VM(each.keyword) != "1"


def _described(each: WorklistAttribute) -> Any:
    tag = f"({each.tag[:4]},{each.tag[4:]})"
    text = f"{dictionary_description(each.keyword)} {tag}"
    if each.vr == "SQ" and not each.items:
        return serializers.ListField(child=serializers.DictField(), help_text=text)
    if each.vr == "SQ":
        return _serializer(each.keyword + "Item", each.items, text)(many=True, help_text=text)
    if _is_list(each):
        return serializers.ListField(child=serializers.CharField(), help_text=text)
    if each.vr in NUMBERS:
        return serializers.IntegerField(allow_null=True, help_text=text)
    return serializers.CharField(help_text=text)


def _serializer(name: str, attributes: Mapping[str, WorklistAttribute], text: str, **more: Any) -> Any:
    members = {snake(each.keyword): _described(each) for each in attributes.values()}
    return type(name, (serializers.Serializer,), {"__doc__": text, **more, **members})


WorklistItem = _serializer(
    "WorklistItem",
    ATTRIBUTES,
    "An examination as a device is told of it.",
    public_id=serializers.UUIDField(help_text="Names the scheduled step."),
    version=serializers.IntegerField(help_text="Rises with each change of the step."),
)


class WorklistItems(serializers.Serializer):
    """Items of a worklist, by their start."""

    data = WorklistItem(many=True)
    next = serializers.CharField(required=False, help_text="Address of the next page; not there on the last one.")
