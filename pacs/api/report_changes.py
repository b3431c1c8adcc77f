"""What becomes of a report over `/api/v1`: written on, signed, added to, withdrawn."""

import uuid
from typing import Any

from django.http import HttpResponse

from pacs.api import report_shapes as shapes
from pacs.api.order_access import IF_MATCH, version_of
from pacs.api.order_bodies import require_known
from pacs.api.report_access import ReportView, report_of
from pacs.api.report_entries import report_entry
from pacs.dicomweb.addresses import origin
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.errors import Conflict, NotAllowed
from radiology.models import Report, ReportStatus, User
from radiology.services import audit
from radiology.services.access import require_password
from radiology.services.co_signatures import supervisor_of
from radiology.services.report_versions import LONGEST_TEXT
from radiology.services.reports import add_addendum, discard_draft, sign_report, withdraw_report, write_draft


class ReportChange(ReportView):
    def told(self, request: Any, report: Report) -> HttpResponse:
        found = report_of(request.user, report.public_id)
        return json_answer(request, report_entry(found, origin(request), request.user), version=found.version)


class ReportDraft(ReportChange):
    """`PUT` and `DELETE /reports/{report}/draft`."""

    @operation(
        tag="Reports",
        summary="Write on a report",
        description="The draft as it shall stand; those who write reports see it. Of a signed report it is the next "
        "version.",
        path=["report"],
        headers=IF_MATCH,
        body=shapes.Draft,
        answers={200: shapes.ReportShape},
        errors=[404, 409, 412, 428],
    )
    def put(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        signer_of(request)
        if found.status == ReportStatus.ENTERED_IN_ERROR:
            raise Conflict("This report was withdrawn: begin another one.", field="report", report=found)
        given = json_body(request)
        require_known(given, ("sections",), "")
        written = write_draft(
            procedure=found.requested_procedure_ref,
            sections=given.get("sections", {}),
            version=version_of(request),
            who=request.user,
            address=audit.address_of(request),
        )
        return self.told(request, written)

    @operation(
        tag="Reports",
        summary="Throw a draft away",
        path=["report"],
        headers=IF_MATCH,
        answers={204: None},
        errors=[404, 412, 428],
    )
    def delete(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        signer_of(request)
        discard_draft(
            report=found,
            version=version_of(request) or 0,
            who=request.user,
            address=audit.address_of(request),
        )
        return HttpResponse(status=204)


class SignReport(ReportChange):
    """`POST /reports/{report}/sign`."""

    @operation(
        tag="Reports",
        summary="Sign a report",
        description="Publishes the draft, as `final` or `preliminary`. What was signed before stays as a version, and "
        "the report is `amended`, with the reason. A resident's signature is preliminary, and waits for another.",
        path=["report"],
        headers=IF_MATCH,
        body=shapes.Signature,
        answers={200: shapes.ReportShape},
        errors=[404, 409, 412, 428],
        examples=shapes.SIGNED_HERE,
    )
    def post(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        who = signer_of(request)
        given = json_body(request)
        require_known(given, ("password", "status", "reason", "supervisor"), "")
        version = version_of(request) or 0
        status = text_of(given, "status")
        supervisor = supervisor_of(text_of(given, "supervisor", most=64))
        require_password_of(request, who, given)
        sign_report(
            report=found,
            version=version,
            status=_status(status),
            reason=text_of(given, "reason"),
            supervisor=supervisor,
            who=who,
            address=audit.address_of(request),
        )
        return self.told(request, found)


class ReportAddenda(ReportChange):
    """`POST /reports/{report}/addenda`."""

    @operation(
        tag="Reports",
        summary="Add to a signed report",
        path=["report"],
        headers=IF_MATCH,
        body=shapes.NewAddendum,
        answers={200: shapes.ReportShape},
        errors=[404, 409, 412, 428],
    )
    def post(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        who = signer_of(request)
        given = json_body(request)
        require_known(given, ("password", "text"), "")
        version = version_of(request) or 0
        require_password_of(request, who, given)
        add_addendum(
            report=found,
            version=version,
            text=text_of(given, "text", most=LONGEST_TEXT),
            who=who,
            address=audit.address_of(request),
        )
        return self.told(request, found)


class WithdrawReport(ReportChange):
    """`POST /reports/{report}/withdraw`."""

    @operation(
        tag="Reports",
        summary="Withdraw a report",
        description="It was entered in error, for the wrong patient above all. This cannot be taken back; another "
        "report can be written. A program withdraws what it attached, and needs no password.",
        path=["report"],
        headers=IF_MATCH,
        body=shapes.Withdrawal,
        answers={200: shapes.ReportShape},
        errors=[404, 409, 412, 428],
    )
    def post(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        given = json_body(request)
        require_known(given, ("password", "reason"), "")
        version = version_of(request) or 0
        if isinstance(request.user, User):
            require_password_of(request, request.user, given)
        withdraw_report(
            report=found,
            version=version,
            reason=text_of(given, "reason"),
            who=request.user,
            address=audit.address_of(request),
        )
        return self.told(request, found)


def signer_of(request: Any) -> User:
    """The person who writes or signs. Raises NotAllowed for programs."""
    if not isinstance(request.user, User):
        raise NotAllowed("People write and sign reports; a program attaches what was written elsewhere.")
    return request.user


def _status(text: str) -> ReportStatus | None:
    """What the signer wants; nothing: what they may make of it."""
    if not text:
        return None
    return ReportStatus(text) if text in ReportStatus.values else ReportStatus.DRAFT


def require_password_of(request: Any, who: User, given: dict[str, Any]) -> None:
    password = given.get("password", "")
    text_of(given, "password", most=4096)  # a password may begin or end with a space
    require_password(user=who, password=password, address=audit.address_of(request))
