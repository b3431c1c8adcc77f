"""What webhooks are told, recorded in the transaction in which it happens.

An event holds ids, states and links, and nothing by which a person would be known: whoever wants more asks for it
with a token.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from django.urls import reverse
from django.utils import timezone

from integrations.models import Webhook, WebhookDelivery
from pacs.models import Study
from radiology.models import ApiClient, CriticalResult, Job, LateImages, Order, Report, ReportHold
from radiology.services import jobs
from radiology.services.rows import Sought
from worklist.models import ScheduledProcedureStep

KIND = "integrations.deliver_webhook"
MAX_ATTEMPTS = 60
# Those that want to know of an event, and are at work.
_LISTENING = Sought(
    Webhook,
    "is_active AND secret_encrypted <> '' AND %s = ANY(events) AND (client_id IS NULL OR EXISTS ("
    f'SELECT FROM "{ApiClient._meta.db_table}" AS client WHERE client.is_active'
    f' AND client.id = "{Webhook._meta.db_table}".client_id'
    ")) ORDER BY id",
)


@dataclass(frozen=True)
class Happening:
    """What an event says of one order or study. `subject` names it: events about one thing are sent in order."""

    site_id: int | None
    subject: str
    data: dict[str, Any]
    links: dict[str, str] = field(default_factory=dict)


def tell(*, event: str, about: Callable[[], Iterable[Happening]], site_id: int | None = None) -> int:
    """Record an event for every webhook that wants it, in the current transaction; how many deliveries that makes.

    `about` is asked only when there is such a webhook. `site_id`: all of it is about this site.
    """
    webhooks = [each for each in _LISTENING(event) if site_id in {None, each.site_id}]
    if not webhooks:
        return 0
    now = timezone.now()
    pairs = [(webhook, each) for each in about() for webhook in webhooks if webhook.site_id == each.site_id]
    made = jobs.enqueue_all(job_of(webhook, each.subject) for webhook, each in pairs)
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(
            site_id=cast(int, webhook.site_id),
            webhook=webhook,
            job=job,
            event=event,
            subject=each.subject,
            body=body_of(event=event, at=now, data=each.data, links=each.links, base_url=webhook.base_url),
            created_at=now,
        )
        for (webhook, each), job in zip(pairs, made, strict=True)
    )
    return len(pairs)


def job_of(webhook: Webhook, subject: str) -> Job:
    """The job that delivers, not yet saved; while the webhook rests, it rests too."""
    return Job(
        kind=KIND,
        site_id=webhook.site_id,
        ordering_key=f"{webhook.ordering_prefix}{subject}",
        next_attempt_at=webhook.down_until if webhook.down_until and webhook.is_down else timezone.now(),
        max_attempts=MAX_ATTEMPTS,
    )


def body_of(*, event: str, at: Any, data: dict[str, Any], links: dict[str, str], base_url: str) -> str:
    """The body as it is signed and sent, each time the same."""
    linked = {name: base_url + path for name, path in links.items()}
    told = {"type": event, "timestamp": at.isoformat(), "data": {**data, **({"links": linked} if linked else {})}}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def of_order(order: Order) -> Happening:
    """An order with the states of its procedures and of their examinations, as they stand now."""
    steps: dict[int, list[dict[str, Any]]] = {}
    for step in ScheduledProcedureStep.objects.filter(requested_procedure_ref__order_ref=order.pk).order_by("pk"):
        steps.setdefault(step.requested_procedure_ref_id, []).append(
            {
                "scheduled_procedure_step_id": step.scheduled_procedure_step_id,
                "status": step.status,
                "scheduled_start": step.scheduled_start.isoformat() if step.scheduled_start else None,
            }
        )
    return Happening(
        order.site_id,
        str(order.public_id),
        {
            "order": str(order.public_id),
            "accession_number": order.accession_number,
            "placer_order_number": order.placer_order_number,
            "filler_order_number": order.filler_order_number,
            "status": order.status,
            "version": order.version,
            "procedures": [
                {
                    "requested_procedure_id": each.requested_procedure_id,
                    "code": each.procedure_code_value,
                    "status": each.status,
                    "study_instance_uid": each.study_instance_uid,
                    "scheduled_procedure_steps": steps.get(each.pk, []),
                }
                for each in order.requested_procedures.order_by("pk")
            ],
        },
        {"order": reverse("api-order", args=[order.public_id])},
    )


def of_report(report: Report) -> Happening:
    """A report: which examination it is about and what became of it, not what it says."""
    procedure = report.requested_procedure_ref
    order, uid = procedure.order_ref, procedure.study_instance_uid
    return Happening(
        report.site_id,
        str(report.public_id),
        {
            "report": str(report.public_id),
            "status": report.status,
            "number": report.number,
            "order": str(order.public_id),
            "accession_number": order.accession_number,
            "placer_order_number": order.placer_order_number,
            "requested_procedure_id": procedure.requested_procedure_id,
            "study_instance_uid": uid,
        },
        {
            "report": reverse("api-report", args=[report.public_id]),
            "pdf": reverse("api-report-pdf", args=[report.public_id]),
            "viewer": f"/viewer?StudyInstanceUIDs={uid}",
        },
    )


def of_held_report(report: Report, hold: ReportHold) -> Happening:
    """A report, what happened to its images, and whether it is held still."""
    told = of_report(report)
    data = {**told.data, "held": hold.ended_at is None, "kind": hold.kind, "outcome": hold.outcome}
    return Happening(
        told.site_id,
        told.subject,
        {**data, "moved_back": hold.moved_back_at is not None},
        {"report": told.links["report"]},
    )


def of_late_images(report: Report, late: LateImages) -> Happening:
    """A report, and how many images came after it that nobody has answered."""
    told = of_report(report)
    data = {**told.data, "images": late.number_of_images, "outcome": late.outcome}
    return Happening(told.site_id, told.subject, data, told.links)


def of_critical_result(result: CriticalResult, change: str) -> Happening:
    """A critical result: of which examination, how urgent, and what became of it; not what was found."""
    procedure = result.requested_procedure_ref
    order, uid = procedure.order_ref, procedure.study_instance_uid
    acknowledged_at = result.acknowledged_at.isoformat() if result.acknowledged_at else None
    return Happening(
        result.site_id,
        str(result.public_id),
        {
            "critical_result": str(result.public_id),
            "change": change,
            "category": result.category,
            "state": result.state,
            "escalations": result.level,
            "raised_at": result.raised_at.isoformat(),
            "acknowledged_at": acknowledged_at,
            "acknowledged_how": result.acknowledged_how,
            "order": str(order.public_id),
            "accession_number": order.accession_number,
            "placer_order_number": order.placer_order_number,
            "requested_procedure_id": procedure.requested_procedure_id,
            "study_instance_uid": uid,
        },
        {"critical_result": f"/critical/{result.public_id}", "viewer": f"/viewer?StudyInstanceUIDs={uid}"},
    )


def of_studies(studies: Iterable[int]) -> list[Happening]:
    """Studies by their primary keys: how they are numbered, and how much has come so far."""
    found = Study.objects.filter(pk__in=studies).select_related("requested_procedure_ref__order_ref").order_by("pk")
    return [of_study(each) for each in found]


def of_study(study: Study) -> Happening:
    uid, procedure = study.study_instance_uid, study.requested_procedure_ref
    return Happening(
        study.site_id,
        uid,
        {
            "study_instance_uid": uid,
            "accession_number": study.accession_number,
            "study_date": study.study_date,
            "modalities_in_study": study.modalities_in_study,
            "number_of_study_related_series": study.number_of_study_related_series,
            "number_of_study_related_instances": study.number_of_study_related_instances,
            "order": str(procedure.order_ref.public_id) if procedure else None,
            "requested_procedure_id": procedure.requested_procedure_id if procedure else "",
        },
        {
            "study": reverse("api-study", args=[uid]),
            "viewer": f"/viewer?StudyInstanceUIDs={uid}",
        },
    )
