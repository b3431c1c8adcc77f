"""Patients who have studies here, and their studies."""

import uuid
from typing import Any

from django.http import HttpResponse
from rest_framework.permissions import SAFE_METHODS, BasePermission

from pacs.api import shapes
from pacs.api.access import CURSOR, LIMIT, ApiView, linked
from pacs.api.entries import patient_entry, study_entry
from pacs.api.patient_entries import patient_detail
from pacs.api.patient_shapes import PatientDetail
from pacs.api.studies import NAME, WILD, is_wild, name_key
from pacs.dicomweb.addresses import origin
from pacs.models import Study
from pacs.services import keyset
from pacs.services.attributes import Level
from pacs.services.query import Search
from radiology.api.operations import json_answer, operation
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue, NotFound
from radiology.models import AuditAction, Patient
from radiology.services import audit
from radiology.services.patient_search import MOST, find_patients
from radiology.services.survivors import survivor_of

BY_NAME = ["patient_name_sort", "pk"]
NEWEST_FIRST = ["-sort_at", "-pk"]
WRITING = ("patients.write", "patients.merge")


class MayUsePatients(BasePermission):
    """Reading needs `studies.read` or `patients.write`; what changes patients asks for its right itself."""

    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        if not (who and who.is_authenticated):
            return False
        scopes = ("studies.read", "patients.write") if request.method in SAFE_METHODS else WRITING
        return any(who.may(scope) for scope in scopes)


class PatientView(ApiView):
    """A view about patients."""

    permission_classes = [MayUsePatients]


class SearchPatients(PatientView):
    """`GET /patients`."""

    @operation(
        tag="Patients",
        summary="Search for patients",
        description="By name; of somebody who sees every site, site by site. With `q`, the twenty best for whatever "
        "is known: words of the name in any order, as it sounds, a number, the birth date. Who was merged into "
        "another is found as that other.",
        parameters=[
            Parameter(
                "q", "Whatever is known of the patient; not together with other parameters.", example="joko 1970"
            ),
            Parameter("patient_id", f"Medical record number (MRN), exactly. {WILD}", example="001234"),
            Parameter("issuer_of_patient_id", "Who hands out that number.", example="RSUD"),
            Parameter("patient_name", NAME, example="john doe"),
            Parameter("patient_birth_date", "YYYYMMDD, or a range of days.", example="19700131"),
            LIMIT,
            CURSOR,
        ],
        answers={200: shapes.Patients},
    )
    def get(self, request: Any) -> HttpResponse:
        asked = self.asked
        if asked["q"]:
            return self._find(request)
        keys = {
            "PatientID": asked["patient_id"],
            "IssuerOfPatientID": asked["issuer_of_patient_id"],
            "PatientName": name_key(asked, "patient_name"),
            "PatientBirthDate": asked["patient_birth_date"],
        }
        keys = {name: value for name, value in keys.items() if value}
        search = Search(
            who=request.user,
            level=Level.PATIENT,
            keys=keys,
            fuzzy=not is_wild(asked["patient_name"]),
            with_studies=False,
        )
        order = ["site_id", *BY_NAME] if request.user.sees_every_site else BY_NAME
        page = search.page(size=self.limit, order=order, place=self.place(order))
        here = origin(request)
        links = self.neighbours(page, order=order, address=here + request.path)
        _searched(request, len(page.rows))
        body = {"data": [patient_entry(patient, here) for patient in page.rows], **links}
        return json_answer(request, body, headers=linked(links))

    def _find(self, request: Any) -> HttpResponse:
        """The best few for a text."""
        others = [name for name in request.GET if name not in {"q", "limit"} and self.asked.get(name)]
        if others:
            raise InvalidValue("q stands alone: leave out the other parameters.", field="q")
        found = find_patients(who=request.user, text=self.asked["q"], limit=min(self.limit, MOST))
        _searched(request, len(found))
        here = origin(request)
        return json_answer(request, {"data": [patient_entry(each.patient, here) for each in found]})


class OnePatient(PatientView):
    """`GET /patients/{patient}`."""

    @operation(
        tag="Patients",
        summary="One patient",
        description="Who was merged into another is answered with that other; `asked_for` says so.",
        path=["patient"],
        answers={200: PatientDetail},
        errors=[404],
    )
    def get(self, request: Any, patient: uuid.UUID) -> HttpResponse:
        asked = patient_named(request.user, patient)
        found = survivor_of(asked)
        audit.record(
            event="api.read",
            action=AuditAction.READ,
            who=request.user,
            address=audit.address_of(request),
            site_id=found.site_id,
            patient_id=found.pk,
        )
        here = origin(request)
        body = patient_detail(found, here, asked=asked)
        return json_answer(request, body, version=found.version, headers={"Content-Location": body["links"]["self"]})


class StudiesOfPatient(ApiView):
    """`GET /patients/{patient}/studies`."""

    @operation(
        tag="Patients",
        summary="The studies of a patient",
        description="Newest first.",
        path=["patient"],
        parameters=[LIMIT, CURSOR],
        answers={200: shapes.Studies},
        errors=[404],
    )
    def get(self, request: Any, patient: uuid.UUID) -> HttpResponse:
        found = patient_of(request.user, patient)
        studies = Study.objects.visible_to(request.user).filter(patient_ref=found).select_related("patient_ref")
        studies = studies.defer("attributes", "patient_ref__attributes")
        page = keyset.page(found=studies, size=self.limit, order=NEWEST_FIRST, place=self.place(NEWEST_FIRST))
        here = origin(request)
        links = self.neighbours(page, order=NEWEST_FIRST, address=here + request.path)
        body = {"data": [study_entry(study, here) for study in page.rows], **links}
        return json_answer(request, body, headers=linked(links))


def patient_of(who: Any, public_id: uuid.UUID) -> Patient:
    """The patient with that public id whom `who` may see; of one who was merged, the survivor. Raises NotFound."""
    return survivor_of(patient_named(who, public_id))


def patient_named(who: Any, public_id: uuid.UUID, *, field: str = "patient") -> Patient:
    """The patient with that public id whom `who` may see, also one who was merged away. Raises NotFound."""
    rows = Patient.objects.visible_to(who).select_related("site", "merged_into__site")
    found = rows.filter(public_id=public_id).first()
    if found is None:
        raise NotFound("There is no such patient, or none that you may see.", field=field)
    return found


def _searched(request: Any, answers: int) -> None:
    audit.record(
        event="api.search",
        action=AuditAction.EXECUTE,
        who=request.user,
        address=audit.address_of(request),
        detail={"level": Level.PATIENT.value, "answers": answers},
    )
