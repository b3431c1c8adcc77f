"""Corrections while images of the same study arrive, and by several people at the same time."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pydicom.uid import generate_uid

from pacs.models import HeldChoice, HeldReason, Series, Study, Volume
from pacs.services import corrections, held, held_cases, removal
from pacs.services.store import Source, StoreOutcome, receive_part10, store_instance
from radiology.errors import Conflict, NotFound, RadiologyError
from radiology.models import Site, User
from tests.factories import make_user
from tests.pacs.objects import ct, part10

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def chief(tmp_path: Path, settings: Any) -> User:
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))
    return make_user("chief", is_superuser=True)


def store(file: bytes) -> StoreOutcome:
    with receive_part10(source=Source.of_site(Site.objects.default())) as incoming:
        incoming.write(file)
        received = incoming.finish()
    return store_instance(received=received).outcome


def together(*works: Callable[[], None]) -> None:
    """Run all at the same time; what one of them raises is raised."""
    gate, raised = threading.Barrier(len(works)), list[BaseException]()

    def run(work: Callable[[], None]) -> None:
        try:
            gate.wait(30)
            work()
        except BaseException as error:
            raised.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if raised:
        raise raised[0]


def counters() -> None:
    for series in Series.objects.all():
        assert series.number_of_series_related_instances == series.instances.filter(removed_at=None).count()
    for study in Study.objects.filter(deleted_at=None):
        rows = study.series.filter(removed_at=None)
        assert study.number_of_study_related_instances == sum(each.number_of_series_related_instances for each in rows)
        assert study.number_of_study_related_series == sum(1 for _ in rows)


def test_corrections_and_their_undoing_while_images_arrive(chief: User) -> None:
    fixed = {"StudyInstanceUID": generate_uid()}
    series = [generate_uid(), generate_uid()]
    for uid in series:
        store(part10(ct(**fixed, SeriesInstanceUID=uid)))
    files = [part10(ct(**fixed, SeriesInstanceUID=series[number % 2])) for number in range(120)]
    ended = threading.Event()

    def arrive() -> None:
        try:
            for file in files:
                assert store(file) is StoreOutcome.STORED
        finally:
            ended.set()

    def correct() -> None:
        rounds = 0
        while not ended.is_set() or rounds < 3:
            rounds += 1
            study = Study.objects.get(study_instance_uid=fixed["StudyInstanceUID"])
            one = corrections.correct_study(
                who=chief, study=study, version=study.version, changes={"StudyDescription": str(rounds)}
            )
            row = Series.objects.select_related("study_ref").get(series_instance_uid=series[0])
            two = corrections.correct_series(
                who=chief, series=row, version=row.study_ref.version, changes={"SeriesDescription": str(rounds)}
            )
            row = Series.objects.select_related("study_ref").get(series_instance_uid=series[1])
            three = corrections.move_series(who=chief, series=[row], version=row.study_ref.version)
            for each in (three, two, one):
                corrections.undo(who=chief, correction=each)

    together(arrive, correct)
    counters()
    assert Study.objects.get(deleted_at=None).number_of_study_related_instances == 122


def test_of_two_people_at_the_same_moment_one_corrects_and_one_is_told(chief: User) -> None:
    store(part10(ct(AccessionNumber="A0")))
    study = Study.objects.get()
    told, done = list[Conflict](), list[str]()

    def person(name: str) -> Callable[[], None]:
        def correct() -> None:
            try:
                corrections.correct_study(
                    who=chief, study=study, version=study.version, changes={"AccessionNumber": name}
                )
                done.append(name)
            except Conflict as error:
                told.append(error)

        return correct

    together(*(person(f"A{number}") for number in range(1, 5)))
    study.refresh_from_db()
    assert len(done) == 1 and len(told) == 3
    assert study.accession_number == done[0] and study.corrections.count() == 1


def test_rejecting_restoring_and_deleting_while_images_arrive(chief: User) -> None:
    fixed = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    store(part10(ct(**fixed)))
    files = [part10(ct(**fixed)) for _ in range(80)]
    ended = threading.Event()

    def arrive() -> None:
        try:
            for file in files:
                assert store(file) is StoreOutcome.STORED
        finally:
            ended.set()

    def remove() -> None:
        study = Study.objects.get()
        while not ended.is_set():
            removal.restore(who=chief, removal=removal.reject(who=chief, study=study, code="113001"))

    together(arrive, remove)
    counters()
    assert Study.objects.get(deleted_at=None).number_of_study_related_instances == 81


def test_decisions_about_conflicts_while_images_arrive(chief: User) -> None:
    fixed = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    first = ct(**fixed)
    store(part10(first))
    first.StudyDescription = "other"
    assert store(part10(first)) is StoreOutcome.HELD
    files = [part10(ct(**fixed)) for _ in range(80)]
    ended = threading.Event()

    def arrive() -> None:
        try:
            for file in files:
                assert store(file) is StoreOutcome.STORED
        finally:
            ended.set()

    def decide() -> None:
        while not ended.is_set():
            (case,) = held_cases.cases(who=chief, reasons=list(HeldReason)).cases
            held.undo(who=chief, decision=held.decide(who=chief, case=case.key, choice=HeldChoice.REPLACE))

    together(arrive, decide)
    counters()


def test_two_studies_merged_into_each_other_at_the_same_moment(chief: User) -> None:
    for _ in range(2):
        store(part10(ct()))
    one, other = Study.objects.order_by("pk")
    told = list[RadiologyError]()

    def merge(study: Study, into: Study) -> Callable[[], None]:
        def work() -> None:
            try:
                corrections.merge_studies(who=chief, study=study, version=study.version, into=into)
            except (Conflict, NotFound) as error:
                told.append(error)

        return work

    together(merge(one, other), merge(other, one))
    assert len(told) == 1
    assert Study.objects.get(deleted_at=None).number_of_study_related_instances == 2
