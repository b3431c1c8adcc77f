"""`GET /worklist-items`: the modality worklist for programs, by the same search as C-FIND."""

import uuid
from itertools import islice
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample

from pacs.api.access import CURSOR, LIMIT, ApiView, linked
from pacs.dicomweb.addresses import origin
from pacs.services.keyset import Page, Place, values_of
from radiology.api.operations import json_answer, operation
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue
from radiology.models import AuditAction, Site
from radiology.services import audit
from worklist.api.worklist_entries import WorklistItems, item_entry, snake
from worklist.models import ScheduledProcedureStep
from worklist.services.modality_worklist import ORDER, WorklistSearch
from worklist.services.worklist_attributes import ATTRIBUTES, STEP
from worklist.services.worklist_diagnosis import devices_of
from worklist.services.worklist_rules import Station

WILD = "`*` and `?` stand for any characters and any one."
RANGE = "or a range with a hyphen, both ends included; one end may be left out."
STEP_KEYS = {
    "ScheduledStationAETitle": (f"AE title of the station that it is scheduled for. {WILD}", "CT1"),
    "ScheduledProcedureStepStartDate": (f"YYYYMMDD, {RANGE}", "20261128-20261130"),
    "ScheduledProcedureStepStartTime": (
        f"HHMM, {RANGE} With dates it is one interval from first to last.",
        "0800-1200",
    ),
    "Modality": (f"Exactly. {WILD}", "CT"),
    "ScheduledPerformingPhysicianName": (f"As in DICOM. {WILD}", "RAHMAN*"),
    "ScheduledProcedureStepID": (f"Exactly. {WILD}", "S0000017"),
    "ScheduledProcedureStepStatus": ("SCHEDULED, ARRIVED, READY or STARTED.", "ARRIVED"),
}
KEYS = {
    "PatientName": (f"As in DICOM; case and accents do not matter. {WILD}", "WIBOWO*"),
    "PatientID": (f"Medical record number (MRN), exactly. {WILD}", "001234"),
    "AccessionNumber": (f"Exactly. {WILD}", "26112800017"),
    "RequestedProcedureID": (f"Exactly. {WILD}", "RP000017"),
    "StudyInstanceUID": ("One, or several separated by a backslash.", "1.2.840.113619.2.55.3.4271045733.996"),
}
DEVICE = Parameter(
    "device",
    "`public_id` of a device: what it is shown, as far as its worklist reaches. Without one, all open examinations.",
    example="01930f5e-7c1a-7b3e-9d51-2f6f0c9a4e11",
)
PARAMETERS = [
    DEVICE,
    *(Parameter(snake(keyword), text, example=example) for keyword, (text, example) in {**STEP_KEYS, **KEYS}.items()),
    LIMIT,
    CURSOR,
]
EXAMPLE = OpenApiExample(
    "One item, shortened",
    value={"data": [{"accession_number": "26112800017", "patient_id": "001234", "patient_name": "WIBOWO^BUDI"}]},
    response_only=True,
    status_codes=["200"],
)


class WorklistItemsView(ApiView):
    """`GET /worklist-items`."""

    @operation(
        tag="Worklist",
        summary="Items of the modality worklist",
        description="What a device is told by its worklist (C-FIND, PS3.4 Annex K), matched alike: open examinations "
        "that are on the calendar, by their start. Times are in the site's zone.",
        parameters=PARAMETERS,
        answers={200: WorklistItems},
        examples=[EXAMPLE],
    )
    def get(self, request: Any) -> HttpResponse:
        search = WorklistSearch(station=self._station(request.user), keys=self._keys())
        visible = ScheduledProcedureStep.objects.visible_to(request.user)
        place = self.place(ORDER)
        found = list(islice(search.rows(visible, place=place), self.limit + 1))
        rows, more = found[: self.limit], len(found) > self.limit
        page = Page(rows, Place(values_of(ORDER, rows[-1])) if more else None)
        audit.record(
            event="api.search",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            detail={"level": "WORKLIST", "answers": len(rows)},
        )
        links = self.neighbours(page, order=ORDER, address=origin(request) + request.path)
        body = {"data": [item_entry(step, search.context) for step in rows], **links}
        return json_answer(request, body, headers=linked(links))

    def _station(self, who: Any) -> Station:
        asked = self.asked["device"]
        if not asked:
            return Station(site=Site.objects.get(pk=who.site_id), title="")
        try:
            wanted = uuid.UUID(asked)
        except ValueError as error:
            raise InvalidValue("device must be the public_id of a device.", field="device") from error
        device = next((each for each in devices_of(who) if each.public_id == wanted), None)
        if device is None:
            raise InvalidValue("There is no such device, or none of your site.", field="device")
        return Station(site=device.site, title=device.station_ae_title, device=device)

    def _keys(self) -> dict[str, Any]:
        """The keys that were given, and all others empty: everything is answered."""
        keys: dict[str, Any] = {each.tag: {} if each.vr == "SQ" else "" for each in ATTRIBUTES.values()}
        keys |= {keyword: self.asked[snake(keyword)] for keyword in KEYS}
        keys[STEP.tag] = {each.tag: {} if each.vr == "SQ" else "" for each in STEP.items.values()}
        keys[STEP.tag] |= {keyword: self.asked[snake(keyword)] for keyword in STEP_KEYS}
        return keys
