"""`/modify`, `/merge` and `/split`, as corrections: laid over on every way out, undone when they were wrong.

Orthanc makes new objects with new UIDs and, with `KeepSource` false, deletes the old ones. Here a source that is
not to be kept stays what it is, under its UIDs and identifiers, and is corrected in place. Where it is to be kept,
`/modify` makes copies as Orthanc does; `/merge` and `/split` do not.
"""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.http import HttpResponse

from integrations.orthanc.access import answer, field, json_object, raw_body
from integrations.orthanc.collections import ResourceView
from integrations.orthanc.copying import LARGEST_REQUEST, copied
from integrations.orthanc.finding import patients_numbered
from integrations.orthanc.identifiers import identifiers_of, patient_identifiers, study_identifier
from integrations.orthanc.lookup import COLLECTIONS, TYPES, above, find, find_any, rows_of
from integrations.orthanc.tags import keyword_of, tag_of
from pacs.models import Series, Study
from pacs.services import corrections
from pacs.services.attributes import Level
from pacs.services.correctable import OF_SERIES, OF_STUDY
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotDone, NotFound
from radiology.services import audit

REASON = "Modified over the Orthanc REST API"
# What Orthanc makes anew in each copy; kept here in any case.
UIDS = {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID"}


class Correcting(ResourceView):
    """What the three share."""

    needs = {"POST": "studies.write"}

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not request.user.may("studies.correct"):
            raise NotAllowed("You may not correct studies.")

    @property
    def common(self) -> dict[str, Any]:
        return {"who": self.request.user, "reason": REASON, "address": audit.address_of(self.request)}


class Modify(Correcting):
    """`POST /studies/{id}/modify`, of patients and series too: copies, or with `KeepSource` false a correction."""

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = json_object(request, raw_body(request, most=LARGEST_REQUEST))
        if field(given, "KeepSource", bool, True):
            rows = [(self.level, self.row)]
            return copied(self, given, rows, anonymizes=False, changed=self.level, level=self.level)
        if self.level is Level.PATIENT:
            raise NotDone("Patients are corrected and merged over /api/v1 or on their page.")
        replace = _replacements(given)
        study = above(self.level, self.row, Level.STUDY)
        allowed = OF_STUDY if self.level is Level.STUDY else OF_SERIES
        number = replace.pop("PatientID", None) if self.level is Level.STUDY else None
        wrong = [keyword for keyword in replace if keyword not in allowed]
        if wrong:
            raise NotDone(
                f"{wrong[0][:64]} is not replaced here at this level: there are {', '.join(allowed)}"
                + (", and PatientID of a registered patient." if self.level is Level.STUDY else ".")
            )
        with transaction.atomic():
            if replace and self.level is Level.STUDY:
                corrections.correct_study(study=study, version=study.version, changes=replace, **self.common)
            elif replace:
                corrections.correct_series(series=self.row, version=study.version, changes=replace, **self.common)
            if number is not None and number != study.patient_ref.patient_id:
                self._assign(study, number)
        row = rows_of(self.here, self.level).get(pk=self.row.pk)
        (name,) = identifiers_of(self.level, [row])
        patient = above(self.level, row, Level.PATIENT)
        count = row.number_of_study_related_instances if self.level is Level.STUDY else (
            row.number_of_series_related_instances
        )  # fmt: skip
        return answer(
            {
                "Description": "REST API",
                "FailedInstancesCount": 0,
                "ID": name,
                "InstancesCount": count,
                "IsAnonymization": False,
                "ParentResources": [self.kwargs[f"orthanc_{self.level.name.lower()}"]],
                "Path": f"/{COLLECTIONS[self.level]}/{name}",
                "PatientID": patient_identifiers([patient])[patient.pk],
                "Type": TYPES[self.level],
            }
        )

    def _assign(self, study: Study, number: str) -> None:
        """Raises InvalidValue for a number that nobody, or more than one patient, has."""
        found = patients_numbered(self.here, number)
        if not found:
            raise InvalidValue("No patient with this PatientID is registered: register the patient first.")
        if len(found) > 1:
            raise Conflict("More than one patient has this PatientID: choose on the study's page.")
        version = Study.objects.values_list("version", flat=True).get(pk=study.pk)
        corrections.assign_patient(study=study, version=version, patient=found[0], **self.common)


def _replacements(given: Mapping[str, Any]) -> dict[str, str]:
    """`Replace` by keyword. Raises InvalidValue when it holds nothing, or what is no text."""
    replace = field(dict(given), "Replace", dict, {})
    if field(dict(given), "Remove", list, []) or given.get("RemovePrivateTags") is True:
        raise NotDone("Attributes are removed from copies only: leave out KeepSource, or replace them by empty values.")
    found = {}
    for name, value in replace.items():
        tag = tag_of(name)
        keyword = keyword_of(tag) if tag else ""
        if not keyword.isalnum():
            raise InvalidValue("Unknown DICOM tag", field="Replace")
        if not isinstance(value, str):
            raise InvalidValue(f"The value of {keyword} must be a string.", field="Replace")
        found[keyword] = value
    if not found:
        raise InvalidValue("Replace names nothing to modify.", field="Replace")
    kept = {keyword for keyword in found if keyword in UIDS - {"PatientID"}}
    if kept:
        raise NotDone(f"{min(kept)} is not replaced: objects keep their UIDs. Merge or split studies instead.")
    return found


def require_no_copy(given: Mapping[str, Any]) -> None:
    """Raises NotDone for `KeepSource` true, which is Orthanc's default."""
    if field(dict(given), "KeepSource", bool, True):
        raise NotDone('Series are moved, not copied: send "KeepSource": false.')


class Merge(Correcting):
    """`POST /studies/{id}/merge` with `Resources` (studies or series) and `KeepSource` false: they move into it."""

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = json_object(request)
        names = field(given, "Resources", list)
        if not names or len(names) > 1000 or not all(isinstance(name, str) for name in names):
            raise InvalidValue("Name the Resources in a list.", field="Resources")
        require_no_copy(given)
        rows = [find_any(self.here, name) for name in names]
        with transaction.atomic():
            for level, row in rows:
                if level not in {Level.STUDY, Level.SERIES}:
                    raise InvalidValue("Only studies and series are merged.", field="Resources")
                source = above(level, row, Level.STUDY)
                version = Study.objects.values_list("version", flat=True).get(pk=source.pk)
                if level is Level.STUDY:
                    corrections.merge_studies(study=row, version=version, into=self.row, **self.common)
                else:
                    corrections.move_series(series=[row], version=version, into=self.row, **self.common)
        target = rows_of(self.here, Level.STUDY).get(pk=self.row.pk)
        return answer(
            {
                "Description": "REST API",
                "FailedInstancesCount": 0,
                "InstancesCount": target.number_of_study_related_instances,
                "TargetStudy": study_identifier(target),
                "TargetStudyUID": target.study_instance_uid,
            }
        )


class Split(Correcting):
    """`POST /studies/{id}/split` with `Series` and `KeepSource` false: they move into a new study."""

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = json_object(request)
        names = field(given, "Series", list)
        if not names or len(names) > 1000 or not all(isinstance(name, str) for name in names):
            raise InvalidValue("Name the Series in a list.", field="Series")
        require_no_copy(given)
        if field(given, "Replace", dict, {}) or field(given, "Remove", list, []):
            raise NotDone("Split first, then modify the new study.")
        series: list[Series] = [find(self.here, Level.SERIES, name) for name in names]
        if any(each.study_ref_id != self.row.pk for each in series):
            raise NotFound("Not all of these series are in this study.")
        done = corrections.move_series(series=series, version=self.row.version, into=None, **self.common)
        target = rows_of(self.here, Level.STUDY).get(pk=done.other_study_ref_id)
        return answer(
            {
                "Description": "REST API",
                "FailedInstancesCount": 0,
                "InstancesCount": target.number_of_study_related_instances,
                "SourceStudy": study_identifier(self.row),
                "TargetStudy": study_identifier(target),
                "TargetStudyUID": target.study_instance_uid,
            }
        )
