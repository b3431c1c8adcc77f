"""What people and programs change about a study: corrections with their history, deletion and restoring."""

import re
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.http import HttpResponse
from django.urls import reverse

from pacs.api import change_shapes as shapes
from pacs.api.access import CURSOR, LIMIT, ApiView, linked, study_of
from pacs.api.patients import patient_of
from pacs.api.shapes import StudyDetail
from pacs.api.studies import study_detail
from pacs.dicomweb.addresses import origin
from pacs.models import Correction, Removal, RemovalCode, Study
from pacs.services import corrections, keyset, removal
from pacs.services.attributes import BY_KEYWORD
from pacs.services.correctable import OF_STUDY
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.api.parameters import Parameter
from radiology.dicom import is_uid
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound, PreconditionFailed, PreconditionRequired
from radiology.services import audit

NEWEST_FIRST = ["-pk"]
SHOWN = 100
# What may be corrected, by the names of the API.
KEYWORDS = {BY_KEYWORD[keyword].column: keyword for keyword in OF_STUDY}
IF_MATCH = {"If-Match": 'Required: the ETag of the study as it was read, or its version in quotes (`"7"`).'}


class CorrectStudy(ApiView):
    """`PATCH /studies/{study}`."""

    @operation(
        tag="Changes",
        summary="Correct a study",
        description="Gives the study other attributes, or another patient. The files stay as they were received: what "
        "is corrected is laid over them on every way out. Only what is named is changed; `undo` takes it back.",
        path=["study"],
        headers=IF_MATCH,
        body=shapes.Changes,
        answers={200: StudyDetail},
        errors=[404, 409, 412, 428],
        examples=shapes.CHANGES,
    )
    def patch(self, request: Any, study: str) -> HttpResponse:
        found = study_of(request.user, study)
        version = _version(request.headers.get("If-Match", ""))
        if not request.user.may("studies.correct"):
            raise NotAllowed("You may not correct studies.")
        given = json_body(request)
        changes = _changes(given)
        common = {"who": request.user, "reason": text_of(given, "reason"), "address": audit.address_of(request)}
        patient = text_of(given, "patient")
        if not changes and not patient:
            names = ", ".join([*KEYWORDS, "patient"])
            raise InvalidValue(f"The body names nothing to correct: there are {names}.")
        with transaction.atomic():
            try:
                if changes:
                    corrections.correct_study(study=found, version=version, changes=changes, **common)
                    version = Study.objects.values_list("version", flat=True).get(pk=found.pk)
                if patient:
                    whose = patient_of(request.user, _uuid(patient))
                    corrections.assign_patient(study=found, version=version, patient=whose, **common)
            except Conflict as error:
                raise PreconditionFailed(error.message, field="If-Match") from error
            except InvalidValue as error:
                raise InvalidValue(error.message, field=_named(error.field)) from error
        found = study_of(request.user, study)
        return json_answer(request, study_detail(request, found), version=found.version)


class History(ApiView):
    """`GET /studies/{study}/history`."""

    @operation(
        tag="Changes",
        summary="What was changed about a study",
        description=f"The latest {SHOWN} corrections and the latest {SHOWN} removals, newest first.",
        path=["study"],
        answers={200: shapes.StudyHistory},
        errors=[404],
    )
    def get(self, request: Any, study: str) -> HttpResponse:
        found = study_of(request.user, study)
        made = Correction.objects.filter(Q(study_ref=found) | Q(other_study_ref=found)).order_by("-pk")[:SHOWN]
        gone = Removal.objects.filter(study_ref=found).order_by("-pk")[:SHOWN]
        here = origin(request)
        body = {
            "corrections": [correction_entry(each, here) for each in made],
            "removals": [removal_entry(each) for each in gone],
        }
        return json_answer(request, body)


class UndoCorrection(ApiView):
    """`POST /corrections/{correction}/undo`."""

    @operation(
        tag="Changes",
        summary="Take a correction back",
        description="Undoing twice is harmless. Of several corrections of a study the latest is undone first.",
        path=["correction"],
        answers={200: shapes.CorrectionShape},
        errors=[404, 409],
    )
    def post(self, request: Any, correction: uuid.UUID) -> HttpResponse:
        rows = Correction.objects.filter(public_id=correction)
        if not request.user.sees_every_site:
            rows = rows.filter(site_id=request.user.site_id)
        found = rows.first()
        if found is None:
            raise NotFound("There is no such correction.", field="correction")
        corrections.undo(who=request.user, correction=found, address=audit.address_of(request))
        found.refresh_from_db()
        return json_answer(request, correction_entry(found, origin(request)))


class DeleteStudy(ApiView):
    """`DELETE /studies/{study}`."""

    @operation(
        tag="Changes",
        summary="Delete a study",
        description="Hides the study in every service at once. Until `restorable_until` it can be restored, then its "
        "files are removed for good. The reason stands in the parameter or in a JSON body; it is kept.",
        path=["study"],
        parameters=[Parameter("reason", "Why; required, here or in the body.", example="sent for the wrong patient")],
        answers={200: shapes.RemovalShape},
        errors=[404],
    )
    def delete(self, request: Any, study: str) -> HttpResponse:
        found = study_of(request.user, study)
        reason = self.asked["reason"] or text_of(json_body(request), "reason")
        if len(reason) > 200:
            raise InvalidValue("reason may have 200 characters at most.", field="reason")
        done = removal.delete_study(who=request.user, study=found, reason=reason, address=audit.address_of(request))
        return json_answer(request, removal_entry(done))


class DeletedStudies(ApiView):
    """`GET /studies/deleted`."""

    @operation(
        tag="Changes",
        summary="Deleted studies",
        description="Those that can still be restored, latest first. Needs `studies.delete`.",
        parameters=[LIMIT, CURSOR],
        answers={200: shapes.Removals},
    )
    def get(self, request: Any) -> HttpResponse:
        if not request.user.may("studies.delete"):
            raise NotAllowed("You may not see what was deleted.")
        rows = _deleted(request.user).select_related("site")
        page = keyset.page(found=rows, size=self.limit, order=NEWEST_FIRST, place=self.place(NEWEST_FIRST))
        links = self.neighbours(page, order=NEWEST_FIRST, address=origin(request) + request.path)
        body = {"data": [removal_entry(each) for each in page.rows], **links}
        return json_answer(request, body, headers=linked(links))


class RestoreStudy(ApiView):
    """`POST /studies/{study}/restore`."""

    @operation(
        tag="Changes",
        summary="Restore a deleted study",
        description="Needs `studies.delete`, as deleting does.",
        path=["study"],
        answers={200: StudyDetail},
        errors=[404, 409],
    )
    def post(self, request: Any, study: str) -> HttpResponse:
        if not request.user.may("studies.delete"):
            raise NotAllowed("You may not restore studies.")
        rows = _deleted(request.user).filter(study_instance_uid=study) if is_uid(study) else Removal.objects.none()
        found = rows.order_by("-pk").first()
        if found is None:
            study_of(request.user, study)
            raise Conflict("The study is not deleted.", field="study")
        removal.restore(who=request.user, removal=found, address=audit.address_of(request))
        restored = study_of(request.user, study)
        return json_answer(request, study_detail(request, restored), version=restored.version)


def correction_entry(correction: Correction, origin: str) -> dict[str, Any]:
    return {
        "public_id": str(correction.public_id),
        "kind": correction.kind,
        "changes": {_named(name): value for name, value in correction.after.items()},
        "reason": correction.reason,
        "by": correction.agent,
        "at": correction.created_at.isoformat(),
        "undone_at": correction.undone_at.isoformat() if correction.undone_at else None,
        "links": {"undo": origin + reverse("api-correction-undo", args=[correction.public_id])},
    }


def removal_entry(gone: Removal) -> dict[str, Any]:
    until = None
    if gone.code in removal.PURGED and gone.restored_at is None:
        until = (gone.created_at + timedelta(days=gone.site.keeps_deleted_for)).isoformat()
    return {
        "public_id": str(gone.public_id),
        "study_instance_uid": gone.study_instance_uid,
        "code": gone.code,
        "reason": gone.reason,
        "by": gone.agent,
        "at": gone.created_at.isoformat(),
        "restored_at": gone.restored_at.isoformat() if gone.restored_at else None,
        "restorable_until": until,
    }


def _deleted(who: Any) -> Any:
    """Removals of whole studies of the sites that `who` sees, which can be taken back."""
    rows = Removal.objects.filter(code=RemovalCode.DELETED, restored_at=None).exclude(study_ref=None)
    return rows if who.sees_every_site else rows.filter(site_id=who.site_id)


def _version(header: str) -> int:
    """The version that an If-Match names. Raises PreconditionRequired."""
    found = re.fullmatch(r'(?:W/)?"?(\d{1,9})(?:-[0-9a-f]*)?"?', header.strip(), re.ASCII)
    if found is None:
        raise PreconditionRequired(
            "Send If-Match with the ETag of the study as you read it, so that nobody's change is lost.",
            field="If-Match",
        )
    return int(found[1])


def _changes(given: Mapping[str, Any]) -> dict[str, str]:
    """The attributes named in a body, by keyword. Raises InvalidValue for names that are none."""
    unknown = [name for name in given if name not in {*KEYWORDS, "patient", "reason"}]
    if unknown:
        name = re.sub(r"[^A-Za-z0-9._-]", "?", unknown[0])[:64]
        raise InvalidValue(f"{name} cannot be corrected: there are {', '.join([*KEYWORDS, 'patient'])}.", field=name)
    return {keyword: text_of(given, name, most=1024) for name, keyword in KEYWORDS.items() if name in given}


def _named(keyword: str) -> str:
    """The name in the API of what a correction names."""
    known = BY_KEYWORD.get(keyword)
    return known.column if known is not None and known.column else keyword


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise InvalidValue("patient is the public_id of a patient.", field="patient") from error
