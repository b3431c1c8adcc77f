"""The demonstration's hospital day: rooms, devices, and today's examinations of the demonstration's patients."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from pacs.demo.shipments import CT, DX, MR, US
from pacs.models import ApplicationEntity, Study
from radiology.dicom import new_uid
from radiology.models import Order, Patient, Priority, RequestedProcedure, Site
from radiology.signals import order_placed
from worklist.models import Device, OpeningHours, Room, ScheduledProcedureStep, StepStatus
from worklist.services.opening import at_wall
from worklist.services.reading_rows import refresh_studies
from worklist.services.scheduling import schedule_step
from worklist.services.steps import move_step

WHO = "demo"
# Code, name, modality and AE title of a device of the room.
ROOMS = [
    ("CT1", "CT 1", "CT", CT),
    ("MR1", "MRI", "MR", MR),
    ("XR1", "X-ray 1", "DX", DX),
    ("US1", "Ultrasound", "US", US),
]
OPENS, CLOSES = time(7), time(21)
# Minutes and name by modality, taken in turn.
EXAMINATIONS = {
    "CT": [(20, "CT Thorax"), (30, "CT Abdomen with contrast"), (15, "CT Head")],
    "MR": [(40, "MR Knee"), (45, "MR Lumbar spine"), (30, "MR Brain")],
    "DX": [(10, "Chest X-ray PA"), (15, "Hand X-ray AP and oblique"), (10, "Pelvis X-ray AP")],
    "US": [(20, "Ultrasound abdomen"), (30, "Ultrasound obstetric"), (20, "Ultrasound thyroid")],
}
PER_ROOM = {"CT": 10, "MR": 7, "DX": 14, "US": 10}
WAITING = 4
PRIORITIES = {3: Priority.STAT, 6: Priority.HIGH}


@transaction.atomic
def arrange_day(*, site: Site) -> int:
    """Make the rooms, and today's orders with their steps; how many orders are new. The same day again makes none."""
    now, zone = timezone.now(), ZoneInfo(site.time_zone)
    today = now.astimezone(zone).date()
    rooms = [_room(site, *each, position=number) for number, each in enumerate(ROOMS)]
    patients = list(Patient.objects.filter(site=site, provisional_for="").order_by("pk")[:40])
    if not patients or Order.objects.filter(site=site, client_key=_key(today, 0)).exists():
        return 0
    made = 0
    for room, (_code, _name, modality, _title) in zip(rooms, ROOMS, strict=True):
        start = at_wall(day=today, clock=OPENS, zone=zone) + timedelta(minutes=30)
        for number in range(PER_ROOM[modality]):
            minutes, name = EXAMINATIONS[modality][number % 3]
            step = _step(site, patients[made % len(patients)], today, made, modality, name, minutes)
            step = schedule_step(step=step, room=room, start=start, who=WHO, back=True)
            _bring_to(step, number, now)
            start = start + timedelta(minutes=minutes + (20 if number % 3 == 2 else 5))
            made += 1
    for number in range(WAITING):
        modality = ROOMS[number % len(ROOMS)][2]
        minutes, name = EXAMINATIONS[modality][2]
        _step(site, patients[made % len(patients)], today, made, modality, name, minutes)
        made += 1
    return made


def _room(site: Site, code: str, name: str, modality: str, title: str, *, position: int) -> Room:
    room, is_new = Room.objects.get_or_create(site=site, code=code, defaults={"name": name, "position": position})
    if is_new:
        OpeningHours.objects.bulk_create(
            OpeningHours(room=room, weekday=day, opens=OPENS, closes=CLOSES) for day in range(7)
        )
    node = ApplicationEntity.objects.filter(title=title).first()
    values = {"name": name, "modality": modality, "room": room, "station_name": title, "node": node}
    Device.objects.get_or_create(site=site, station_ae_title=title, defaults=values)
    return room


def _step(
    site: Site, patient: Patient, today: date, number: int, modality: str, name: str, minutes: int
) -> ScheduledProcedureStep:
    """An order that is placed as any other, and its step."""
    order = Order.objects.create(
        site=site,
        patient_ref=patient,
        accession_number=f"D{today:%y%m%d}{number:03}",
        priority=PRIORITIES.get(number % 13, Priority.ROUTINE),
        client_key=_key(today, number),
    )
    procedure = RequestedProcedure.objects.create(
        order_ref=order,
        requested_procedure_id=f"RP{number:03}",
        requested_procedure_description=name,
        modality=modality,
        duration=minutes,
        study_instance_uid=new_uid(),
    )
    order_placed.send(sender=Order, order=order, procedures=[procedure])
    return procedure.scheduled_procedure_steps.get()


def _bring_to(step: ScheduledProcedureStep, number: int, now: datetime) -> None:
    """What the hour makes likely: done, going on, waiting outside, or still expected; now and then nobody came."""
    start, end = step.scheduled_start, step.scheduled_end
    if start is None or end is None or start > now + timedelta(minutes=40):
        return
    if start > now:
        move_step(step=step, to=StepStatus.ARRIVED, who=WHO, at=now)
    elif end > now:
        move_step(step=step, to=StepStatus.STARTED, who=WHO, at=start)
    elif number % 6 == 5:
        move_step(step=step, to=StepStatus.NO_SHOW, who=WHO, at=end)
    else:
        move_step(step=step, to=StepStatus.STARTED, who=WHO, at=start)
        move_step(step=step, to=StepStatus.COMPLETED, who=WHO, at=end)


def _key(today: date, number: int) -> str:
    return f"demo-{today:%Y%m%d}-{number}"


@transaction.atomic
def list_readings(*, site: Site) -> None:
    """Put on the reading list what the demonstration's images were linked to, which nobody was told."""
    refresh_studies(Study.objects.filter(site=site, readings=None).values_list("pk", flat=True))
