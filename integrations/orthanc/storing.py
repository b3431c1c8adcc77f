"""`POST /instances` and `/studies`: DICOM files and ZIPs of them, answered as Orthanc answers."""

from typing import Any

from django.http import HttpResponse
from django.http.request import UnreadablePostError

from integrations.orthanc.access import OfOneSite, answer
from integrations.orthanc.collections import Collection
from integrations.orthanc.identifiers import (
    instance_identifier,
    patient_identifiers,
    series_identifier,
    study_identifier,
)
from integrations.orthanc.lookup import rows_of
from pacs.api.bodies import FORM, files_of
from pacs.api.upload import REFUSED, SKIPPED, Uploads
from pacs.dicomweb.multipart import Truncated
from pacs.services.attributes import Level
from pacs.services.store import Source, StoreOutcome
from radiology.errors import CannotUnderstand, InvalidValue, OutOfResources
from radiology.models import AuditAction, Site

STATUS = {StoreOutcome.STORED: "Success", StoreOutcome.UNCHANGED: "AlreadyStored", StoreOutcome.HELD: "FilteredOut"}


class Storing(Collection):
    """The body is a DICOM file, a ZIP, or a form with files; what its type is said to be does not matter.

    One file is answered with one object, a ZIP or form with a list.
    """

    needs = {"POST": "studies.write"}

    def post(self, request: Any) -> HttpResponse:
        if FORM not in request.META.get("CONTENT_TYPE", ""):
            request.META["CONTENT_TYPE"] = ""
        uploads = Uploads(Source.of_site(Site.objects.get(pk=self.here.site_id)))
        try:
            for file in files_of(request):
                uploads.take(file)
            uploads.store()
        except (Truncated, UnreadablePostError) as error:
            uploads.store()
            raise InvalidValue("The body ends before it is complete.") from error
        except OSError as error:
            raise OutOfResources("There is no space to take the upload in: try again later.") from error
        finally:
            uploads.discard()
        for study, count in uploads.studies.items():
            self.record("store", AuditAction.CREATE, study_instance_uid=study, detail={"instances": count})
        return self._answer(uploads)

    def _answer(self, uploads: Uploads) -> HttpResponse:
        """Raises what was wrong with a file that came alone."""
        told = [each for each in uploads.objects if each["outcome"] != SKIPPED]
        alone = len(uploads.objects) == 1 and not uploads.objects[0]["name"]
        if alone and uploads.errors:
            raise uploads.errors[0]
        if not told:
            raise CannotUnderstand("Cannot parse an invalid DICOM file")
        entries = entries_of(self.here, told)
        return answer(entries[0] if alone else entries)


def entries_of(here: OfOneSite, told: list[dict[str, str]]) -> list[dict[str, Any]]:
    """What became of objects, as Orthanc tells it: `told` holds UID, outcome and reason of each."""
    uids = [each["sop_instance_uid"] for each in told if each["sop_instance_uid"]]
    rows = {row.sop_instance_uid: row for row in rows_of(here, Level.INSTANCE).filter(sop_instance_uid__in=uids)}
    people = patient_identifiers(row.series_ref.study_ref.patient_ref for row in rows.values())
    found = []
    for each in told:
        row = rows.get(each["sop_instance_uid"])
        if row is None or each["outcome"] in {REFUSED, StoreOutcome.REFUSED}:
            status = "Failure" if each["outcome"] in {REFUSED, StoreOutcome.REFUSED} else "FilteredOut"
            found.append({"Status": status, "Details": each["reason"], "Path": "", "ID": ""})
            continue
        name = instance_identifier(row)
        found.append(
            {
                "ID": name,
                "ParentPatient": people[row.series_ref.study_ref.patient_ref_id],
                "ParentSeries": series_identifier(row.series_ref),
                "ParentStudy": study_identifier(row.series_ref.study_ref),
                "Path": f"/instances/{name}",
                "Status": STATUS[StoreOutcome(each["outcome"])],
            }
        )
    return found
