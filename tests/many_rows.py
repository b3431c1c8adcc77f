"""An archive with thousands of rows in every table that grows, made in a second.

One row of each model is written as usual and then multiplied inside the database, so that a test
can see which queries read more when there is more to read.
"""

import hashlib
from typing import Any

from django.db import connection
from django.db.models import Model

from integrations.models import Hl7Message, Hl7Peer, Webhook, WebhookDelivery
from pacs.models import (
    Compression,
    CompressionOutcome,
    HeldObject,
    HeldReason,
    Instance,
    Location,
    PatientModality,
    RequestAttributes,
    Series,
    StorageCommitment,
    Study,
    StudyToken,
    Volume,
)
from radiology.models import (
    AuditAction,
    AuditEvent,
    Job,
    JobState,
    Order,
    Patient,
    PatientIdentifier,
    PatientNameWord,
    Report,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
    Site,
)
from radiology.services.patients import save_patient

FIRST = 10_000_000  # ids of the multiplied rows begin here


def multiply(row: Model, *, times: int, **columns: str) -> None:
    """Add `times` copies of `row`; `columns` are SQL expressions in `n`, which counts from 1."""
    table = row._meta.db_table
    names = [field.column for field in row._meta.concrete_fields if field.column]
    expressions = {"id": f"{FIRST} + n", "public_id": "gen_random_uuid()", **columns}
    values = ", ".join(expressions.get(name, f't."{name}"') for name in names)
    quoted = ", ".join(f'"{name}"' for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "{table}" ({quoted}) SELECT {values} FROM "{table}" t, generate_series(1, {times}) n '
            "WHERE t.id = %s",
            [row.pk],
        )


def fill(*, times: int, name: str = "SARI^DEWI") -> dict[type[Model], Any]:
    """One row of every growing model, and `times` more of each; the first ones are returned."""
    site = Site.objects.default()
    patient = Patient(site=site, patient_id="RM-0", patient_name=name, patient_birth_date="19700101", patient_sex="F")
    save_patient(patient=patient)
    word = patient.name_words.get(word=patient.name_words.values_list("word", flat=True)[0])
    identifier = PatientIdentifier.objects.create(patient_ref=patient, kind="NIK", value="3171-0")
    order = Order.objects.create(site=site, patient_ref=patient, accession_number="ACC-0", placer_order_number="P-0")
    procedure = RequestedProcedure.objects.create(
        order_ref=order, requested_procedure_id="RP-0", modality="CT", study_instance_uid="2.25.10"
    )
    report = Report.objects.create(
        site=site, requested_procedure_ref=procedure, status=ReportStatus.FINAL, number=1, external_id="R-0"
    )
    report_version = ReportVersion.objects.create(report_ref=report, number=1, status=ReportStatus.FINAL)
    study = Study.objects.create(
        site=site,
        patient_ref=patient,
        study_instance_uid="2.25.10",
        accession_number="ACC-0",
        modalities_in_study=["CT"],
    )
    series = Series.objects.create(site=site, study_ref=study, series_instance_uid="2.25.20", modality="CT")
    instance = Instance.objects.create(
        site=site, series_ref=series, sop_instance_uid="2.25.30", sop_class_uid="1.2.840.10008.5.1.4.1.1.2"
    )
    request = RequestAttributes.objects.create(
        series_ref=series, accession_number="ACC-0", requested_procedure_id="RP-0"
    )
    volume = Volume.objects.get()
    stored = {
        "volume": volume,
        "data_set_offset": 400,
        "size": 1024,
        "sha256": hashlib.sha256(b"").digest(),
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
    }
    location = Location.objects.create(instance_ref=instance, path="2026/11/23/0.dcm", **stored)
    compression = Compression.objects.create(
        location=location,
        outcome=CompressionOutcome.COMPRESSED,
        transfer_syntax_uid="1.2.840.10008.1.2.4.80",
        received_size=location.size,
        received_sha256=location.sha256,
        received_transfer_syntax_uid=location.transfer_syntax_uid,
    )
    held = HeldObject.objects.create(
        site=site,
        reason=HeldReason.OTHER_PIXELS,
        sop_instance_uid="2.25.30",
        study_instance_uid="2.25.10",
        patient_id="RM-0",
        patient_name=name,
        path="held/0.dcm",
        **stored,
    )
    job = Job.objects.create(kind="radiology.forget_done_jobs", state=JobState.DONE, idempotency_key="key-0")
    commitment = StorageCommitment.objects.create(
        site=site,
        transaction_uid="2.25.40",
        calling_ae_title="CT1",
        requested=[["1.2.840.10008.5.1.4.1.1.2", "2.25.30"]],
        requested_sha256=hashlib.sha256(b"").digest(),
        job=job,
    )
    event = AuditEvent.objects.create(
        event="study.read", action=AuditAction.READ, site=site, patient_ref=patient, study_instance_uid="2.25.10"
    )
    peer = Hl7Peer.objects.create(name="SIMRS", site=site, addresses=["10.0.0.1"])
    message = Hl7Message.objects.create(
        site=site,
        peer=peer,
        raw=b"MSH|",
        size=4,
        content_sha256=hashlib.sha256(b"").digest(),
        message_control_id="MSG-0",
        message_code="ADT",
        patient_ref=patient,
        order_ref=order,
    )
    webhook = Webhook.objects.create(site=site, name="SIMRS", url="https://simrs.example", events=["study.complete"])
    delivery = WebhookDelivery.objects.create(
        site=site,
        webhook=webhook,
        job=job,
        event="study.complete",
        subject="2.25.10",
        body="{}",
        delivered_at=job.created_at,
    )
    token = StudyToken.objects.create(study_ref=study, patient_ref=patient, token_sha256=hashlib.sha256(b"").digest())
    multiply(patient, times=times, patient_id="'RM-' || n", patient_name_sort="'SARI ' || n")
    multiply(word, times=times, patient_ref_id=f"{FIRST} + n")
    multiply(identifier, times=times, patient_ref_id=f"{FIRST} + n", value="'3171-' || n")
    multiply(order, times=times, patient_ref_id=f"{FIRST} + n", accession_number="'ACC-' || n",
             placer_order_number="'P-' || n", filler_order_number="'F-' || n")  # fmt: skip
    multiply(procedure, times=times, order_ref_id=f"{FIRST} + n", study_instance_uid="'2.25.10.' || n")
    multiply(report, times=times, requested_procedure_ref_id=f"{FIRST} + n", external_id="'R-' || n")
    multiply(report_version, times=times, report_ref_id=f"{FIRST} + n")
    multiply(study, times=times, patient_ref_id=f"{FIRST} + n", study_instance_uid="'2.25.10.' || n",
             accession_number="'ACC-' || n", study_date="(20200101 + n)::text")  # fmt: skip
    multiply(series, times=times, study_ref_id=f"{FIRST} + n", series_instance_uid="'2.25.20.' || n")
    multiply(instance, times=times, series_ref_id=f"{FIRST} + n", sop_instance_uid="'2.25.30.' || n")
    multiply(request, times=times, series_ref_id=f"{FIRST} + n", accession_number="'ACC-' || n",
             requested_procedure_id="'RP-' || n", scheduled_procedure_step_id="'S-' || n")  # fmt: skip
    multiply(location, times=times, instance_ref_id=f"{FIRST} + n", path="'2026/11/23/' || n || '.dcm'")
    multiply(compression, times=times, location_id=f"{FIRST} + n")
    multiply(held, times=times, sop_instance_uid="'2.25.30.' || n", study_instance_uid="'2.25.10.' || n",
             path="'held/' || n || '.dcm'")  # fmt: skip
    multiply(job, times=times, idempotency_key="'key-' || n", ordering_key="'order-' || n")
    multiply(commitment, times=times, transaction_uid="'2.25.40.' || n", job_id=f"{FIRST} + n")
    multiply(event, times=times, patient_ref_id=f"{FIRST} + n", study_instance_uid="'2.25.10.' || n",
             event="'event.' || mod(n, 50)", user_id="n")  # fmt: skip
    multiply(message, times=times, message_control_id="'MSG-' || n", patient_ref_id=f"{FIRST} + n",
             order_ref_id=f"{FIRST} + n")  # fmt: skip
    multiply(delivery, times=times, job_id=f"{FIRST} + n", subject="'2.25.10.' || n")
    multiply(token, times=times, study_ref_id=f"{FIRST} + n", patient_ref_id=f"{FIRST} + n",
             token_sha256="sha256(n::text::bytea)")  # fmt: skip
    rows = [
        patient,
        word,
        identifier,
        order,
        procedure,
        report,
        report_version,
        study,
        PatientModality.objects.get(patient_ref=patient),
        series,
        instance,
        request,
        location,
        compression,
        held,
        job,
        commitment,
        event,
        message,
        delivery,
        token,
    ]
    with connection.cursor() as cursor:
        for row in rows:
            cursor.execute(f'ANALYZE "{row._meta.db_table}"')
    return {type(row): row for row in rows}


GROWING: tuple[type[Model], ...] = (
    Patient,
    PatientNameWord,
    PatientIdentifier,
    Order,
    RequestedProcedure,
    Report,
    ReportVersion,
    Study,
    PatientModality,
    Series,
    Instance,
    RequestAttributes,
    Location,
    Compression,
    HeldObject,
    Job,
    StorageCommitment,
    AuditEvent,
    Hl7Message,
    WebhookDelivery,
    StudyToken,
)
