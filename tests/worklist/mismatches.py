"""Generated days of a radiology department in which a lot goes wrong between the worklist and the console.

A seed gives the same patients, orders and mistakes each time. Time passes: patients arrive, images come and
are matched, steps are completed, so that a match sees what it would have seen at that moment.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django.utils import timezone

from pacs.models import Study
from radiology.dicom import PersonName
from radiology.models import Order, Patient, RequestedProcedure
from radiology.services.identity import Identity, patient_for_study
from tests.factories import (
    default_site,
    make_device,
    make_order,
    make_patient,
    make_requested_procedure,
    make_room,
    make_series,
    make_step,
    uid,
)
from worklist.models import Device, ScheduledProcedureStep, StepStatus

FAMILY = """
    WIBOWO SUSANTO LESTARI PUTRI RAHMAWATI HIDAYAT SITOMPUL SIREGAR NASUTION SETIAWAN KURNIAWAN WIJAYA SAPUTRA
    HANDAYANI PRATAMA NUGROHO SUHARTO MARPAUNG TANJUNG HALIM
"""
GIVEN = """
    BUDI SITI AGUS DEWI ANDI RINA JOKO YUNI HENDRA FITRI MUHAMMAD NURUL AHMAD INDAH RIZKI MAYA BAMBANG RATNA DIAN EKO
    MADE WAYAN KETUT PUTU
"""
WORK = {
    "CT": [("CT Thorax", "CHEST"), ("CT Abdomen", "ABDOMEN"), ("CT Kepala", "HEAD")],
    "MR": [("MRI Lumbal", "LSPINE"), ("MRI Kepala", "HEAD"), ("MRI Genu", "KNEE")],
    "DX": [("Foto Thorax PA", "CHEST"), ("Foto Abdomen", "ABDOMEN"), ("Foto Manus", "HAND"), ("Foto Genu", "KNEE")],
    "US": [("USG Abdomen", "ABDOMEN"), ("USG Payudara", "BREAST"), ("USG Tiroid", "NECK")],
}
WORDS = {
    "CHEST": "Chest routine", "ABDOMEN": "Abdomen", "HEAD": "Brain", "LSPINE": "L-Spine", "KNEE": "Knee AP",
    "HAND": "Hand", "BREAST": "Breast", "NECK": "Thyroid",
}  # fmt: skip


@dataclass
class Made:
    """Images, the procedure that they were truly made for, and what went wrong."""

    study: Study
    truth: RequestedProcedure
    kind: str
    also: list[RequestedProcedure] = field(default_factory=list)


class Department:
    """Four rooms whose time goes on slot by slot."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.site = default_site()
        self.now = (timezone.now() - timedelta(days=1)).replace(hour=1, minute=0, second=0, microsecond=0)
        self.devices = {
            modality: make_device(f"{modality}{seed % 90}", room=make_room(f"{modality}{seed}"), modality=modality)
            for modality in WORK
        }
        self.numbers = iter(self.random.sample(range(10_000), 4_000))
        self.starts = dict.fromkeys(WORK, self.now)

    def patient(self) -> Patient:
        given, family = self.random.choice(GIVEN.split()), self.random.choice(FAMILY.split())
        middle = self.random.choice(["", f"^{self.random.choice(GIVEN.split())}"])
        born = date(1940, 1, 1) + timedelta(days=self.random.randrange(28_000))
        return make_patient(
            f"{self.random.randrange(100_000, 999_999)}{next(self.numbers):04}",
            f"{family}^{given}{middle}",
            patient_birth_date=f"{born:%Y%m%d}",
            patient_sex=self.random.choice("MF"),
        )

    def order(
        self, patient: Patient | None = None, *works: tuple[str, str], modality: str = "", **fields: Any
    ) -> Order:
        """An order with a scheduled step each, in the next free slot of the modality's room."""
        modality = modality or self.random.choice(list(WORK))
        number = f"{self.now:%y%m%d}{next(self.numbers):05}"
        order = make_order(patient or self.patient(), accession_number=number, **fields)
        for name, part in works or (self.random.choice(WORK[modality]),):
            procedure = make_requested_procedure(
                order, requested_procedure_description=name, modality=modality, body_part_examined=part
            )
            start = max(self.starts[modality], self.now)
            self.starts[modality] = start + timedelta(minutes=20)
            step = make_step(
                procedure, device=self.devices[modality], scheduled_start=start, scheduled_end=self.starts[modality]
            )
            assert step.status == StepStatus.SCHEDULED
        Order.objects.filter(pk=order.pk).update(created_at=self.now - timedelta(hours=5))
        return Order.objects.get(pk=order.pk)

    def arrive(self, order: Order) -> None:
        steps = ScheduledProcedureStep.objects.filter(requested_procedure_ref__order_ref=order)
        start = min(each.scheduled_start for each in steps if each.scheduled_start)
        self.now = max(self.now, start)
        steps.update(status=StepStatus.ARRIVED, arrived_at=self.now - timedelta(minutes=10))

    def completed(self, *procedures: RequestedProcedure) -> None:
        steps = ScheduledProcedureStep.objects.filter(requested_procedure_ref__in=procedures)
        steps.update(status=StepStatus.COMPLETED, started_at=self.now, ended_at=self.now + timedelta(minutes=5))

    def images(self, of: RequestedProcedure, header: Order | None = None, **changes: Any) -> Study:
        """What a console sends that has the line of `header` (else of the order itself) before it.

        `changes` go over the header: patient_id, name, born, sex, accession, study_uid, device, at, body_part, words,
        request (items of the Request Attributes Sequence).
        """
        line = header or of.order_ref
        patient = line.patient_ref
        at = changes.get("at", self.now + timedelta(minutes=self.random.randrange(2, 12)))
        local = timezone.localtime(at)
        said = Identity(
            patient_id=changes.get("patient_id", patient.patient_id),
            patient_name=changes.get("name", patient.patient_name),
            patient_birth_date=changes.get("born", patient.patient_birth_date),
            patient_sex=changes.get("sex", patient.patient_sex),
        )
        study_uid = changes.get("study_uid", uid())
        device: Device = changes.get("device", self.devices[of.modality])
        part = changes.get("body_part", of.body_part_examined)
        study = Study.objects.create(
            site=self.site,
            patient_ref=patient_for_study(site=self.site, identity=said, study_instance_uid=study_uid),
            study_instance_uid=study_uid,
            study_date=f"{local:%Y%m%d}",
            study_time=f"{local:%H%M%S}",
            study_datetime=at,
            sort_at=at,
            accession_number=changes.get("accession", line.accession_number),
            study_description=changes.get("words", WORDS.get(of.body_part_examined, "")),
            attributes={
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": said.patient_name}]},
                "00100020": {"vr": "LO", "Value": [said.patient_id]},
                "00100030": {"vr": "DA", "Value": [said.patient_birth_date]},
                "00100040": {"vr": "CS", "Value": [said.patient_sex]},
            },
        )
        make_series(
            study,
            modality=changes.get("modality", of.modality),
            body_part_examined=part,
            series_description="",
            source_ae_title=device.station_ae_title,
            request_attributes=changes.get("request", ()),
        )
        return study


def procedure_of(order: Order) -> RequestedProcedure:
    return order.requested_procedures.select_related("order_ref__patient_ref").order_by("pk")[0]


def item(procedure: RequestedProcedure) -> dict[str, str]:
    """An item of the Request Attributes Sequence, as a console copies it from the worklist."""
    step = procedure.scheduled_procedure_steps.order_by("pk")[0]
    return {
        "scheduled_procedure_step_id": step.scheduled_procedure_step_id,
        "requested_procedure_id": procedure.requested_procedure_id,
        "accession_number": procedure.order_ref.accession_number,
        "study_instance_uid": procedure.study_instance_uid,
    }


def copied(procedure: RequestedProcedure) -> dict[str, Any]:
    """What a console takes over when the line of the worklist is chosen."""
    return {"study_uid": procedure.study_instance_uid, "request": [item(procedure)]}


def misspelt(name: str, chance: random.Random) -> str:
    """A name as somebody else writes it."""
    family, given, middle, _, _ = PersonName(name).components()
    return chance.choice(
        [
            f"{given}^{family}",
            f"{family.replace('U', 'OE')}^{given}",
            f"{family[:-1]}^{given}",
            f"{family}^{given[:2]}{given[1:]}",
            f"{family} {given} {middle}".strip(),
            f"{family.replace('Y', 'J').replace('I', 'IE', 1)}^{given}^{middle}".rstrip("^"),
        ]
    )


def substituted(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[:at] + chance.choice([digit for digit in "0123456789" if digit != text[at]]) + text[at + 1 :]


def swapped(text: str, chance: random.Random) -> str:
    places = [at for at in range(len(text) - 1) if text[at] != text[at + 1]]
    at = chance.choice(places)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


Mistake = Callable[[Department], list[Made]]
MISTAKES: dict[str, Mistake] = {}


def mistake(words: str) -> Callable[[Mistake], Mistake]:
    def keep(function: Mistake) -> Mistake:
        MISTAKES[words] = function
        return function

    return keep


def _arrived(department: Department, **fields: Any) -> RequestedProcedure:
    order = department.order(**fields)
    department.arrive(order)
    return procedure_of(order)


@mistake("accession number with a wrong digit")
def wrong_digit(d: Department) -> list[Made]:
    p = _arrived(d)
    return [Made(d.images(p, accession=substituted(p.order_ref.accession_number, d.random)), p, "")]


@mistake("accession number with two digits swapped")
def digits_swapped(d: Department) -> list[Made]:
    p = _arrived(d)
    return [Made(d.images(p, accession=swapped(p.order_ref.accession_number, d.random)), p, "")]


@mistake("accession number with a digit left out or added")
def digit_missing(d: Department) -> list[Made]:
    p = _arrived(d)
    number, at = p.order_ref.accession_number, d.random.randrange(9)
    other = d.random.choice([number[:at] + number[at + 1 :], number[:at] + "7" + number[at:]])
    return [Made(d.images(p, accession=other), p, "")]


@mistake("accession number with a prefix or a suffix of the console's own")
def prefix(d: Department) -> list[Made]:
    p = _arrived(d)
    number = p.order_ref.accession_number
    return [Made(d.images(p, accession=d.random.choice([f"{number}-1", f"R{number}", f"00{number}"])), p, "")]


@mistake("no accession number")
def no_number(d: Department) -> list[Made]:
    p = _arrived(d)
    return [Made(d.images(p, accession=""), p, "")]


@mistake("accession number of another patient")
def other_patients_number(d: Department) -> list[Made]:
    p = _arrived(d)
    other = d.order(modality=p.modality)
    return [Made(d.images(p, accession=other.accession_number), p, "")]


@mistake("wrong line of the worklist: that patient has not come yet")
def wrong_line(d: Department) -> list[Made]:
    p = _arrived(d)
    other = d.order(modality=p.modality)
    return [Made(d.images(p, header=other, **copied(procedure_of(other))), p, "")]


@mistake("wrong line of the worklist: that patient waits too, for something else")
def wrong_line_of_present(d: Department) -> list[Made]:
    modality = d.random.choice(list(WORK))
    mine, theirs = d.random.sample(WORK[modality], 2)
    order, other = d.order(None, mine, modality=modality), d.order(None, theirs, modality=modality)
    d.arrive(order)
    ScheduledProcedureStep.objects.filter(requested_procedure_ref__order_ref=other).update(
        status=StepStatus.ARRIVED, arrived_at=d.now
    )
    p = procedure_of(order)
    return [Made(d.images(p, header=other, **copied(procedure_of(other))), p, "")]


@mistake("two patients of one room swapped: each has the other's order")
def two_swapped(d: Department) -> list[Made]:
    modality = d.random.choice(list(WORK))
    orders = [d.order(modality=modality), d.order(modality=modality)]
    for order in orders:
        d.arrive(order)
    one, other = map(procedure_of, orders)
    first = d.images(one, accession=other.order_ref.accession_number)
    second = d.images(other, accession=one.order_ref.accession_number, at=d.now + timedelta(minutes=15))
    return [Made(first, one, ""), Made(second, other, "")]


@mistake("accession number of the same patient's order for another modality")
def other_modality(d: Department) -> list[Made]:
    one, other = d.random.sample(list(WORK), 2)
    p = _arrived(d, modality=one)
    second = d.order(p.order_ref.patient_ref, modality=other)
    return [Made(d.images(p, accession=second.accession_number), p, "")]


@mistake("the device's clock a day off, no accession number")
def clock_off(d: Department) -> list[Made]:
    p = _arrived(d)
    at = d.now + timedelta(hours=d.random.choice([-24, 24]), minutes=7)
    return [Made(d.images(p, accession="", at=at), p, "")]


@mistake("came a day late, with the right accession number")
def day_late(d: Department) -> list[Made]:
    p = procedure_of(d.order())
    return [Made(d.images(p, at=d.now + timedelta(hours=26)), p, "")]


@mistake("name spelled differently and a wrong digit in the MRN")
def name_and_number(d: Department) -> list[Made]:
    p = _arrived(d)
    patient = p.order_ref.patient_ref
    name = misspelt(patient.patient_name, d.random)
    return [Made(d.images(p, name=name, patient_id=substituted(patient.patient_id, d.random)), p, "")]


@mistake("name spelled differently, no accession number")
def name_only(d: Department) -> list[Made]:
    p = _arrived(d)
    return [Made(d.images(p, accession="", name=misspelt(p.order_ref.patient_ref.patient_name, d.random)), p, "")]


@mistake("two procedures in one order")
def two_in_one(d: Department) -> list[Made]:
    modality = d.random.choice(list(WORK))
    works = d.random.sample(WORK[modality], 2)
    order = d.order(None, *works, modality=modality)
    d.arrive(order)
    p = order.requested_procedures.select_related("order_ref__patient_ref").order_by("pk")[d.random.randrange(2)]
    said = d.random.choice(
        [{}, {"body_part": "", "words": p.requested_procedure_description}, {"body_part": "WHOLEBODY"}]
    )
    return [Made(d.images(p, **said), p, "")]


@mistake("one study for two orders")
def two_orders(d: Department) -> list[Made]:
    p = _arrived(d)
    second = d.order(p.order_ref.patient_ref, modality=p.modality)
    d.arrive(second)
    other = procedure_of(second)
    request = [item(p), item(other)]
    part = d.random.choice([p.body_part_examined, ""])
    study = d.images(p, request=request, study_uid=p.study_instance_uid, body_part=part)
    return [Made(study, p, "", also=[other])]


@mistake("no MRN, the right accession number")
def no_mrn(d: Department) -> list[Made]:
    p = _arrived(d)
    return [Made(d.images(p, patient_id=""), p, "")]


@mistake("an emergency without a name, typed in at the console")
def nobody(d: Department) -> list[Made]:
    p = _arrived(d)
    d.order(modality=p.modality)
    number = f"EMG{next(d.numbers)}"
    return [Made(d.images(p, patient_id=number, name="UNKNOWN", born="", sex="", accession=""), p, "")]


@mistake("two orders of one patient on one day, no accession number")
def same_day(d: Department) -> list[Made]:
    modality = d.random.choice(list(WORK))
    mine, theirs = d.random.sample(WORK[modality], 2)
    order = d.order(None, mine, modality=modality)
    d.order(order.patient_ref, theirs, modality=modality)
    d.arrive(order)
    p = procedure_of(order)
    return [Made(d.images(p, accession=""), p, "")]


@mistake("birth date and accession number mistyped")
def born_and_number(d: Department) -> list[Made]:
    p = _arrived(d)
    order = p.order_ref
    born = swapped(order.patient_ref.patient_birth_date, d.random)
    return [Made(d.images(p, born=born, accession=swapped(order.accession_number, d.random)), p, "")]


@mistake("the order was called off and placed anew; the images carry the old number")
def placed_anew(d: Department) -> list[Made]:
    modality = d.random.choice(list(WORK))
    work = d.random.choice(WORK[modality])
    old = d.order(None, work, modality=modality)
    ScheduledProcedureStep.objects.filter(requested_procedure_ref__order_ref=old).update(status=StepStatus.CANCELLED)
    new = d.order(old.patient_ref, work, modality=modality)
    d.arrive(new)
    p = procedure_of(new)
    return [Made(d.images(p, accession=old.accession_number), p, "")]


def mismatches(department: Department, count: int) -> Iterator[Made]:
    """`count` mismatches of every kind in turn, and among them examinations where nothing went wrong.

    The caller matches each study as it comes; then time goes on. Kinds of the sound ones are empty.
    """
    made = 0
    while made < count:
        for number, (kind, make) in enumerate(MISTAKES.items()):
            for each in make(department)[: max(0, count - made)]:
                each.kind = kind
                made += 1
                yield each
                department.completed(each.truth, *each.also)
            if number % 3:
                continue
            sound = _arrived(department)
            line = copied(sound) if department.random.random() < 0.7 else {}
            yield Made(department.images(sound, **line), sound, "")
            department.completed(sound)
