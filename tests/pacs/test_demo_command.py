import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from pacs.demo.labels import Label
from pacs.demo.patients import PATIENTS
from pacs.demo.studies import NODES, Programme, Scale
from pacs.models import (
    ApplicationEntity,
    Correction,
    HeldObject,
    HeldReason,
    Instance,
    Removal,
    RemovalCode,
    Study,
)
from radiology.models import ApiToken, Order, Patient
from tests.daemons import ROOT, Daemon, wait_until

SMALL = ("--size", "64", "--spacing", "50")
SCALE = Scale(64, 50.0, 50.0)
PROGRAMME = Programme(Label(datetime(2025, 5, 1, 9, 30, tzinfo=UTC)), SCALE).shipments()
STUDIES = [shipment for shipment in PROGRAMME if not shipment.held]
OBJECTS, NOTES = sum(shipment.count for shipment in STUDIES), 1
BY_MODALITY = {
    "CT": 27, "CR": 2, "DX": 12, "MR": 19, "US": 11, "MG": 8, "XA": 2, "SR": 4, "DOC": 2, "NM": 1, "ECG": 1,
    "RTPLAN": 1, "RTDOSE": 1, "KO": 2, "PR": 1, "SEG": 1,
}  # fmt: skip


@pytest.fixture
def archive(committed_db: None, dimse_server: Daemon, web_server: Daemon, settings: object) -> Iterator[dict[str, str]]:
    """The daemons, with the command's settings pointing at them; the environment for a command in a process."""
    settings.SINAR_DICOM_PORTS = [dimse_server.port]  # type: ignore[attr-defined]
    settings.SINAR_HTTP_PORT = web_server.port  # type: ignore[attr-defined]
    yield {
        **dimse_server.environment,
        "SINAR_DICOM_PORT": str(dimse_server.port),
        "SINAR_HTTP_PORT": str(web_server.port),
    }


def demo() -> str:
    out = StringIO()
    call_command("demo", *SMALL, stdout=out)
    return out.getvalue()


def instances() -> set[tuple[str, str, str]]:
    return set(
        Instance.objects.values_list(
            "series_ref__study_ref__study_instance_uid", "series_ref__series_instance_uid", "sop_instance_uid"
        )
    )


def test_the_day_arrives_once_and_people_have_worked_on_it(archive: dict[str, str]) -> None:
    said = demo()
    assert f"{OBJECTS + 3} demo objects sent" in said
    assert Instance.objects.count() == OBJECTS + NOTES
    assert Study.objects.count() == len(STUDIES) == 34
    counts = Counter(Instance.objects.values_list("series_ref__modality", flat=True))
    assert counts == BY_MODALITY
    _patients()
    _conflicts()
    _work()
    _nodes()

    before, rows = instances(), _rows()
    deleted = Removal.objects.get(code=RemovalCode.DELETED)
    assert deleted.study_ref is not None
    Study.objects.filter(pk=deleted.study_ref.pk).update(deleted_at=None)  # as `restore` does
    Removal.objects.filter(pk=deleted.pk).update(restored_at=timezone.now())
    said = demo()
    assert said.count("there already") == len(PROGRAMME)
    assert "0 demo objects sent" in said
    assert instances() == before
    assert _rows() == rows
    assert not Study.objects.exclude(deleted_at=None).exists()  # what somebody restored stays


def _patients() -> None:
    found = {(patient.patient_id, patient.issuer_of_patient_id): patient for patient in Patient.objects.all()}
    assert {key: patient.patient_name for key, patient in found.items()} == {
        (patient.patient_id, patient.issuer): patient.patient_name for patient in PATIENTS.values()
    }
    assert [key for key, patient in found.items() if patient.is_provisional] == [("", "")]
    assert found["00044402", ""].patient_name_ideographic == "陳^美玲"
    assert found["KB-3307", "KLINIK-BHAKTI"].patient_name == found["00095871", "RS-SINAR-HARAPAN"].patient_name
    chest = Study.objects.filter(patient_ref=found["00012871", ""]).order_by("study_date", "study_time")
    assert [study.modalities_in_study for study in chest] == [["CT"], ["CT", "KO", "SEG", "SR"], ["DX", "PR"]]


def _conflicts() -> None:
    held = HeldObject.objects.waiting().values_list("reason", "patient_id")
    assert sorted(held) == [
        (HeldReason.OTHER_HEADER, "00102245"),
        (HeldReason.OTHER_PIXELS, "00011008"),
        (HeldReason.STUDY_OF_OTHER_PATIENT, "00100413"),
    ]


def _work() -> None:
    """Orders, the rejected exposure, corrections, the deleted study."""
    assert Study.objects.exclude(requested_procedure_ref=None).count() == 8
    assert Order.objects.filter(status="active", placer_order_number__startswith="PO-").count() == 5
    assert Removal.objects.get(code=RemovalCode.QUALITY).instances.count() == 2  # the image and its note
    assert Instance.objects.exclude(removed_at=None).filter(series_ref__modality="DX").count() == 1
    deleted = Removal.objects.get(code=RemovalCode.DELETED)
    assert Study.objects.exclude(deleted_at=None).get() == deleted.study_ref
    corrected = Study.objects.get(study_description="Foto Manus sinistra (dari klinik)")
    assert corrected.corrections.count() == 1
    assert corrected.overlay


def _nodes() -> None:
    assert ApiToken.objects.filter(client__name="demo").exists()
    assert not ApiToken.objects.usable().filter(client__name="demo").exists()
    nodes = ApplicationEntity.objects.filter(title__in=NODES)
    assert {node.title for node in nodes} == set(NODES)
    assert all(node.may_store and node.check_address for node in nodes)
    assert not any(node.may_query or node.may_retrieve or node.may_receive for node in nodes)


def _rows() -> list[int]:
    return [model.objects.count() for model in (Study, Patient, Order, HeldObject, Removal, Correction, Instance)]


def test_a_killed_run_is_completed_by_the_next(archive: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "manage.py", "demo", *SMALL], cwd=ROOT, env=archive, stdout=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: Instance.objects.exists(), seconds=120, what="the first image")
        process.kill()
    begun = instances()
    assert 0 < len(begun) < OBJECTS
    demo()
    assert begun <= instances()
    assert Instance.objects.count() == OBJECTS + NOTES
    assert Study.objects.count() == len(STUDIES)
    _conflicts()


def test_a_node_that_may_not_store_is_named(archive: dict[str, str]) -> None:
    ApplicationEntity.objects.create(title="DEMO_CT", host="127.0.0.1", port=11113, may_store=False)
    with pytest.raises(CommandError, match="takes nothing from DEMO_CT"):
        demo()


def test_a_daemon_that_does_not_answer_is_one_sentence(
    archive: dict[str, str], settings: object, free_port: object
) -> None:
    settings.SINAR_DICOM_PORTS = [free_port()]  # type: ignore[attr-defined, operator]
    with pytest.raises(CommandError, match=r"DICOM daemon does not answer on 127\.0\.0\.1:\d+: start it"):
        demo()
    assert not ApiToken.objects.usable().exists()


def test_a_web_server_that_does_not_answer_is_one_sentence(
    archive: dict[str, str], settings: object, free_port: object
) -> None:
    settings.SINAR_HTTP_PORT = free_port()  # type: ignore[attr-defined, operator]
    with pytest.raises(CommandError, match=r"web server does not answer on http://127\.0\.0\.1:\d+: start it"):
        demo()


@pytest.mark.parametrize("arguments", [("--size", "10"), ("--spacing", "0"), ("--size", "5000")])
def test_impossible_sizes_are_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match="between 64 and 1024"):
        call_command("demo", *arguments)
