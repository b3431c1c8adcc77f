"""Instance Availability Notification (PS3.4 Annex R) to pynetdicom."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import transaction
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt

from pacs.models import Removal, RemovalCode, Series, Study
from pacs.services import corrections, removal
from pacs.services.availability import PerformedStep, WorkitemCode, study_completed
from radiology.models import Job, JobState, Site, User
from tests.daemons import free_port
from tests.factories import make_node, make_site, make_user
from tests.pacs.commitment_peer import work_until
from tests.pacs.objects import ct, part10
from tests.pacs.test_transfers_send import stored

AVAILABILITY = "1.2.840.10008.5.1.4.33"
MPPS = "1.2.840.10008.3.1.2.3.3"


@pytest.fixture(autouse=True)
def archive(committed_db: None) -> None:
    """Jobs see what tests write."""


@pytest.fixture
def chief() -> User:
    return make_user("chief", is_superuser=True)


@dataclass
class Notices:
    """Collects notifications; `answers` are the statuses of the first ones, Success follows."""

    received: list[tuple[str, Dataset]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def on_create(self, event: Any) -> tuple[int, Dataset]:
        self.received.append((str(event.request.AffectedSOPInstanceUID), event.attribute_list))
        return (self.answers.pop(0) if self.answers else 0x0000), Dataset()

    @property
    def of_studies(self) -> dict[str, dict[str, str]]:
        """By study, the last said availability of each instance."""
        found: dict[str, dict[str, str]] = {}
        for _, notice in self.received:
            found[str(notice.StudyInstanceUID)] = {
                str(item.ReferencedSOPInstanceUID): item.InstanceAvailability
                for series in notice.ReferencedSeriesSequence
                for item in series.ReferencedSOPSequence
            }
        return found


@contextmanager
def listening(notices: Notices, port: int = 0, sop_class: str = AVAILABILITY) -> Iterator[int]:
    ae = AE(ae_title="RIS")
    ae.add_supported_context(sop_class)
    server: Any = ae.start_server(
        ("127.0.0.1", port or free_port()), block=False, evt_handlers=[(evt.EVT_N_CREATE, notices.on_create)]
    )
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.fixture
def notices() -> Iterator[Notices]:
    """What a registered node that asks is told."""
    collected = Notices()
    with listening(collected) as port:
        make_node("RIS", port=port, takes_availability=True)
        yield collected


def step_of(uid: str) -> list[Dataset]:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MPPS, uid
    return [item]


def study_of(*series: str, images: int = 2, **attributes: Any) -> Study:
    """A stored study with these series."""
    uid = generate_uid()
    stored(
        *(
            part10(ct(StudyInstanceUID=uid, SeriesInstanceUID=each, InstanceNumber=n + 1, side=8, **attributes))
            for each in series
            for n in range(images)
        )
    )
    return Study.objects.get(study_instance_uid=uid)


def instances_of(*series: Series) -> set[str]:
    return {uid for each in series for uid in each.instances.values_list("sop_instance_uid", flat=True)}


def nothing_to_do() -> bool:
    return not Job.objects.filter(kind="pacs.notify_availability").exclude(state=JobState.DONE).exists()


def complete(study: Study, *steps: PerformedStep) -> int:
    with transaction.atomic():
        return study_completed(study=study, steps=steps)


def test_completion_is_told_with_every_instance_and_the_performed_steps(notices: Notices) -> None:
    mpps = generate_uid()
    study = study_of(generate_uid(), generate_uid(), ReferencedPerformedProcedureStepSequence=step_of(mpps))
    other = PerformedStep(MPPS, generate_uid(), WorkitemCode("110005", "DCM", "Interprétation"))
    assert complete(study, other) == 1
    work_until(nothing_to_do)
    [(_, notice)] = notices.received
    assert notice.StudyInstanceUID == study.study_instance_uid
    steps = notice.ReferencedPerformedProcedureStepSequence
    assert {str(each.ReferencedSOPInstanceUID) for each in steps} == {mpps, other.sop_instance_uid}
    assert {str(each.ReferencedSOPClassUID) for each in steps} == {MPPS}
    [code] = next(
        each for each in steps if each.ReferencedSOPInstanceUID == other.sop_instance_uid
    ).PerformedWorkitemCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("110005", "DCM")
    assert code.CodeMeaning == "Interprétation"
    assert len(notice.ReferencedSeriesSequence) == 2
    for series in notice.ReferencedSeriesSequence:
        for item in series.ReferencedSOPSequence:
            assert item.InstanceAvailability == "ONLINE" and item.RetrieveAETitle == "MINIPACS"
    assert set(notices.of_studies[study.study_instance_uid]) == instances_of(*Series.objects.filter(study_ref=study))


def test_only_nodes_of_the_site_that_ask_are_told(notices: Notices) -> None:
    make_node("CT1", port=free_port())
    make_node("FAR", port=free_port(), takes_availability=True, site=make_site())
    make_node("OFF", port=free_port(), takes_availability=True, is_active=False)
    assert complete(study_of(generate_uid())) == 1
    work_until(nothing_to_do)
    assert len(notices.received) == 1


def test_deletion_and_restoring_are_told(notices: Notices, chief: User) -> None:
    study = study_of(generate_uid())
    uids = instances_of(*Series.objects.filter(study_ref=study))
    found = removal.delete_study(who=chief, study=study, reason="wrong")
    work_until(nothing_to_do)
    assert notices.of_studies == {study.study_instance_uid: dict.fromkeys(uids, "UNAVAILABLE")}
    removal.restore(who=chief, removal=found)
    work_until(nothing_to_do)
    assert notices.of_studies == {study.study_instance_uid: dict.fromkeys(uids, "ONLINE")}


def test_a_study_that_is_sent_again_after_deletion_is_told(notices: Notices, chief: User) -> None:
    image = part10(ct(side=8))
    stored(image)
    study = Study.objects.get()
    removal.delete_study(who=chief, study=study, reason="wrong")
    stored(image)
    work_until(nothing_to_do)
    assert set(notices.of_studies[study.study_instance_uid].values()) == {"ONLINE"}


def test_rejected_images_are_unavailable_and_the_others_are_not(notices: Notices, chief: User) -> None:
    first, second = generate_uid(), generate_uid()
    study = study_of(first, second)
    series = Series.objects.get(series_instance_uid=first)
    found = removal.reject(who=chief, study=study, code=RemovalCode.PATIENT_SAFETY, series=[series])
    work_until(nothing_to_do)
    told = notices.of_studies[study.study_instance_uid]
    assert {uid for uid, said in told.items() if said == "UNAVAILABLE"} == instances_of(series)
    assert len(told) == 4, "the note is no image"
    removal.restore(who=chief, removal=Removal.objects.get(pk=found.pk))
    work_until(nothing_to_do)
    assert set(notices.of_studies[study.study_instance_uid].values()) == {"ONLINE"}


def test_what_moves_to_another_study_leaves_the_first(notices: Notices, chief: User) -> None:
    first, second = generate_uid(), generate_uid()
    study, other = study_of(first, second), study_of(generate_uid())
    series = Series.objects.get(series_instance_uid=first)
    moved = instances_of(series)
    study.refresh_from_db()
    found = corrections.move_series(who=chief, series=[series], version=study.version, into=other)
    work_until(nothing_to_do)
    here, there = notices.of_studies[study.study_instance_uid], notices.of_studies[other.study_instance_uid]
    assert {uid for uid, said in here.items() if said == "UNAVAILABLE"} == moved and len(here) == 4
    assert moved < set(there) and set(there.values()) == {"ONLINE"}
    corrections.undo(who=chief, correction=found)
    work_until(nothing_to_do)
    here, there = notices.of_studies[study.study_instance_uid], notices.of_studies[other.study_instance_uid]
    assert set(here.values()) == {"ONLINE"} and len(here) == 4
    assert {uid for uid, said in there.items() if said == "UNAVAILABLE"} == moved


def test_a_merged_study_is_gone_and_comes_back_when_that_is_undone(notices: Notices, chief: User) -> None:
    study, into = study_of(generate_uid()), study_of(generate_uid())
    uids = instances_of(*Series.objects.filter(study_ref=study))
    found = corrections.merge_studies(who=chief, study=study, version=study.version, into=into)
    work_until(nothing_to_do)
    assert notices.of_studies[study.study_instance_uid] == dict.fromkeys(uids, "UNAVAILABLE")
    assert set(notices.of_studies[into.study_instance_uid].values()) == {"ONLINE"}
    corrections.undo(who=chief, correction=found)
    work_until(nothing_to_do)
    assert notices.of_studies[study.study_instance_uid] == dict.fromkeys(uids, "ONLINE")
    assert {uid for uid, said in notices.of_studies[into.study_instance_uid].items() if said != "ONLINE"} == uids


def test_a_node_that_is_down_is_told_what_is_true_afterwards(chief: User) -> None:
    port = free_port()
    make_node("RIS", port=port, takes_availability=True)
    study = study_of(generate_uid())
    complete(study)
    removal.delete_study(who=chief, study=study, reason="wrong")
    work_until(lambda: Job.objects.filter(kind="pacs.notify_availability", attempts__gte=2).exists())
    collected = Notices()
    with listening(collected, port):
        work_until(nothing_to_do)
    assert len(collected.received) == 2
    assert set(collected.of_studies[study.study_instance_uid].values()) == {"UNAVAILABLE"}


def test_a_notification_is_the_same_one_when_it_is_sent_again(notices: Notices) -> None:
    """0110 is tried again; 0111 says that it had come through before."""
    notices.answers = [0x0110, 0x0111]
    complete(study_of(generate_uid()))
    work_until(nothing_to_do)
    assert len(notices.received) == 2 and len({uid for uid, _ in notices.received}) == 1


def test_a_node_that_does_not_take_notifications_is_said_to() -> None:
    with listening(Notices(), sop_class="1.2.840.10008.1.1") as port:
        make_node("RIS", port=port, takes_availability=True)
        complete(study_of(generate_uid()))
        work_until(lambda: Job.objects.filter(state=JobState.DEAD).exists())
    assert "does not take instance availability" in Job.objects.get(state=JobState.DEAD).error


def test_a_purged_study_leaves_nothing_to_say(notices: Notices, chief: User) -> None:
    study = study_of(generate_uid())
    removal.delete_study(who=chief, study=study, reason="wrong")
    Removal.objects.update(created_at="2000-01-01T00:00:00Z")
    removal.purge(site=Site.objects.default())
    work_until(nothing_to_do)
    assert notices.received == []


def test_nobody_asks_and_nothing_is_written(chief: User) -> None:
    study = study_of(generate_uid())
    assert complete(study) == 0
    removal.delete_study(who=chief, study=study, reason="wrong")
    assert not Job.objects.filter(kind="pacs.notify_availability").exists()
