"""Examinations that nobody ordered: an order with one procedure and one step, made after the fact."""

from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from radiology.models import AuditAction, Order, OrderOrigin, Patient, RequestedProcedure, Site
from radiology.services import audit
from radiology.signals import order_placed
from worklist.models import Device, ScheduledProcedureStep
from worklist.signals import step_scheduled


def unscheduled_step(
    *,
    site: Site,
    patient: Patient,
    study_instance_uid: str,
    modality: str,
    at: datetime,
    station_ae_title: str = "",
    description: str = "",
    accession_number: str = "",
    who: Any = None,
) -> ScheduledProcedureStep | None:
    """The step of the procedure that `study_instance_uid` belongs to, made with its order when there is none.

    The same study gives the same step, whoever asks how often. None when the UID is that of another
    patient's procedure, or another site's: nothing is made then.
    """
    procedure = _known(study_instance_uid)
    is_new = procedure is None
    try:
        with transaction.atomic():
            procedure = procedure or _make(
                site=site,
                patient=patient,
                study_instance_uid=study_instance_uid,
                modality=modality,
                description=description,
                accession_number=accession_number,
                who=who,
            )
    except IntegrityError:  # somebody else made it at this moment
        procedure = RequestedProcedure.objects.select_related("order_ref").get(study_instance_uid=study_instance_uid)
    order = procedure.order_ref
    if order.site_id != site.pk or order.patient_ref_id != patient.pk:
        return None
    list(Order.objects.select_for_update(of=("self",)).filter(pk=order.pk).values_list("pk"))
    step = procedure.scheduled_procedure_steps.order_by("pk").first()
    if step is not None and not (is_new and step.scheduled_start is None):
        return step
    # Whoever plans orders has made a step for a new one; where and when is known here.
    return _placed(
        step or _step(procedure, modality), procedure=procedure, station_ae_title=station_ae_title, at=at, who=who
    )


def _known(study_instance_uid: str) -> RequestedProcedure | None:
    found = RequestedProcedure.objects.select_related("order_ref").filter(study_instance_uid=study_instance_uid)
    return found.first()


def _make(
    *,
    site: Site,
    patient: Patient,
    study_instance_uid: str,
    modality: str,
    description: str,
    accession_number: str,
    who: Any,
) -> RequestedProcedure:
    taken = len(accession_number) > 16 or Order.objects.filter(site=site, accession_number=accession_number).exists()
    order = Order.objects.create(
        site=site,
        patient_ref=patient,
        origin=OrderOrigin.IMAGES,
        accession_number="" if taken else accession_number,
        requesting_service="",
    )
    procedure = RequestedProcedure.objects.create(
        order_ref=order,
        requested_procedure_id=f"U{order.pk}"[:16],
        requested_procedure_description=description[:64],
        modality=modality,
        study_instance_uid=study_instance_uid,
    )
    audit.record(
        event="order.unscheduled",
        action=AuditAction.CREATE,
        who=who,
        site_id=site.pk,
        patient_id=patient.pk,
        study_instance_uid=study_instance_uid,
        detail={"order": str(order.public_id)},
    )
    order_placed.send(sender=Order, order=order, procedures=[procedure], who=who)
    return procedure


def _step(procedure: RequestedProcedure, modality: str) -> ScheduledProcedureStep:
    return ScheduledProcedureStep(
        site=procedure.order_ref.site,
        requested_procedure_ref=procedure,
        scheduled_procedure_step_id=f"U{procedure.pk}"[:16],
        scheduled_procedure_step_description=procedure.requested_procedure_description,
        modality=modality,
    )


def _placed(
    step: ScheduledProcedureStep, *, procedure: RequestedProcedure, station_ae_title: str, at: datetime, who: Any
) -> ScheduledProcedureStep:
    """The step where and when it is performed; without a room where that is booked, which is no reason to fail."""
    device = Device.objects.select_related("room").filter(site=step.site, station_ae_title=station_ae_title)
    step.device = device.first()
    step.room = step.device.room if step.device else None
    step.scheduled_station_ae_titles = [station_ae_title] if station_ae_title else []
    step.scheduled_station_name = step.device.station_name if step.device else ""
    step.scheduled_start, step.scheduled_end = at, at + timedelta(minutes=procedure.duration)
    try:
        with transaction.atomic():
            step.save()
    except IntegrityError:
        step.room = None
        step.save()
    step_scheduled.send(sender=ScheduledProcedureStep, step=step, who=who)
    return step
