"""What the reading view says of a report beside its text: the second signature, a hold, late images."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db.models import Sum

from pacs.models import Series, Study
from radiology.accounts import PageRequest
from radiology.models import CoSignature, CoSignatureState, Report, ReportVersion
from radiology.services import co_signatures, late_images, report_holds
from radiology.services.key_images import key_images_of
from radiology.services.report_differences import Difference, difference_of_texts


def shown(request: PageRequest, report: Report | None, study: Study | None) -> dict[str, Any]:
    """For the template of the page; `state` is for its script."""
    resident = co_signatures.is_resident(request.user)
    usual, others = co_signatures.supervisors_for(request.user) if resident else ([], [])
    co = co_signatures.latest_of(report) if report is not None else None
    waits = co is not None and co.state == CoSignatureState.WAITING
    if report is not None and co is not None and co.state == CoSignatureState.RETURNED and co.seen_at is None:
        co_signatures.note_seen(report, request.user)
    return {
        "state": news_of(study.pk if study is not None else None, report.held_at if report is not None else None),
        "is_resident": resident,
        "usual_supervisors": usual,
        "other_supervisors": others,
        "chosen_supervisor": co.supervisor_id if co is not None else None,
        "co": co,
        "cosigns": waits and not resident,
        "kept": report is not None and (report.held_at is not None or (resident and report.is_signed)),
        "hold": report_holds.open_hold_of(report) if report is not None else None,
        "may_release": report is not None and report.held_at is not None and report_holds.may_decide(request.user),
        "late": late_images.open_of(report) if report is not None and report.number else None,
    }


def news_of(study: int | None, held_at: datetime | None) -> dict[str, Any]:
    """How many images the study (id) has now, and whether its report is held."""
    images = Series.objects.filter(study_ref=study).images() if study is not None else Series.objects.none()
    found = images.aggregate(number=Sum("number_of_series_related_instances"))
    return {"images": found["number"] or 0, "held": held_at is not None}


def version_of(co: CoSignature) -> ReportVersion:
    """What the resident signed."""
    return ReportVersion.objects.defer("pdf").get(report_ref=co.report_ref_id, number=co.number)


def difference_to_sign(report: Report) -> tuple[CoSignature, Difference] | None:
    """What a supervisor is about to make of a resident's version; None where no resident waits."""
    waiting = co_signatures.waiting_of(report)
    if waiting is None:
        return None
    before = version_of(waiting)
    found = difference_of_texts(before.sections, report.draft if report.draft is not None else before.sections)
    return waiting, replace(found, has_other_images=key_images_of(report) != list(before.key_images))
