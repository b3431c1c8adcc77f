"""`/modify`: copies, or a correction laid over on every way out and undone when it was wrong.

Orthanc makes new objects with new UIDs and, with `KeepSource` false, deletes the old ones. Here a source that is
not to be kept stays what it is, under its UIDs and identifiers, and is corrected in place, where its attributes can
be; so is what a request wants to change under its own UIDs (`Keep`). All else is copies, and deletions, as in Orthanc.
"""

from typing import Any

from django.db import transaction
from django.http import HttpResponse

from integrations.orthanc.access import answer, field, json_object, raw_body
from integrations.orthanc.collections import ResourceView
from integrations.orthanc.copying import LARGEST_REQUEST, copied
from integrations.orthanc.finding import patients_numbered
from integrations.orthanc.identifiers import identifiers_of, patient_identifiers
from integrations.orthanc.lookup import COLLECTIONS, TYPES, above, rows_of
from integrations.orthanc.modification import OF_LEVEL
from integrations.orthanc.tags import keyword_of, tag_of
from pacs.models import Study
from pacs.services import corrections
from pacs.services.attributes import Level
from pacs.services.correctable import OF_SERIES, OF_STUDY
from radiology.errors import Conflict, NotAllowed
from radiology.models import Patient
from radiology.services import audit

REASON = "Modified over the Orthanc REST API"
CORRECTABLE = {Level.STUDY: OF_STUDY, Level.SERIES: OF_SERIES}
PATIENT_ID = "PatientID"


class Correcting(ResourceView):
    """What changes stored studies needs the right to correct them."""

    needs = {"POST": "studies.write"}

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not request.user.may("studies.correct"):
            raise NotAllowed("You may not correct studies.")

    @property
    def common(self) -> dict[str, Any]:
        return {"who": self.request.user, "reason": REASON, "address": audit.address_of(self.request)}


class Modify(Correcting):
    """`POST /studies/{id}/modify`, of patients and series too."""

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = json_object(request, raw_body(request, most=LARGEST_REQUEST))
        replace = self._corrections(given)
        if replace is None:
            return self._copied(given)
        number = replace.pop(PATIENT_ID, None)
        patient = None if number is None else self._patient(number)
        if number is not None and patient is None:
            return self._copied(given)
        self._correct(replace, patient)
        return self._answer()

    def _copied(self, given: dict[str, Any]) -> HttpResponse:
        """Copies of a study that are another patient's are changed from the patient on, unless the study stays."""
        names = {tag_of(name) for name in field(given, "Replace", dict, {})}
        is_other = OF_LEVEL[Level.PATIENT] in names and field(given, "KeepSource", bool, True) is False
        changed = Level.PATIENT if is_other and self.level is Level.STUDY else self.level
        return copied(self, given, [(self.level, self.row)], anonymizes=False, changed=changed, level=self.level)

    def _corrections(self, given: dict[str, Any]) -> dict[str, str] | None:
        """What is replaced by keyword, where a correction in place can do all that is asked; else None."""
        allowed = {*CORRECTABLE.get(self.level, ()), *([PATIENT_ID] if self.level is Level.STUDY else [])}
        kept = {tag_of(name) for name in field(given, "Keep", list, []) if isinstance(name, str)}
        own = {OF_LEVEL[level] for level in Level if level.depth >= self.level.depth}
        stays_itself = kept == own and field(given, "Force", bool, False)
        if field(given, "KeepSource", bool, True) and not stays_itself:
            return None
        if (kept and not stays_itself) or any(given.get(name) for name in ("Remove", "RemovePrivateTags", "Transcode")):
            return None
        found = {}
        for name, value in field(given, "Replace", dict, {}).items():
            keyword = keyword_of(tag_of(name)) if tag_of(name) else ""
            if keyword not in allowed or isinstance(value, bool) or not isinstance(value, str | int):
                return None
            found[keyword] = str(value)
        return found or None

    def _correct(self, replace: dict[str, str], patient: Patient | None) -> None:
        study = above(self.level, self.row, Level.STUDY)
        with transaction.atomic():
            if replace and self.level is Level.STUDY:
                corrections.correct_study(study=study, version=study.version, changes=replace, **self.common)
            elif replace:
                corrections.correct_series(series=self.row, version=study.version, changes=replace, **self.common)
            if patient is not None and patient.pk != study.patient_ref_id:
                version = Study.objects.values_list("version", flat=True).get(pk=study.pk)
                corrections.assign_patient(study=study, version=version, patient=patient, **self.common)

    def _patient(self, number: str) -> Patient | None:
        """Raises Conflict for a number that more than one patient has."""
        if number == self.row.patient_ref.patient_id:
            return self.row.patient_ref
        found = patients_numbered(self.here, number)
        if len(found) > 1:
            raise Conflict("More than one patient has this PatientID: choose on the study's page.")
        return found[0] if found else None

    def _answer(self) -> HttpResponse:
        row = rows_of(self.here, self.level).get(pk=self.row.pk)
        (name,) = identifiers_of(self.level, [row])
        patient = above(self.level, row, Level.PATIENT)
        column = "number_of_study_related_instances" if self.level is Level.STUDY else (
            "number_of_series_related_instances"
        )  # fmt: skip
        return answer(
            {
                "Description": "REST API",
                "FailedInstancesCount": 0,
                "ID": name,
                "InstancesCount": getattr(row, column),
                "IsAnonymization": False,
                "ParentResources": [self.kwargs[f"orthanc_{self.level.name.lower()}"]],
                "Path": f"/{COLLECTIONS[self.level]}/{name}",
                "PatientID": patient_identifiers([patient])[patient.pk],
                "Type": TYPES[self.level],
            }
        )
