"""Reports as the API gives them."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from pacs.api.order_entries import patient_of_entry, requested_entry
from pacs.api.report_watch_entries import Beside, beside_of, watch_entry
from radiology.models import Report, ReportVersion
from radiology.services.report_versions import is_withheld


def report_entry(
    report: Report,
    origin: str,
    who: Any,
    *,
    newest: Mapping[int, ReportVersion] | None = None,
    beside: Beside | None = None,
) -> dict[str, Any]:
    """A report as it holds now. `newest` are the versions that hold, by report, where many are told at once; `beside`
    is what is told of them else. Of one that is held, the text is for who writes reports.
    """
    procedure = report.requested_procedure_ref
    order = procedure.order_ref
    version = newest.get(report.pk) if newest is not None else report.versions.defer("pdf").first()
    if is_withheld(report, who):
        version = None
    key = [report.public_id]
    uid = procedure.study_instance_uid
    entry = {
        "public_id": str(report.public_id),
        "status": report.status,
        "number": report.number,
        "version": report.version,
        "origin": report.origin,
        "external_id": report.external_id,
        "order": str(order.public_id),
        "accession_number": order.accession_number,
        "placer_order_number": order.placer_order_number,
        "patient": patient_of_entry(order.patient_ref),
        "procedure": requested_entry(procedure),
        **_said(version),
        "key_images": _key_images(report, version, origin),
        "created_at": report.created_at.isoformat(),
        "updated_at": report.updated_at.isoformat(),
        "links": {
            "self": origin + reverse("api-report", args=key),
            "versions": origin + reverse("api-report-versions", args=key),
            "order": origin + reverse("api-order", args=[order.public_id]),
            "viewer": f"{origin}/viewer?{urlencode({'StudyInstanceUIDs': uid})}",
        },
    }
    entry |= watch_entry(report, beside or beside_of([report]), who)
    if report.number and report.held_at is None:
        entry["links"]["pdf"] = origin + reverse("api-report-pdf", args=key)
    if who.may("reports.write"):
        entry["draft"] = report.draft
        entry["draft_by"] = report.draft_by.get_username() if report.draft_by else ""
    return entry


def newest_versions(reports: list[Report]) -> dict[int, ReportVersion]:
    """The version that holds of each report: one query."""
    numbers = {each.pk: each.number for each in reports}
    found = ReportVersion.objects.filter(report_ref__in=numbers).defer("pdf")
    return {each.report_ref_id: each for each in found if numbers[each.report_ref_id] == each.number}


def report_version_entry(version: ReportVersion, report: Report, origin: str) -> dict[str, Any]:
    return {
        "number": version.number,
        "status": version.status,
        **_said(version),
        "key_images": _key_images(report, version, origin),
        "reason": version.reason,
    }


def _key_images(report: Report, version: ReportVersion | None, origin: str) -> list[dict[str, Any]]:
    return [
        {
            "public_id": image["id"],
            "study_instance_uid": image["study"],
            "series_instance_uid": image["series"],
            "sop_instance_uid": image["instance"],
            "sop_class_uid": image["sop_class"],
            "frame": image["frame"],
            "window_center": image["window"]["center"] if image["window"] else None,
            "window_width": image["window"]["width"] if image["window"] else None,
            "inverted": image["inverted"],
            "series_number": image["series_number"],
            "instance_number": image["instance_number"],
            "caption": image["caption"],
            "picture": origin + reverse("api-report-key-image", args=[report.public_id, image["id"]]),
        }
        for image in (version.key_images if version else ())
    ]


def _said(version: ReportVersion | None) -> dict[str, Any]:
    if version is None:
        return {"sections": {}, "addenda": [], "author_name": "", "writer_name": "", "by": "", "at": None}
    return {
        "sections": version.sections,
        "addenda": version.addenda,
        "author_name": version.author_name,
        "writer_name": version.writer_name,
        "by": version.agent,
        "at": version.at.isoformat(),
    }
