"""When a report is stored in its study, and taken out of it again: once, late, by choice, without Pango."""

import json
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread

from pacs.models import HeldObject, Instance, Removal, RemovalCode, ReportObject, Study
from pacs.services import removal, report_objects
from radiology.errors import NotInstalled
from radiology.models import (
    Job,
    JobState,
    ReportObjects,
    ReportStatus,
    RequestedProcedure,
    Role,
    Site,
    User,
)
from radiology.services import configuration, jobs
from radiology.services.reports import sign_report, withdraw_report
from tests.factories import make_user
from tests.pacs.reported import (
    files_of,
    image_of,
    imaged,
    keep,
    objects_of,
    ordered,
    through_all,
    work,
    written,
)


@pytest.fixture
def radiologist(site: Site) -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat Ñ.", last_name="Hidayat")


@pytest.fixture
def procedure(site: Site) -> RequestedProcedure:
    return ordered()


def configure(**values: Any) -> None:
    """Read a configuration file in that says this of the site."""
    entry = {"code": Site.objects.get().code, **values}
    chief = User.objects.filter(is_superuser=True).first() or make_user("chief", is_superuser=True)
    configuration.apply(who=chief, text=json.dumps({"sinar": configuration.FORMAT, "sites": [entry]}))


def test_a_job_that_runs_again_or_died_half_way_makes_nothing_else(
    procedure: RequestedProcedure, radiologist: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = imaged(procedure)
    version = written(procedure, radiologist).versions.get()

    def dies(**_: Any) -> bytes:
        raise OSError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(report_objects, "encapsulated_report", dies)
        work()
    assert files_of(study, "SR") == [] and ReportObject.objects.count() == 0
    job = Job.objects.get(kind=report_objects.STORE)
    assert job.state == JobState.PENDING
    Job.objects.update(next_attempt_at=job.created_at)
    work()
    first = files_of(study, "SR") + files_of(study, "DOC")
    assert len(first) == 2
    jobs.run_again(jobs=Job.objects.filter(kind=report_objects.STORE))
    report_objects.watch_version(version=version)
    work()
    assert files_of(study, "SR") + files_of(study, "DOC") == first
    assert ReportObject.objects.count() == 2 and HeldObject.objects.count() == 0


def test_a_version_published_late_does_not_follow_a_newer_one(procedure: RequestedProcedure, radiologist: User) -> None:
    study = imaged(procedure)
    report = written(procedure, radiologist, ReportStatus.PRELIMINARY)
    Job.objects.filter(kind=report_objects.STORE).update(state=JobState.DEAD)
    sign_report(report=report, version=report.version, who=radiologist)
    work()
    Job.objects.filter(state=JobState.DEAD).update(state=JobState.PENDING)
    work()
    assert [each.PreliminaryFlag for each in objects_of(study, "SR")] == ["FINAL"]
    assert len(files_of(study, "DOC")) == 1


def test_nor_does_it_where_the_newer_one_is_an_object_of_another_kind(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    study = imaged(procedure)
    report = written(procedure, radiologist, ReportStatus.PRELIMINARY)
    Job.objects.filter(kind=report_objects.STORE).update(state=JobState.DEAD)
    Site.objects.update(report_objects=ReportObjects.PDF)
    sign_report(report=report, version=report.version, who=radiologist)
    work()
    Site.objects.update(report_objects=ReportObjects.BOTH)
    Job.objects.filter(state=JobState.DEAD).update(state=JobState.PENDING)
    work()
    assert files_of(study, "SR") == [] and len(files_of(study, "DOC")) == 1


def test_a_withdrawn_report_is_taken_out_with_a_rejection_note(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    study = imaged(procedure)
    report = through_all(procedure, radiologist)
    withdraw_report(report=report, version=report.version, reason="Pasien lain", who=radiologist)
    work()
    assert files_of(study, "SR") == files_of(study, "DOC") == files_of(study, "KO") == []
    study.refresh_from_db()
    assert study.modalities_in_study == ["CT"] and study.number_of_study_related_instances == 2
    taken = Removal.objects.get()
    assert taken.code == RemovalCode.PATIENT_SAFETY and taken.agent == "reports"
    assert taken.instances.count() == 9  # eight objects and the note
    report_objects.watch_procedures(procedures=[procedure.pk])
    work()
    assert Removal.objects.count() == 1
    written(procedure, radiologist, impression="Normal.")
    work()
    [document] = objects_of(study, "SR")  # another report of the same examination
    assert "PredecessorDocumentsSequence" not in document


def test_what_was_purged_before_the_report_was_withdrawn_does_not_come_back(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    study = imaged(procedure)
    report = written(procedure, radiologist)
    work()
    [file] = files_of(study, "SR")
    chief = make_user("chief", is_superuser=True)
    series = [each.series_instance_uid for each in study.series.filter(modality="SR")]
    removal.delete_images(who=chief, study=study, series_instance_uids=series, reason="Uji")
    Removal.objects.update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert removal.purge(site=study.site) == 1
    withdraw_report(report=report, version=report.version, reason="Pasien lain", who=radiologist)
    work()
    keep(dcmread(BytesIO(file)))
    assert files_of(study, "SR") == files_of(study, "DOC") == []


def test_a_report_withdrawn_at_once_is_never_seen(procedure: RequestedProcedure, radiologist: User) -> None:
    study = imaged(procedure)
    report = written(procedure, radiologist)
    withdraw_report(report=report, version=report.version, reason="Pasien lain", who=radiologist)
    work()
    assert not Instance.objects.filter(series_ref__study_ref=study, series_ref__modality__in=["SR", "DOC"]).exists()


@pytest.mark.parametrize(
    ("chosen", "modalities"), [("both", {"SR", "DOC"}), ("sr", {"SR"}), ("pdf", {"DOC"}), ("none", set())]
)
def test_the_site_chooses_what_is_stored(
    procedure: RequestedProcedure, radiologist: User, chosen: str, modalities: set[str]
) -> None:
    configure(report_objects=chosen)
    study = imaged(procedure)
    report = written(procedure, radiologist)
    work()
    study.refresh_from_db()
    assert set(study.modalities_in_study) == {"CT", *modalities}
    withdraw_report(report=report, version=report.version, reason="x", who=radiologist)
    configure(report_objects="none")
    work()
    study.refresh_from_db()
    assert study.modalities_in_study == ["CT"]


def test_a_server_without_pango_stores_the_words_and_says_why_the_pdf_waits(
    procedure: RequestedProcedure, radiologist: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = imaged(procedure)
    written(procedure, radiologist)

    def lacks(**_: Any) -> bytes:
        raise NotInstalled("install the Debian packages libpango-1.0-0")

    with monkeypatch.context() as without:
        without.setattr(report_objects, "pdf_of", lacks)
        work()
        work()
    assert len(files_of(study, "SR")) == 1 and files_of(study, "DOC") == []
    waiting = Job.objects.get(kind=report_objects.STORE_PDF)
    assert waiting.state == JobState.PENDING and "libpango" in waiting.error and waiting.attempts == 0
    assert Job.objects.get(kind=report_objects.STORE).state == JobState.DONE
    Job.objects.filter(pk=waiting.pk).update(next_attempt_at=waiting.created_at)
    work()
    assert len(files_of(study, "DOC")) == 1 and len(files_of(study, "SR")) == 1


def test_the_report_of_images_that_come_again_after_they_were_hidden_is_stored(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    study = imaged(procedure)
    Study.objects.filter(pk=study.pk).update(deleted_at=study.created_at, deletion_reason="empty")
    written(procedure, radiologist)
    work()
    assert files_of(study, "SR") == []
    keep(image_of(procedure))
    work()
    assert len(files_of(study, "SR")) == len(files_of(study, "DOC")) == 1
