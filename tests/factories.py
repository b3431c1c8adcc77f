"""Rows for tests, as the store service would make them: patients, studies, series, instances, clients.

Each function makes whatever it is not given. Names and numbers are invented and the same in every run.
"""

import hashlib
import itertools
import uuid
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.auth.models import Group
from django.utils import timezone
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from pacs.models import ApplicationEntity, Instance, Location, RequestAttributes, Series, Study, Volume
from radiology.dicom import PersonName, instant, parse_da, parse_offset
from radiology.models import (
    ApiToken,
    Order,
    Patient,
    PatientIdentifier,
    PatientNameWord,
    Priority,
    Procedure,
    Report,
    ReportOrigin,
    ReportStatus,
    ReportTemplate,
    RequestedProcedure,
    Site,
    User,
)
from radiology.services.access import issue_token
from radiology.services.attached_reports import attach_report
from radiology.services.patients import name_words
from radiology.services.report_versions import Content
from worklist.models import (
    CaseReason,
    Device,
    PerformedProcedureStep,
    PerformedStepReference,
    Reading,
    ReconciliationCase,
    Room,
    ScheduledProcedureStep,
)
from worklist.services.reading_rows import refresh_studies

_numbers = itertools.count(1)


def uid(*parts: int) -> str:
    """A UID of this suite; without parts a new one."""
    return ".".join(["2.25.4711", *(str(part) for part in parts or (next(_numbers), 1))])


def default_site() -> Site:
    return Site.objects.default()


def make_site(code: str = "other", **fields: Any) -> Site:
    return Site.objects.create(code=code, **{"name": f"RS {code.title()}", **fields})


def let_it_be_noon() -> Site:
    """The default site, moved to where it is about noon: what is some hours away is of the same day there."""
    site = default_site()
    hours = 12 - timezone.now().hour
    site.time_zone = f"Etc/GMT{-hours:+d}"  # the signs of these zones are turned round
    site.save()
    return site


def make_user(
    username: str = "dewi", *, site: Site | None = None, password: str = "", role: str = "", **fields: Any
) -> User:
    user = User.objects.create_user(
        username=username, password=password or "rahasia-sekali-1", site=site or default_site(), **fields
    )
    if role:
        user.groups.add(Group.objects.get(name=role))
    return user


def make_token(
    name: str = "simrs", *, scopes: Sequence[str] = ("studies.read",), site: Site | None = None, **fields: Any
) -> tuple[ApiToken, str]:
    """A token and its text."""
    return issue_token(name=name, scopes=list(scopes), site=site, **fields)


def make_node(title: str = "CT1", **fields: Any) -> ApplicationEntity:
    return ApplicationEntity.objects.create(
        title=title, **{"host": "127.0.0.1", "port": 11113, "site": default_site(), **fields}
    )


def make_patient(
    patient_id: str | None = None,
    patient_name: str = "WIBOWO^BUDI",
    *,
    site: Site | None = None,
    identifiers: Sequence[tuple[str, str]] = (),
    **fields: Any,
) -> Patient:
    """A patient with the search columns and words of the name; `identifiers` are (kind, value)."""
    name = PersonName(patient_name)
    alphabetic, ideographic, phonetic = name.groups
    patient = Patient.objects.create(
        site=site or default_site(),
        patient_id=f"MRN{next(_numbers):06d}" if patient_id is None else patient_id,
        patient_name=patient_name,
        patient_name_alphabetic=alphabetic,
        patient_name_ideographic=ideographic,
        patient_name_phonetic=phonetic,
        patient_name_search=name.normalised,
        patient_name_sort=name.sort_key,
        birth_date=parse_da(fields.get("patient_birth_date", "19700101")),
        **{"patient_birth_date": "19700101", "patient_sex": "M", **fields},
    )
    PatientNameWord.objects.bulk_create(name_words(patient=patient.pk, patient_name=patient_name))
    PatientIdentifier.objects.bulk_create(
        PatientIdentifier(patient_ref=patient, kind=kind, value=value) for kind, value in identifiers
    )
    return patient


def make_study(
    patient: Patient | None = None,
    *,
    series: int = 0,
    instances: int = 0,
    locations: bool = False,
    modality: str = "CT",
    **fields: Any,
) -> Study:
    """A study; with `series` series of `instances` instances each (`locations` adds their archive rows)."""
    patient = patient or make_patient()
    values = {
        "study_instance_uid": uid(),
        "study_date": "20240315",
        "study_time": "101530",
        "accession_number": f"ACC{next(_numbers):06d}",
        "study_id": "1",
        "study_description": "CT Thorax",
        "referring_physician_name": "SARI^DEWI^^DR",
        **fields,
    }
    zone = parse_offset(values.get("timezone_offset_from_utc", "")) or ZoneInfo(patient.site.time_zone)
    moment = instant(values["study_date"], values["study_time"], zone)
    study = Study.objects.create(
        site=patient.site,
        patient_ref=patient,
        referring_physician_name_search=PersonName(values["referring_physician_name"]).normalised,
        study_datetime=moment,
        **{"sort_at": moment or timezone.now().astimezone(UTC) - timedelta(seconds=next(_numbers)), **values},
    )
    for number in range(1, series + 1):
        make_series(study, instances=instances, locations=locations, modality=modality, series_number=number)
    return study


def make_series(
    study: Study | None = None,
    *,
    instances: int = 0,
    locations: bool = False,
    request_attributes: Sequence[dict[str, str]] = (),
    sop_class_uid: str = CTImageStorage,
    **fields: Any,
) -> Series:
    """A series, its study's counters and sets kept; `request_attributes` are rows of its sequence."""
    study = study or make_study()
    series = Series.objects.create(
        site=study.site,
        study_ref=study,
        **{
            "series_instance_uid": uid(),
            "modality": "CT",
            "series_number": study.number_of_study_related_series + 1,
            "series_description": "Axial 5 mm",
            "body_part_examined": "CHEST",
            **fields,
        },
    )
    RequestAttributes.objects.bulk_create(RequestAttributes(series_ref=series, **item) for item in request_attributes)
    if series.modality and series.modality not in study.modalities_in_study:
        study.modalities_in_study.append(series.modality)
    study.number_of_study_related_series += 1
    study.save()
    for number in range(1, instances + 1):
        make_instance(series, location=locations, instance_number=number, sop_class_uid=sop_class_uid)
    return series


def make_instance(series: Series | None = None, *, location: bool = False, **fields: Any) -> Instance:
    """An instance, its series' and study's counters and sets kept. `location` adds an archive row without a file."""
    series = series or make_series()
    study = series.study_ref
    instance = Instance.objects.create(
        site=series.site,
        series_ref=series,
        **{
            "sop_instance_uid": uid(),
            "sop_class_uid": CTImageStorage,
            "instance_number": series.number_of_series_related_instances + 1,
            "rows": 512,
            "columns": 512,
            "bits_allocated": 16,
            **fields,
        },
    )
    series.number_of_series_related_instances += 1
    series.save()
    study.number_of_study_related_instances += 1
    if instance.sop_class_uid not in study.sop_classes_in_study:
        study.sop_classes_in_study.append(instance.sop_class_uid)
    study.save()
    if location:
        make_location(instance)
    return instance


def make_location(instance: Instance, **fields: Any) -> Location:
    return Location.objects.create(
        instance_ref=instance,
        **{
            "volume": Volume.objects.order_by("id")[0],
            "path": f"test/{instance.pk}.dcm",
            "data_set_offset": 348,
            "size": 524288,
            "sha256": hashlib.sha256(instance.sop_instance_uid.encode()).digest(),
            "transfer_syntax_uid": ExplicitVRLittleEndian,
            **fields,
        },
    )


def make_procedure(
    code: str = "CTTHX", name: str = "CT Thorax", *, site: Site | None = None, **fields: Any
) -> Procedure:
    """An entry of the catalogue."""
    values = {"modality": "CT", "body_part_examined": "CHEST", "duration": 20, **fields}
    return Procedure.objects.create(site=site or default_site(), code=code, name=name, **values)


def make_order(patient: Patient | None = None, *, procedures: int = 0, modality: str = "CT", **fields: Any) -> Order:
    """An order; with `procedures` requested procedures (see `make_requested_procedure`)."""
    patient = patient or make_patient()
    order = Order.objects.create(
        site=patient.site, patient_ref=patient, **{"accession_number": f"A{next(_numbers):09d}", **fields}
    )
    for _ in range(procedures):
        make_requested_procedure(order, modality=modality)
    return order


def make_requested_procedure(order: Order | None = None, **fields: Any) -> RequestedProcedure:
    order = order or make_order()
    number = next(_numbers)
    values = {
        "requested_procedure_id": f"RP{number:08d}",
        "requested_procedure_description": "CT Thorax",
        "procedure_code_value": "CTTHX",
        "procedure_coding_scheme": "99SINAR",
        "modality": "CT",
        "body_part_examined": "CHEST",
        "study_instance_uid": uid(),
        **fields,
    }
    return RequestedProcedure.objects.create(order_ref=order, **values)


def make_report(procedure: RequestedProcedure | None = None, **texts: str) -> Report:
    """A signed report, written elsewhere."""
    version, _is_new = attach_report(
        procedure=procedure or make_requested_procedure(),
        status=ReportStatus.FINAL,
        content=Content(texts or {"impression": "Normal."}),
        author_name="HIDAYAT^RAHMAT",
        origin=ReportOrigin.REST,
    )
    return version.report_ref


def make_key_image(report: Report, instance: Instance, **fields: Any) -> str:
    """A key image that a report's newest version has; its public id."""
    series = instance.series_ref
    image = {
        "id": str(uuid.uuid4()),
        "study": series.study_ref.study_instance_uid,
        "series": series.series_instance_uid,
        "instance": instance.sop_instance_uid,
        "sop_class": instance.sop_class_uid,
        "frame": None,
        "window": None,
        "inverted": False,
        "caption": "",
        "modality": series.modality,
        "study_date": series.study_ref.study_date,
        "series_number": series.series_number,
        "instance_number": instance.instance_number,
        **fields,
    }
    report.versions.filter(number=report.number).update(key_images=[image])
    return str(image["id"])


def make_reading(
    patient: Patient | None = None,
    *,
    priority: str = Priority.ROUTINE,
    ago: timedelta = timedelta(),
    images: int = 1,
    **fields: Any,
) -> Reading:
    """An examination on the reading list, whose images came so long `ago`; other fields are its procedure's."""
    order = make_order(patient, priority=priority)
    procedure = make_requested_procedure(order, **fields)
    came = timezone.now() - ago
    study = make_study(
        order.patient_ref,
        requested_procedure_ref=procedure,
        study_instance_uid=procedure.study_instance_uid,
        accession_number=order.accession_number,
        study_description=procedure.requested_procedure_description,
        sort_at=came,
        created_at=came,
    )
    make_series(study, modality=procedure.modality, body_part_examined=procedure.body_part_examined, instances=images)
    refresh_studies([study.pk])
    return Reading.objects.get(requested_procedure_ref=procedure)


def make_report_template(code: str = "T1", *, site: Site | None = None, **fields: Any) -> ReportTemplate:
    """A template of a site with one finding."""
    lungs = {"field": "lungs", "label": "Lungs", "kind": "text", "normal": "Clear.", "default": "[  ]"}
    values = {"name": code, "modality": "CT", "body_part_examined": "CHEST", "language": "id", **fields}
    made = ReportTemplate(site=site or default_site(), code=code, content={"findings": [lungs]}, **values)
    made.full_clean()
    made.save()
    return made


def make_room(code: str | None = None, *, site: Site | None = None, **fields: Any) -> Room:
    code = code or f"R{next(_numbers)}"
    return Room.objects.create(site=site or default_site(), code=code, **{"name": f"Room {code}", **fields})


def make_device(title: str = "CT1", *, room: Room | None = None, **fields: Any) -> Device:
    """A device of `room` (a new one where none is given); `node` may be given."""
    room = room or make_room()
    values = {"name": title, "modality": "CT", "station_name": title[:16], **fields}
    return Device.objects.create(site=room.site, room=room, station_ae_title=title, **values)


def make_step(procedure: RequestedProcedure | None = None, **fields: Any) -> ScheduledProcedureStep:
    """A scheduled step, in an hour from now unless `scheduled_start` says otherwise; room and titles of `device`."""
    procedure = procedure or make_requested_procedure()
    start = fields.pop("scheduled_start", timezone.now() + timedelta(hours=1))
    device = fields.get("device")
    values = {
        "site": procedure.order_ref.site,
        "scheduled_procedure_step_id": f"S{next(_numbers):08d}",
        "scheduled_procedure_step_description": procedure.requested_procedure_description,
        "modality": procedure.modality,
        "scheduled_start": start,
        "scheduled_end": start and start + timedelta(minutes=procedure.duration),
        **fields,
    }
    if device is not None:
        values = {
            "room": device.room,
            "scheduled_station_ae_titles": [device.station_ae_title],
            "scheduled_station_name": device.station_name,
            **values,
        }
    return ScheduledProcedureStep.objects.create(requested_procedure_ref=procedure, **values)


def make_performed(step: ScheduledProcedureStep | None = None, **fields: Any) -> PerformedProcedureStep:
    """A performed step in progress that answers `step` (a new one), as a device reported it."""
    step = step or make_step()
    procedure = step.requested_procedure_ref
    values = {
        "site": step.site,
        "patient_ref": procedure.order_ref.patient_ref,
        "sop_instance_uid": uid(),
        "performed_procedure_step_id": f"P{next(_numbers)}",
        "performed_procedure_step_status": "IN PROGRESS",
        "modality": step.modality,
        "performed_station_ae_title": "CT1",
        "study_instance_uid": procedure.study_instance_uid,
        "started_at": timezone.now(),
        **fields,
    }
    performed = PerformedProcedureStep.objects.create(**values)
    PerformedStepReference.objects.create(
        performed_ref=performed,
        scheduled_ref=step,
        study_instance_uid=procedure.study_instance_uid,
        accession_number=procedure.order_ref.accession_number,
        requested_procedure_id=procedure.requested_procedure_id,
        scheduled_procedure_step_id=step.scheduled_procedure_step_id,
    )
    return performed


def make_case(study: Study | None = None, *candidates: RequestedProcedure, **fields: Any) -> ReconciliationCase:
    """A study that waits for somebody to say which of `candidates` it belongs to."""
    study = study or make_study()
    entries = [
        {"procedure": each.pk, "score": 50 - place, "agrees": ["patient_id"], "differs": ["accession"]}
        for place, each in enumerate(candidates)
    ]
    values = {"reason": CaseReason.ACCESSION_UNKNOWN, "candidates": entries, **fields}
    return ReconciliationCase.objects.create(site=study.site, study_ref=study, **values)
