"""The second signature, held reports and late images over `/api/v1`."""

import uuid
from typing import Any

from django.http import HttpResponse

from pacs.api import report_shapes
from pacs.api import report_watch_shapes as shapes
from pacs.api.order_access import IF_MATCH, version_of
from pacs.api.order_bodies import require_known
from pacs.api.report_access import ReportView, report_of
from pacs.api.report_changes import ReportChange, require_password_of, signer_of
from pacs.api.report_watch_entries import difference_entry
from pacs.api.reports import record_read
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.api.parameters import Parameter
from radiology.services import audit, co_signatures, late_images, report_holds
from radiology.services.report_differences import chosen_versions, difference_of
from radiology.services.report_versions import require_given_out


class ReturnReport(ReportChange):
    """`POST /reports/{report}/return`."""

    @operation(
        tag="Reports",
        summary="Send a report back to its resident",
        description="Instead of co-signing it. It stays preliminary; the resident sees the comment and signs it anew.",
        path=["report"],
        headers=IF_MATCH,
        body=shapes.Return,
        answers={200: report_shapes.ReportShape},
        errors=[404, 409, 412, 428],
    )
    def post(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        who = signer_of(request)
        given = json_body(request)
        require_known(given, ("comment",), "")
        co_signatures.send_back(
            report=found,
            version=version_of(request) or 0,
            comment=text_of(given, "comment", most=co_signatures.LONGEST_COMMENT),
            who=who,
            address=audit.address_of(request),
        )
        return self.told(request, found)


class ReleaseReport(ReportChange):
    """`POST /reports/{report}/release`."""

    @operation(
        tag="Reports",
        summary="Release a held report",
        description="Somebody has looked: it stands for the right patient, and is given out again. To withdraw it "
        "instead, see `/reports/{report}/withdraw`.",
        path=["report"],
        headers=IF_MATCH,
        body=shapes.HoldDecision,
        answers={200: report_shapes.ReportShape},
        errors=[404, 409, 412, 428],
    )
    def post(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        who = signer_of(request)
        given = json_body(request)
        require_known(given, ("reason", "password"), "")
        version = version_of(request) or 0
        report_holds.require_right(who)
        require_password_of(request, who, given)
        report_holds.release(
            report=found,
            version=version,
            reason=text_of(given, "reason"),
            who=who,
            address=audit.address_of(request),
        )
        return self.told(request, found)


class ImagesSeen(ReportChange):
    """`POST /reports/{report}/images-seen`."""

    @operation(
        tag="Reports",
        summary="Say that late images change nothing",
        description="Images came after reading; somebody who signs reports has looked at them. An amendment or an "
        "addendum says so too.",
        path=["report"],
        answers={200: report_shapes.ReportShape},
        errors=[404, 409],
    )
    def post(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        late_images.acknowledge(report=found, who=signer_of(request), address=audit.address_of(request))
        return self.told(request, found)


class ReportDifferences(ReportView):
    """`GET /reports/{report}/differences`."""

    @operation(
        tag="Reports",
        summary="Compare two versions word by word",
        description="Without `from` and `to`: what the supervisor made of the resident's version, else the last "
        "change. The earlier stands first, however they are named.",
        path=["report"],
        parameters=[
            Parameter("from", "Number of the earlier version.", example="1", pattern=r"[0-9]{1,9}"),
            Parameter("to", "Number of the later version.", example="2", pattern=r"[0-9]{1,9}"),
        ],
        answers={200: shapes.DifferenceShape},
        errors=[404, 409],
    )
    def get(self, request: Any, report: uuid.UUID) -> HttpResponse:
        found = report_of(request.user, report)
        require_given_out(found, request.user)
        first, second = (int(each) if each else None for each in (self.asked["from"], self.asked["to"]))
        before, after = chosen_versions(found, first, second)
        record_read(request, found, compared=[before.number, after.number])
        return json_answer(request, difference_entry(difference_of(before, after), before.number, after.number))
