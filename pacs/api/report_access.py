"""What every view of the API about reports shares."""

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from rest_framework.permissions import SAFE_METHODS, BasePermission

from pacs.api.access import ApiView
from pacs.api.report_entries import report_entry
from pacs.dicomweb.addresses import origin
from pacs.models import Study
from radiology.errors import Conflict, InvalidValue, NotFound, PreconditionFailed, RadiologyError, problem
from radiology.models import Report, RequestedProcedure


class MayUseReports(BasePermission):
    """Reading needs the scope `studies.read` or `reports.write`, everything else `reports.write`."""

    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        if not (who and who.is_authenticated):
            return False
        if request.method in SAFE_METHODS:
            return who.may("studies.read") or who.may("reports.write")
        return who.may("reports.write")


class ReportView(ApiView):
    """A view about reports. What is refused because of a report that is there tells that one as `existing`."""

    permission_classes = [MayUseReports]

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, PreconditionFailed):
            exc.field = exc.field or "If-Match"
        if isinstance(exc, RadiologyError) and isinstance(exc.facts.get("report"), Report):
            there = reports_of(self.request.user).filter(pk=exc.facts["report"].pk).first()
            if there is not None:
                return problem(exc, existing=report_entry(there, origin(self.request), self.request.user))
        return super().handle_exception(exc)


def reports_of(who: Any) -> QuerySet[Any]:
    """The reports that `who` may see, with what an answer tells of them."""
    found = Report.objects.visible_to(who).select_related(
        "requested_procedure_ref__order_ref__patient_ref", "site", "draft_by"
    )
    return found.defer("requested_procedure_ref__order_ref__patient_ref__attributes")


def report_of(who: Any, public_id: UUID) -> Report:
    """The report of that public id that `who` may see. Raises NotFound."""
    found = reports_of(who).filter(public_id=public_id).first()
    if found is None:
        raise NotFound("There is no such report, or none that you may see.", field="report")
    return found


def procedures_of_study(uid: str) -> Q:
    """Requested procedures whose images are that study: by what was agreed, or by how it was found."""
    linked = Study.objects.filter(study_instance_uid=uid).values("requested_procedure_ref")
    return Q(study_instance_uid=uid) | Q(pk__in=linked)


def procedure_to_report(
    who: Any, *, procedure: str, study_instance_uid: str, accession_number: str, requested_procedure_id: str
) -> RequestedProcedure:
    """The one procedure that a new report is about. Raises InvalidValue, NotFound, Conflict for several."""
    found = RequestedProcedure.objects.select_related("order_ref__patient_ref").order_by("pk")
    if not who.sees_every_site:
        found = found.filter(order_ref__site_id=who.site_id)
    if procedure:
        try:
            found = found.filter(public_id=UUID(procedure))
        except ValueError as error:
            raise InvalidValue("procedure is a UUID.", field="procedure") from error
        field = "procedure"
    elif study_instance_uid:
        found, field = found.filter(procedures_of_study(study_instance_uid)), "study_instance_uid"
    elif accession_number:
        found, field = found.filter(order_ref__accession_number=accession_number), "accession_number"
        if requested_procedure_id:
            found = found.filter(requested_procedure_id=requested_procedure_id)
    else:
        raise InvalidValue(
            "Say what is reported: procedure, study_instance_uid or accession_number.", field="procedure"
        )
    rows = list(found[:2])
    if not rows:
        raise NotFound("There is no such procedure, or none that you may see.", field=field)
    if len(rows) > 1:
        raise Conflict(
            "Several procedures are meant: name one, by procedure or by requested_procedure_id.", field=field
        )
    return rows[0]
