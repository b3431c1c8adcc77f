"""What the API tells of a report beside its text: whether it is held, late images, the second signature."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radiology.models import CoSignature, LateImages, Report, ReportHold, ReportOrigin
from radiology.services.report_differences import Difference


@dataclass(frozen=True)
class Beside:
    """Of many reports at once, by report: three queries, however many they are."""

    holds: Mapping[int, ReportHold]
    late: Mapping[int, LateImages]
    co_signatures: Mapping[int, CoSignature]


def beside_of(reports: Sequence[Report]) -> Beside:
    keys = [each.pk for each in reports]
    held = [each.pk for each in reports if each.held_at is not None]
    holds = ReportHold.objects.open().filter(report_ref__in=held).select_related("linked_to") if held else []
    late = LateImages.objects.open().filter(report_ref__in=keys)
    here = [each.pk for each in reports if each.origin == ReportOrigin.HERE]
    asked = CoSignature.objects.filter(report_ref__in=here).select_related("supervisor")
    newest = asked.order_by("report_ref", "-pk").distinct("report_ref")
    return Beside(
        {each.report_ref_id: each for each in holds},
        {each.report_ref_id: each for each in late},
        {each.report_ref_id: each for each in newest},
    )


def watch_entry(report: Report, beside: Beside, who: Any) -> dict[str, Any]:
    """The members of a report's entry; the second signature is for who writes reports."""
    hold, late = beside.holds.get(report.pk), beside.late.get(report.pk)
    entry: dict[str, Any] = {
        "held": None if hold is None else _hold(hold),
        "late_images": None if late is None else _late(late),
    }
    if who.may("reports.write"):
        asked = beside.co_signatures.get(report.pk)
        entry["co_signature"] = None if asked is None else _co_signature(asked)
    return entry


def difference_entry(difference: Difference, before: int, after: int) -> dict[str, Any]:
    return {
        "from": before,
        "to": after,
        "words_added": difference.added,
        "words_removed": difference.removed,
        "sections": [
            {
                "section": each.section.value,
                "runs": [{"kind": run.kind, "text": run.text} for run in each.runs],
            }
            for each in difference.sections
        ],
        "addenda": list(difference.addenda),
    }


def _hold(hold: ReportHold) -> dict[str, Any]:
    return {
        "kind": hold.kind,
        "at": hold.held_at.isoformat(),
        "moved_back_at": hold.moved_back_at.isoformat() if hold.moved_back_at else None,
        "linked_to": str(hold.linked_to.public_id) if hold.linked_to else None,
    }


def _late(late: LateImages) -> dict[str, Any]:
    return {
        "images": late.number_of_images,
        "first_at": late.first_at.isoformat(),
        "last_at": late.last_at.isoformat(),
    }


def _co_signature(asked: CoSignature) -> dict[str, Any]:
    return {
        "state": asked.state,
        "number": asked.number,
        "resident_name": asked.resident_name,
        "supervisor": str(asked.supervisor.public_id) if asked.supervisor else None,
        "requested_at": asked.requested_at.isoformat(),
        "decided_name": asked.decided_name,
        "decided_at": asked.decided_at.isoformat() if asked.decided_at else None,
        "final_number": asked.final_number,
        "changed": asked.is_changed,
        "comment": asked.comment,
    }
