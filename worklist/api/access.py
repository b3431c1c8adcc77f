"""What every view of the API about the schedule shares."""

import re
import uuid
from datetime import date, datetime
from typing import Any, cast

from rest_framework.permissions import SAFE_METHODS, BasePermission

from pacs.api.access import ApiView
from pacs.dicomweb.addresses import origin
from radiology.dicom import parse_da
from radiology.errors import Conflict, InvalidValue, NotFound, PreconditionRequired, problem
from radiology.models import Site
from worklist.api.entries import step_entry
from worklist.models import Device, Room, ScheduledProcedureStep

IF_MATCH = {"If-Match": 'The ETag of the step as it was read, or its version in quotes (`"7"`).'}


class MayUseSchedule(BasePermission):
    """Reading needs the scope `studies.read`; writing the one that the view names, and the sight of what is changed."""

    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        if not (who and who.is_authenticated and who.may("studies.read")):
            return False
        return request.method in SAFE_METHODS or who.may(view.scope)


class ScheduleView(ApiView):
    """A view about the schedule: `scope` is what changing needs. A conflict tells what is there already."""

    permission_classes = [MayUseSchedule]
    scope = "schedule.write"

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, Conflict) and isinstance(there := exc.facts.get("step"), ScheduledProcedureStep):
            found = ScheduledProcedureStep.objects.visible_to(self.request.user).with_patient().filter(pk=there.pk)
            return problem(exc, existing=step_entry(found.get(), origin(self.request)))
        return super().handle_exception(exc)


def site_of(who: Any) -> Site:
    """The caller's own site."""
    return Site.objects.get(pk=who.site_id)


def step_of(who: Any, public_id: uuid.UUID) -> ScheduledProcedureStep:
    """The step of that public id that `who` may see. Raises NotFound."""
    found = ScheduledProcedureStep.objects.visible_to(who).with_patient().select_related("site")
    return cast(ScheduledProcedureStep, _one(found, public_id, "step"))


def room_of(who: Any, public_id: uuid.UUID) -> Room:
    return cast(Room, _one(Room.objects.visible_to(who).select_related("site"), public_id, "room"))


def device_of(who: Any, public_id: uuid.UUID) -> Device:
    return cast(Device, _one(Device.objects.visible_to(who).select_related("room", "site"), public_id, "device"))


def _one(rows: Any, public_id: uuid.UUID, what: str) -> Any:
    found = rows.filter(public_id=public_id).first()
    if found is None:
        raise NotFound(f"There is no such {what}, or none that you may see.", field=what)
    return found


def version_of(request: Any, *, required: bool) -> int | None:
    """The version that If-Match names. Raises PreconditionRequired for none where one is required."""
    header = request.headers.get("If-Match", "").strip()
    found = re.fullmatch(r'(?:W/)?"?(\d{1,9})(?:-[0-9a-f]*)?"?', header, re.ASCII)
    if found is not None:
        return int(found[1])
    if required or header not in {"", "*"}:
        raise PreconditionRequired(
            "Send If-Match with the ETag of the step as you read it, so that nobody's change is lost.",
            field="If-Match",
        )
    return None


def moment_of(text: str, field: str) -> datetime:
    """A moment with its offset (RFC 3339). Raises InvalidValue."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None or not 1900 < found.year < 2200:
            raise ValueError
    except ValueError as error:
        raise InvalidValue(
            f"{field} must be a moment with its offset, such as 2026-03-02T09:30:00+07:00.", field=field
        ) from error
    return found


def days_of(text: str, field: str) -> tuple[date, date]:
    """The first and the last day of `YYYYMMDD` or `YYYYMMDD-YYYYMMDD`. Raises InvalidValue."""
    first, dash, last = text.partition("-")
    from_, until = parse_da(first), parse_da(last if dash else first)
    if from_ is None or until is None or until < from_ or not 1900 < from_.year <= until.year < 2200:
        raise InvalidValue(f"{field} must be a day (YYYYMMDD) or a range of days.", field=field)
    return from_, until
