"""The pages of transfers and of other archives: what they show, to whom, at what cost, and what they begin."""

from datetime import date
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pydicom import Dataset
from pynetdicom import evt

from pacs.models import Transfer, TransferOutcome, TransferResult, TransferState
from pacs.services import transfers
from pacs.services.remote import RemoteCriteria, keys_of
from radiology.models import AuditEvent, Job, JobState, User
from tests.daemons import free_port
from tests.factories import make_node, make_patient, make_site, make_study, make_user
from tests.pacs.archives import TITLE, application

pytestmark = pytest.mark.django_db
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@pytest.fixture
def user() -> User:
    return make_user()


@pytest.fixture
def client(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def begun(user: User, **fields: Any) -> Transfer:
    node = fields.pop("node", None) or make_node(f"WS{Transfer.objects.count()}")
    study = make_study(make_patient(), series=1, instances=2, locations=True)
    transfer = transfers.send(who=user, node=node, study=study)
    job_state = fields.pop("job_state", None)
    if job_state:
        Job.objects.filter(transfer=transfer).update(state=job_state)
    Transfer.objects.filter(pk=transfer.pk).update(**fields)
    return Transfer.objects.get(pk=transfer.pk)


def test_an_empty_page_teaches(client):
    page = client.get("/transfers").content.decode()
    assert "To send: mark studies" in page and "/remote" in page


def test_the_list_shows_what_runs_and_how_far_it_is(client, user):
    transfer = begun(
        user, job_state=JobState.RUNNING, total=200, completed=50, failed=2, rate=2 * 1024 * 1024, pace=4, size=10**7
    )
    page = client.get("/transfers").content.decode()
    assert f"/transfers/{transfer.public_id}" in page
    for words in ("To WS0", "Running", "52 of 200", "2.0\xa0MB/s", "0:00:37 left", "Cancel", "CT Thorax"):
        assert words in page, words


def test_states_are_told_in_words_and_filtered(client, user):
    shown = {
        "waiting": begun(user),
        "running": begun(user, job_state=JobState.RUNNING),
        "done": begun(user, job_state=JobState.DONE, completed=1, failed=1, finished_at=timezone.now()),
        "failed": begun(user, job_state=JobState.DEAD),
        "cancelled": begun(user, job_state=JobState.CANCELLED),
        "paused": begun(user, job_state=JobState.PAUSED),
    }
    nothing_came = begun(user, job_state=JobState.DONE, failed=2, finished_at=timezone.now())
    for state, transfer in shown.items():
        page = client.get("/transfers", {"state": state})
        expected = {transfer.pk} | ({nothing_came.pk} if state == "failed" else set())
        assert {row.pk for row in page.context["page"].rows} == expected
        assert {row.state for row in page.context["page"].rows} == {state}
    assert "Done, 1 failed" in client.get("/transfers").content.decode()
    only = client.get("/transfers", {"node": shown["done"].node_id}).context["page"].rows
    assert [row.pk for row in only] == [shown["done"].pk]


def test_a_transfer_outlives_its_job(user):
    done = begun(user, job_state=JobState.DONE, completed=2, finished_at=timezone.now())
    called_off = begun(user, job_state=JobState.CANCELLED)
    Job.objects.all().delete()
    states = {row.pk: row.state for row in Transfer.objects.select_related("job")}
    assert states == {done.pk: TransferState.DONE, called_off.pk: TransferState.CANCELLED}
    for transfer in (done, called_off):
        assert list(Transfer.objects.in_state(states[transfer.pk])) == [transfer]


def test_nothing_moved_is_304_and_a_step_is_not(client, user):
    transfer = begun(user, job_state=JobState.RUNNING)
    for address in ("/transfers", f"/transfers/{transfer.public_id}"):
        first = client.get(address)
        headers = {"HX-Request": "true", "If-None-Match": first.context["etag"]}
        assert client.get(address, headers=headers).status_code == 304
        Transfer.objects.update(completed=1, updated_at=timezone.now())
        assert client.get(address, headers=headers).status_code == 200


def test_pages_follow_one_another(client, user):
    node = make_node("WS1")
    study = make_study()
    Transfer.objects.bulk_create(
        Transfer(site=study.site, direction="send", node=node, node_title="WS1", study_instance_uid=f"1.2.{n}")
        for n in range(120)
    )
    seen: list[int] = []
    address = "/transfers"
    while address:
        context = client.get(address).context
        seen += [row.pk for row in context["page"].rows]
        address = context["next_page"]
    assert seen == sorted(seen, reverse=True) and len(seen) == 120
    assert client.get("/transfers?after=x").status_code == 200
    assert client.get("/transfers?after=99999999999999999999&node=%00").status_code == 200


@pytest.mark.parametrize("rows", [1, 40])
def test_pages_ask_the_same_number_of_questions_whatever_they_show(client, user, rows, django_assert_num_queries):
    node = make_node("WS")
    for _ in range(rows):
        transfer = begun(user, node=node)
    TransferResult.objects.bulk_create(
        TransferResult(transfer=transfer, sop_instance_uid=f"1.2.{n}", outcome=TransferOutcome.FAILED)
        for n in range(rows)
    )
    client.get("/transfers")
    with django_assert_num_queries(7):
        client.get("/transfers")
    with django_assert_num_queries(7):
        client.get(f"/transfers/{transfer.public_id}")


def test_failures_come_first_and_in_words(client, user):
    transfer = begun(user, job_state=JobState.DONE, finished_at=timezone.now(), completed=60, failed=1)
    TransferResult.objects.bulk_create(
        [
            *(
                TransferResult(
                    transfer=transfer, sop_instance_uid=f"1.2.{n}", outcome=TransferOutcome.COMPLETED, status=0
                )
                for n in range(60)
            ),
            TransferResult(transfer=transfer, sop_instance_uid="1.9", outcome=TransferOutcome.FAILED, status=0xA700),
        ]
    )
    page = client.get(f"/transfers/{transfer.public_id}")
    assert [row["row"].sop_instance_uid for row in page.context["results"]][:2] == ["1.9", "1.2.0"]
    assert "A700 The node has no room for it" in page.content.decode()
    assert len(page.context["results"]) == 50
    assert len(client.get(page.context["next_page"]).context["results"]) == 11


def test_another_sites_transfers_are_not_there(client, user):
    transfer = begun(user)
    stranger = Client()
    stranger.force_login(make_user("stranger", site=make_site()), backend="django.contrib.auth.backends.ModelBackend")
    assert not stranger.get("/transfers").context["page"].rows
    assert stranger.get(f"/transfers/{transfer.public_id}").status_code == 404
    for action in ("cancel", "pause", "resume", "retry"):
        assert stranger.post(f"/transfers/{transfer.public_id}/{action}").status_code == 404
    assert Transfer.objects.get().state == TransferState.WAITING
    assert Client().get("/transfers").status_code == 302


def test_cancel_and_retry_by_their_buttons(client, user):
    transfer = begun(user)
    client.post(f"/transfers/{transfer.public_id}/cancel", {"next": "/transfers?state=waiting"})
    assert Transfer.objects.get().state == TransferState.CANCELLED
    answer = client.post(f"/transfers/{transfer.public_id}/retry", {"next": "https://evil.example/"})
    assert answer["Location"] == "/transfers"
    assert Transfer.objects.get().state == TransferState.WAITING
    assert client.post(f"/transfers/{transfer.public_id}/retry").status_code == 409


def test_one_is_paused_and_resumed_by_its_buttons(client, user):
    transfer = begun(user)
    page = f"/transfers/{transfer.public_id}"
    assert f"{page}/pause" in client.get(page).content.decode() and client.post(f"{page}/resume").status_code == 409
    client.post(f"{page}/pause")
    assert Transfer.objects.get().state == TransferState.PAUSED
    shown = client.get("/transfers?state=paused").content.decode()
    assert f"{page}/resume" in shown and f"{page}/cancel" in shown and f"{page}/pause" not in shown
    client.post(f"{page}/resume")
    assert Transfer.objects.get().state == TransferState.WAITING
    assert set(AuditEvent.objects.values_list("event", flat=True)) >= {"transfer.paused", "transfer.resumed"}


def test_studies_are_sent_from_the_dialog(client, user):
    node = make_node("WS1", description="Reading room 1")
    make_node("QUIET", may_receive=False)
    studies = [make_study(series=1, instances=2, locations=True) for _ in range(2)]
    uids = [study.study_instance_uid for study in studies]
    dialog = client.post("/transfers/send", {"StudyInstanceUIDs": uids}, headers={"HX-Request": "true"})
    text = dialog.content.decode()
    assert "<dialog" in text and "Send 2 studies" in text and "Reading room 1" in text and "QUIET" not in text
    assert "<html" in client.post("/transfers/send", {"StudyInstanceUIDs": uids}).content.decode()
    answer = client.post("/transfers/send", {"StudyInstanceUIDs": uids, "node": node.pk})
    assert answer["Location"] == "/transfers"
    assert set(Transfer.objects.values_list("study_instance_uid", flat=True)) == set(uids)
    assert Job.objects.filter(kind="pacs.send").count() == 2


def test_a_series_is_sent_from_the_dialog(client, user):
    node = make_node("WS1")
    study = make_study(series=2, instances=2, locations=True)
    series = study.series.order_by("pk")[1]
    fields = {"StudyInstanceUIDs": study.study_instance_uid, "SeriesInstanceUIDs": series.series_instance_uid}
    assert "Send 1 series" in client.post("/transfers/send", fields, headers={"HX-Request": "true"}).content.decode()
    answer = client.post("/transfers/send", {**fields, "node": node.pk})
    transfer = Transfer.objects.get()
    assert answer["Location"] == f"/transfers/{transfer.public_id}"
    assert (transfer.series_instance_uids, transfer.total) == ([series.series_instance_uid], 2)


def test_what_cannot_be_sent_is_said(client, user):
    study = make_study(series=1, instances=1, locations=True)
    node = make_node("FAR", site=make_site())
    assert client.post("/transfers/send").status_code == 400
    assert client.post("/transfers/send", {"StudyInstanceUIDs": "1.2.3.4"}).status_code == 404
    for number in (node.pk, "x", "", "-1", "9" * 30):
        answer = client.post("/transfers/send", {"StudyInstanceUIDs": study.study_instance_uid, "node": number})
        assert answer.status_code == 400 and "Choose a node" in answer.content.decode()
    assert not Transfer.objects.exists()


# Other archives


def answering(*answers: Dataset) -> Any:
    def handle(event: Any) -> Any:
        for answer in answers:
            yield 0xFF00, answer

    return [(evt.EVT_C_FIND, handle)]


def remote_study(uid: str, images: int, name: str = "SITI^AMINAH") -> Dataset:
    answer = Dataset()
    answer.SpecificCharacterSet = "ISO_IR 192"
    answer.QueryRetrieveLevel = "STUDY"
    answer.StudyInstanceUID, answer.PatientName, answer.PatientID = uid, name, "RM-9"
    answer.StudyDate, answer.StudyDescription, answer.ModalitiesInStudy = "20260105", "CT Kepala", ["CT", "SR"]
    answer.NumberOfStudyRelatedInstances = images
    return answer


def test_words_of_a_person_become_keys():
    assert keys_of(RemoteCriteria()) == {}
    assert keys_of(RemoteCriteria(name="siti aminah"))["PatientName"] == "*SITI*AMINAH*"
    assert keys_of(RemoteCriteria(name="McDonald"))["PatientName"] == "*McDonald*"
    assert keys_of(RemoteCriteria(name="siti^a*"))["PatientName"] == "siti^a*"


def test_an_archive_is_searched_and_what_is_here_is_told(client, user):
    here = make_study(series=1, instances=3)
    partly = make_study(series=1, instances=1)
    answers = [
        remote_study(here.study_instance_uid, 3),
        remote_study(partly.study_instance_uid, 8),
        remote_study("1.2.3.4", 5, "<script>alert(1)</script>"),
    ]
    with application([STUDY_FIND], answering(*answers)) as port:
        node = make_node(TITLE, port=port)
        page = client.post("/remote", {"node": node.pk, "name": "siti"}, headers={"HX-Request": "true"})
    text = page.content.decode()
    assert len(page.context["studies"]) == 3
    assert "Is here" in text and "1 of 8" in text and "CT Kepala" in text
    assert "<script>alert" not in text
    event = AuditEvent.objects.get(event="remote.find")
    assert event.detail == {"node": TITLE, "keys": ["PatientName"], "answers": 3}


def test_what_goes_wrong_at_an_archive_is_said_in_words(client, user):
    node = make_node(TITLE, port=free_port())
    assert "does not answer" in client.post("/remote", {"node": node.pk, "name": "x"}).content.decode()
    with application([STUDY_FIND], [(evt.EVT_C_FIND, lambda event: iter([(0xA700, None)]))]) as port:
        node = make_node("FULL", port=port)
        assert "A700" in client.post("/remote", {"node": node.pk, "name": "x"}).content.decode()


def test_a_search_without_words_is_not_sent(client, user):
    node = make_node(TITLE, port=free_port())
    for fields, said in (
        ({}, "Say what to look for"),
        ({"start": "2026-02-01", "end": "2026-01-01"}, "before the first"),
        ({"patient_id": "a\\b"}, "backslash"),
        ({"start": "nonsense"}, "valid date"),
    ):
        assert said in client.post("/remote", {"node": node.pk, **fields}).content.decode(), fields
    assert not AuditEvent.objects.filter(event="remote.find").exists()
    far = make_node("FAR", site=make_site())
    assert "Select a valid choice" in client.post("/remote", {"node": far.pk, "name": "x"}).content.decode()


def test_marked_studies_are_fetched(client, user):
    node = make_node(TITLE)
    answer = client.post(
        "/remote/fetch", {"node": node.pk, "StudyInstanceUIDs": "1.2.3", "description 1.2.3": "CT Kepala"}
    )
    transfer = Transfer.objects.get()
    assert answer["Location"] == f"/transfers/{transfer.public_id}"
    assert (transfer.direction, transfer.method, transfer.description) == ("fetch", "", "CT Kepala")
    assert transfer.job is not None and transfer.job.kind == "pacs.fetch"
    answer = client.post(
        "/remote/fetch", {"node": node.pk, "StudyInstanceUIDs": ["1.2.4", "1.2.5"], "method": "C-MOVE"}
    )
    assert answer["Location"] == "/transfers"
    assert Transfer.objects.filter(method="C-MOVE").count() == 2


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"StudyInstanceUIDs": "1.2.3", "node": "x"}, 400),
        ({"StudyInstanceUIDs": "../../etc"}, 400),
        ({"StudyInstanceUIDs": "1.2.3", "method": "C-STORE"}, 400),
        ({}, 400),
        ({"StudyInstanceUIDs": [f"1.2.{n}" for n in range(51)]}, 400),
    ],
)
def test_what_cannot_be_fetched_is_said(client, user, fields, status):
    node = make_node(TITLE)
    assert client.post("/remote/fetch", {"node": node.pk, **fields}).status_code == status
    assert not Transfer.objects.exists()


def test_without_a_node_the_page_says_how_to_get_one(client, user):
    assert "No other archive is known yet" in client.get("/remote").content.decode()


def test_what_the_study_list_does_not_know_is_asked_elsewhere(client, user):
    make_node("PACS2")
    page = client.get("/worklist", {"q": "nobody ct yesterday"})
    assert 'name="text" value="nobody ct yesterday"' in page.content.decode()
    form = client.post("/remote", {"text": "siti aminah 001234 ct 3 nov 2026"}).context["form"]
    assert not form.is_bound
    assert form.initial["name"] == "siti aminah"
    assert form.initial["patient_id"] == "001234"
    assert form.initial["modality"] == "CT"
    assert form.initial["start"] == form.initial["end"] == date(2026, 11, 3)
    assert client.post("/remote", {"text": "\x00" * 500}).status_code == 200
