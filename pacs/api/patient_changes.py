"""What programs do to patients: registering, changing, merging; their history and duplicates."""

import re
import uuid
from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from django.urls import reverse

from pacs.api import patient_shapes as shapes
from pacs.api.access import CURSOR, LIMIT, linked
from pacs.api.patient_entries import (
    candidate_entry,
    merge_entry,
    pair_entry,
    patient_detail,
    preview_entry,
    version_entry,
)
from pacs.api.patients import PatientView, patient_named, patient_of
from pacs.dicomweb.addresses import origin
from pacs.services import keyset
from radiology.api.idempotency import DOCUMENTED, key_of, replayed
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.errors import InvalidValue, NotAllowed, NotFound, PreconditionRequired, RadiologyError, problem
from radiology.models import Patient, PatientMerge
from radiology.services import audit, duplicates, merges, registration
from radiology.services.idempotency import make_once
from radiology.services.patient_values import FIELDS, checked_identifiers, checked_values

SHOWN = 100
LIKELIEST = ["-score", "-pk"]
IF_MATCH = {"If-Match": 'Required: the ETag of the patient as it was read, or its version in quotes (`"7"`).'}
FLAGS = ("unknown", "despite_duplicates")


class RegisterPatient(PatientView):
    """`POST /patients`."""

    @operation(
        tag="Patients",
        summary="Register a patient",
        description="Needs `patients.write`. Without `patient_id` the site's next number is given. 409 carries in "
        "`existing` who has that number already, or in `candidates` who is likely the same person: then use that "
        "patient, or send `despite_duplicates` with a `reason`.",
        headers=DOCUMENTED,
        body=shapes.NewPatient,
        answers={201: shapes.PatientDetail},
        errors=[409],
        examples=shapes.NEW,
    )
    def post(self, request: Any) -> HttpResponse:
        given = json_body(request)
        values, identifiers = _values(given, more=FLAGS)
        common = {"who": request.user, "reason": text_of(given, "reason"), "address": audit.address_of(request)}
        unknown, despite = (_flag(given, name) for name in FLAGS)

        def make() -> str:
            if unknown:
                sex = values.pop("patient_sex", "")
                made = registration.register_unknown(patient_sex=sex, values=values, **common)
            else:
                made = registration.register_patient(
                    values=values, identifiers=identifiers or [], despite_duplicates=despite, **common
                )
            return str(made.public_id)

        try:
            outcome = make_once(
                who=request.user,
                site_id=request.user.site_id,
                key=key_of(request),
                operation="patient",
                request=given,
                make=make,
            )
        except RadiologyError as error:
            return _refused(request, error)
        asked = patient_named(request.user, uuid.UUID(outcome.reference))
        found = patient_of(request.user, asked.public_id)
        here = origin(request)
        headers = {"Location": here + reverse("api-patient", args=[asked.public_id]), **replayed(outcome)}
        body = patient_detail(found, here, asked=asked)
        return json_answer(request, body, status=201, headers={**headers, "ETag": f'"{found.version}"'})


class ChangePatient(PatientView):
    """`PATCH /patients/{patient}`."""

    @operation(
        tag="Patients",
        summary="Change a patient",
        description="Needs `patients.write`. Images leave with the new name, number, birth date and sex; the files "
        "stay as received. 409 carries in `existing` who has that number; 412 the patient as it is now.",
        path=["patient"],
        headers=IF_MATCH,
        body=shapes.PatientValues,
        answers={200: shapes.PatientDetail},
        errors=[404, 409, 412, 428],
        examples=shapes.CHANGE,
    )
    def patch(self, request: Any, patient: uuid.UUID) -> HttpResponse:
        found = patient_named(request.user, patient)
        version = _version(request.headers.get("If-Match", ""))
        given = json_body(request)
        values, identifiers = _values(given)
        try:
            changed = registration.change_patient(
                who=request.user,
                patient=found,
                version=version,
                values=values,
                identifiers=identifiers,
                reason=text_of(given, "reason"),
                address=audit.address_of(request),
            )
        except RadiologyError as error:
            return _refused(request, error, version_field="If-Match")
        return json_answer(request, patient_detail(changed, origin(request)), version=changed.version)


class FindCandidates(PatientView):
    """`POST /patients/candidates`."""

    @operation(
        tag="Patients",
        summary="Who may be the same person",
        description="Before somebody is registered: who is here already and may be that person. Nothing is written.",
        body=shapes.PatientValues,
        answers={200: shapes.Candidates},
    )
    def post(self, request: Any) -> HttpResponse:
        values, identifiers = _values(json_body(request))
        site = request.user.client.site if hasattr(request.user, "client") else request.user.site
        person = registration.person_of(
            site=site, values=checked_values(values), identifiers=checked_identifiers(identifiers or [])
        )
        here = origin(request)
        found = duplicates.candidates_for(who=request.user, person=person)
        return json_answer(request, {"data": [candidate_entry(each, here) for each in found]})


class DuplicatesOfPatient(PatientView):
    """`GET /patients/{patient}/duplicates`."""

    @operation(
        tag="Patients",
        summary="Who may be the same person as a patient",
        path=["patient"],
        answers={200: shapes.Candidates},
        errors=[404],
    )
    def get(self, request: Any, patient: uuid.UUID) -> HttpResponse:
        found = patient_of(request.user, patient)
        here = origin(request)
        candidates = duplicates.candidates_for(who=request.user, person=duplicates.Person.of(found))
        return json_answer(request, {"data": [candidate_entry(each, here) for each in candidates]})


class SuspectedDuplicates(PatientView):
    """`GET /patients/duplicates`."""

    @operation(
        tag="Patients",
        summary="Suspected duplicates",
        description="Pairs of patients who may be one person, the likeliest first. Needs `patients.merge`.",
        parameters=[LIMIT, CURSOR],
        answers={200: shapes.Pairs},
    )
    def get(self, request: Any) -> HttpResponse:
        if not request.user.may("patients.merge"):
            raise NotAllowed("You may not merge patients.")
        rows = duplicates.suspected(who=request.user)
        page = keyset.page(found=rows, size=self.limit, order=LIKELIEST, place=self.place(LIKELIEST))
        here = origin(request)
        links = self.neighbours(page, order=LIKELIEST, address=here + request.path)
        body = {"data": [pair_entry(each, here) for each in page.rows], **links}
        return json_answer(request, body, headers=linked(links))


class MergePatients(PatientView):
    """`POST /patients/{patient}/merge`."""

    @operation(
        tag="Patients",
        summary="Merge a patient into this one",
        description="Needs `patients.merge`. Everything of `merged` becomes this patient's, and whatever names it "
        "later acts on this one. With `dry_run` nothing happens: the answer (200) says what would move. 409 carries "
        "in `merge` the merge that was made before.",
        path=["patient"],
        headers=DOCUMENTED,
        body=shapes.MergeRequest,
        answers={200: shapes.MergePreview, 201: shapes.MergeShape},
        errors=[404, 409],
        examples=shapes.MERGE,
    )
    def post(self, request: Any, patient: uuid.UUID) -> HttpResponse:
        given = json_body(request)
        _require_known(given, {"merged", "reason", "dry_run"})
        survivor = patient_named(request.user, patient)
        merged = patient_named(request.user, _uuid(given, "merged"), field="merged")
        here = origin(request)
        try:
            if _flag(given, "dry_run"):
                preview = merges.preview_merge(who=request.user, survivor=survivor, merged=merged)
                return json_answer(request, preview_entry(preview, here))
            reason = text_of(given, "reason")
            outcome = make_once(
                who=request.user,
                site_id=request.user.site_id,
                key=key_of(request),
                operation=f"merge:{survivor.public_id}",
                request=given,
                make=lambda: str(
                    merges.merge_patients(
                        who=request.user,
                        survivor=survivor,
                        merged=merged,
                        reason=reason,
                        address=audit.address_of(request),
                    ).public_id
                ),
            )
        except RadiologyError as error:
            return _refused(request, error)
        found = PatientMerge.objects.select_related("survivor", "merged").get(public_id=outcome.reference)
        return json_answer(request, merge_entry(found, here), status=201, headers=replayed(outcome))


class UndoMerge(PatientView):
    """`POST /merges/{merge}/undo`."""

    @operation(
        tag="Patients",
        summary="Take a merge back",
        description="Needs `patients.merge`. What the merge moved goes back, and what came under the merged number "
        "since; the rest stays. Undoing twice is harmless. Of several merges the latest is undone first.",
        path=["merge"],
        answers={200: shapes.MergeShape},
        errors=[404, 409],
    )
    def post(self, request: Any, merge: uuid.UUID) -> HttpResponse:
        found = PatientMerge.objects.visible_to(request.user).filter(public_id=merge).first()
        if found is None:
            raise NotFound("There is no such merge, or none that you may see.", field="merge")
        try:
            done = merges.undo_merge(who=request.user, merge=found, address=audit.address_of(request))
        except RadiologyError as error:
            return _refused(request, error)
        return json_answer(request, merge_entry(done, origin(request)))


class PatientChanges(PatientView):
    """`GET /patients/{patient}/history`."""

    @operation(
        tag="Patients",
        summary="What was done to a patient",
        description=f"The latest {SHOWN} changes and the latest {SHOWN} merges, newest first.",
        path=["patient"],
        answers={200: shapes.PatientHistory},
        errors=[404],
    )
    def get(self, request: Any, patient: uuid.UUID) -> HttpResponse:
        found = patient_named(request.user, patient)
        here = origin(request)
        made = PatientMerge.objects.filter(Q(survivor=found) | Q(merged=found)).select_related("survivor", "merged")
        body = {
            "versions": [version_entry(each) for each in found.versions.order_by("-version")[:SHOWN]],
            "merges": [merge_entry(each, here) for each in made.order_by("-pk")[:SHOWN]],
        }
        return json_answer(request, body)


def _refused(request: Any, error: RadiologyError, *, version_field: str = "") -> HttpResponse:
    """The error with what stands in the way: the patient, the candidates, or the merge."""
    here = origin(request)
    more: dict[str, Any] = {}
    existing = error.facts.get("existing")
    if isinstance(existing, Patient) and Patient.objects.visible_to(request.user).filter(pk=existing.pk).exists():
        more["existing"] = patient_detail(existing, here)
    if error.facts.get("candidates"):
        more["candidates"] = [candidate_entry(each, here) for each in error.facts["candidates"]]
    if isinstance(error.facts.get("merge"), PatientMerge):
        more["merge"] = merge_entry(error.facts["merge"], here)
    if version_field and error.field == "version":
        error.field = version_field
    return problem(error, **more)


def _values(
    given: Mapping[str, Any], *, more: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[Mapping[str, Any]] | None]:
    """The fields and the other numbers in a body. Raises InvalidValue for names that are none."""
    _require_known(given, {*FIELDS, "identifiers", "reason", *more})
    identifiers = given.get("identifiers")
    if identifiers is not None and not (
        isinstance(identifiers, list) and all(isinstance(each, dict) for each in identifiers)
    ):
        raise InvalidValue("identifiers is a list of objects with kind, value and issuer.", field="identifiers")
    return {name: given[name] for name in FIELDS if name in given}, identifiers


def _require_known(given: Mapping[str, Any], known: set[str]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        name = re.sub(r"[^A-Za-z0-9._-]", "?", unknown[0])[:64]
        raise InvalidValue(f"{name} is nothing that can be given: there are {', '.join(sorted(known))}.", field=name)


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise InvalidValue(f"{name} is true or false.", field=name)
    return value


def _uuid(given: Mapping[str, Any], name: str) -> uuid.UUID:
    try:
        return uuid.UUID(text_of(given, name))
    except ValueError as error:
        raise InvalidValue(f"{name} is the public_id of a patient.", field=name) from error


def _version(header: str) -> int:
    """The version that an If-Match names. Raises PreconditionRequired."""
    found = re.fullmatch(r'(?:W/)?"?(\d{1,9})(?:-[0-9a-f]*)?"?', header.strip(), re.ASCII)
    if found is None:
        raise PreconditionRequired(
            "Send If-Match with the ETag of the patient as you read it, so that nobody's change is lost.",
            field="If-Match",
        )
    return int(found[1])
