"""Other nodes over the Orthanc-shaped REST: echo, send, ask, fetch, and the jobs of it."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from integrations.models import OrthancArrival, OrthancQuery, OrthancResource
from integrations.orthanc import registrar
from pacs.models import Series, Study, Transfer
from radiology.models import Job, JobState, Site
from tests.daemons import Daemon
from tests.factories import make_node, make_site
from tests.integrations.orthanc_client import OrthancProgram, refused, sha1
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10
from tests.pacs.test_transfers_send import storescp
from tests.threads import run_all

MRN = "MRN-1001"
NOBODY = 1  # a port that nothing listens on


@pytest.fixture
def khanza(committed_db: None) -> OrthancProgram:
    return OrthancProgram()


@pytest.fixture
def studies(khanza: OrthancProgram) -> list[Study]:
    """Two: one of two series of two images, one of one image."""
    first, second = generate_uid(), generate_uid()
    for series in (generate_uid(), generate_uid()):
        for number in (1, 2):
            file = ct(StudyInstanceUID=first, SeriesInstanceUID=series, InstanceNumber=number, StudyDescription="Two")
            store(Site.objects.default(), part10(file))
    store(Site.objects.default(), part10(ct(StudyInstanceUID=second)))
    return [Study.objects.get(study_instance_uid=uid) for uid in (first, second)]


def test_nodes_are_listed_by_title_and_answer_an_echo(khanza: OrthancProgram, dimse_server: Daemon) -> None:
    make_node("MINIPACS", port=dimse_server.port, description="ruang baca")
    make_node("MINIPACS", port=NOBODY, host="127.0.0.2", may_query=False)
    make_node("ELSEWHERE", site=make_site())
    names = khanza.json("modalities")
    assert names[0] == "MINIPACS" and names[1].startswith("MINIPACS@127.0.0.2:") and len(names) == 2
    found = khanza.json("modalities?expand")
    assert (found["MINIPACS"]["AET"], found["MINIPACS"]["Port"]) == ("MINIPACS", dimse_server.port)
    assert found[names[1]]["AllowFind"] is False
    assert khanza.json("modalities/MINIPACS/configuration") == found["MINIPACS"]
    assert "store" in khanza.json("modalities/MINIPACS")
    assert khanza.told("modalities/MINIPACS/echo") == {}
    assert khanza.told("modalities/ruang baca/echo") == {}  # as an Orthanc's configuration called it
    assert refused(khanza.post(f"modalities/{names[1]}/echo"), 502, 9)
    for name in ("NOBODY", "ELSEWHERE", "..%2fMINIPACS", "x" * 5000):
        refused(khanza.post(f"modalities/{name}/echo"), 404, 17)
    refused(khanza.client.put("/orthanc/modalities/MINIPACS", "{}"), 403)
    refused(OrthancProgram(scopes=["orders.write"], name="orders").post("modalities/MINIPACS/echo"), 403)


def test_resources_of_any_level_are_sent_and_waited_for(
    khanza: OrthancProgram, studies: list[Study], job_worker: Daemon, tmp_path: Path, tool: Any
) -> None:
    series = Series.objects.filter(study_ref=studies[0])[0]
    instance = series.instances.all()[0]
    uid = studies[0].study_instance_uid
    names = {
        "instance": sha1(MRN, uid, series.series_instance_uid, instance.sop_instance_uid),
        "series": sha1(MRN, uid, series.series_instance_uid),
        "patient": sha1(MRN),
    }
    with storescp(tmp_path / "got", tool) as port:
        make_node("WS", port=port)
        answer = khanza.told("modalities/WS/store", [names["instance"]])
        assert answer["InstancesCount"] == 1 and answer["FailedInstancesCount"] == 0 and answer["RemoteAet"] == "WS"
        assert khanza.told("modalities/WS/store", {"Resources": [names["series"]]})["InstancesCount"] == 2
        assert khanza.told("modalities/WS/store", names["patient"])["InstancesCount"] == 5
    assert len(list((tmp_path / "got").iterdir())) == 5
    jobs = khanza.json("jobs?expand")
    assert {each["State"] for each in jobs} == {"Success"} and {each["Progress"] for each in jobs} == {100}
    assert {each["Type"] for each in jobs} == {"DicomModalityStore"} and len(jobs) == 4
    wrong: Any
    for wrong in ([], "nothing", [1], {"Resources": {}}, {"Resources": [names["series"]], "Synchronous": "no"}):
        refused(khanza.post("modalities/WS/store", wrong), 400)
    refused(khanza.post("modalities/WS/store", [sha1("nobody")]), 404)


def test_sending_in_the_background_answers_with_a_job_that_can_be_cancelled(
    khanza: OrthancProgram, studies: list[Study]
) -> None:
    make_node("WS", port=NOBODY)
    registrar.catch_up()
    both = [sha1(MRN, study.study_instance_uid) for study in studies]
    answer = khanza.told("modalities/WS/store", {"Resources": both, "Synchronous": False})
    assert answer["Path"] == f"/jobs/{answer['ID']}" and len(answer["Jobs"]) == 2
    assert khanza.told("modalities/WS/store", {"Resources": both, "Asynchronous": True}) == answer  # it is under way
    job = khanza.json(f"jobs/{answer['ID']}")
    assert (job["State"], job["Progress"], job["ErrorCode"]) == ("Pending", 0, 0)
    assert sorted(khanza.json("jobs")) == sorted(answer["Jobs"])
    assert khanza.told(f"jobs/{answer['ID']}/pause") == {}
    assert khanza.json(f"jobs/{answer['ID']}")["State"] == "Paused"
    assert khanza.told(f"jobs/{answer['ID']}/cancel") == {}
    assert khanza.json(f"jobs/{answer['ID']}")["ErrorCode"] == 37
    assert khanza.told(f"jobs/{answer['ID']}/resubmit") == {}
    assert khanza.json(f"jobs/{answer['ID']}")["State"] == "Pending"
    other = OrthancProgram(site=make_site(), name="other")
    for method in (other.get, other.post):
        refused(method(f"jobs/{answer['ID']}"), 404)
    assert other.json("jobs") == []
    for name in ("x", "0" * 36, "01930f5e-7c1a-7b3e-9d51-2f6f0c9a4e11"):
        refused(khanza.get(f"jobs/{name}"), 404, 17)
    transfer = Transfer.objects.get(public_id=answer["ID"])
    Job.objects.filter(transfer=transfer).update(state=JobState.DEAD, error="connection refused")
    told = khanza.json(f"jobs/{answer['ID']}")
    assert (told["State"], told["ErrorDetails"], told["ErrorCode"]) == ("Failure", "connection refused", 9)


def test_a_query_keeps_its_answers_and_fetches_them(
    khanza: OrthancProgram, studies: list[Study], dimse_server: Daemon, job_worker: Daemon
) -> None:
    make_node("MINIPACS", port=dimse_server.port)
    asked = {"Level": "Study", "Query": {"PatientID": MRN, "StudyDescription": "Two", "0008,0020": ""}}
    answer = khanza.told("modalities/MINIPACS/query", asked)
    assert answer["Path"] == f"/queries/{answer['ID']}" and answer["ID"] in khanza.json("queries")
    query = answer["Path"][1:]
    assert khanza.json(f"{query}/answers") == ["0"]
    content = khanza.json(f"{query}/answers/0/content?simplify")
    assert content["StudyInstanceUID"] == studies[0].study_instance_uid and content["PatientName"] == "SANTOSO^BUDI"
    assert khanza.json(f"{query}/answers/0/content")["0010,0020"]["Value"] == MRN
    assert khanza.json(f"{query}/answers?expand&simplify") == [content]
    assert khanza.get(f"{query}/level").content == b"Study"
    assert khanza.get(f"{query}/modality").content == b"MINIPACS"
    assert khanza.json(f"{query}/query?simplify")["StudyDescription"] == "Two"
    fetched = khanza.told(f"{query}/answers/0/retrieve", "MINIPACS")
    assert fetched["RemoteAet"] == "MINIPACS" and fetched["Query"] == [{"0020,000d": content["StudyInstanceUID"]}]
    later = khanza.told(f"{query}/retrieve", {"TargetAet": "MINIPACS", "Synchronous": False})
    assert khanza.json(f"jobs/{later['ID']}")["Type"] == "DicomMoveScu"
    refused(khanza.post(f"{query}/retrieve", {"TargetAet": "THIRD"}), 404, 17)
    moved = khanza.told(
        "modalities/MINIPACS/move",
        {"Level": "Study", "Resources": [{"StudyInstanceUID": content["StudyInstanceUID"]}], "Synchronous": False},
    )
    assert moved["Path"].startswith("/jobs/")
    series = khanza.told("modalities/MINIPACS/find-series?simplify", {"StudyInstanceUID": content["StudyInstanceUID"]})
    assert len(series) == 2 and {each["Modality"] for each in series} == {"CT"}
    for wrong in ("1/content", "x/content", "-1", "99999999999/content", "0000000007/content", "9" * 5000):
        refused(khanza.get(f"{query}/answers/{wrong}"), 404)
    refused(OrthancProgram(site=make_site(), name="other").get(query), 404)
    refused(OrthancProgram(scopes=["studies.read"], name="reads").post(f"{query}/retrieve"), 403)
    assert khanza.delete(query).status_code == 200
    refused(khanza.get(query), 404)


def test_questions_that_make_no_sense_are_refused(khanza: OrthancProgram, dimse_server: Daemon) -> None:
    make_node("MINIPACS", port=dimse_server.port)
    make_node("GONE", port=NOBODY)
    wrong: Any
    for wrong in (
        {"Query": {}},
        {"Level": "Foo"},
        {"Level": "Study", "Query": []},
        {"Level": "Study", "Query": {"NoSuchTag": "x"}},
        {"Level": "Study", "Query": {"PatientID": 3}},
        {"Level": "Study", "Query": {"PatientID": "x" * 5000}},
        [],
        "x",
    ):
        refused(khanza.post("modalities/MINIPACS/query", wrong), 400)
    refused(khanza.post("modalities/GONE/query", {"Level": "Study", "Query": {"PatientID": "1"}}), 502, 9)
    for wrong in ({"Level": "Study"}, {"Level": "Study", "Resources": [{}]}, {"Level": "Study", "Resources": []}):
        refused(khanza.post("modalities/MINIPACS/move", wrong), 400)
    refused(khanza.post("modalities/MINIPACS/move", {"Level": "Instance", "Resources": []}), 400)
    refused(khanza.post("modalities/MINIPACS/move", {"Level": "Foo", "Resources": []}), 400, 3)
    for wrong in ([{}], [{"PatientID": 3}], [{"PatientID": ""}], [{"PatientID": "M*"}], []):
        refused(khanza.post("modalities/MINIPACS/move", {"Level": "Patient", "Resources": wrong}), 400)
    assert not OrthancQuery.objects.exists()


def test_identifiers_are_written_once_and_in_order_though_many_write_them_down(
    khanza: OrthancProgram, studies: list[Study]
) -> None:
    site = Site.objects.default()
    files = [part10(ct(StudyInstanceUID=studies[1].study_instance_uid)) for _ in range(4)]
    stores = [partial(store, site, file) for file in files]
    answers = run_all([registrar.catch_up, *stores[:2], registrar.catch_up, *stores[2:], registrar.catch_up])
    assert [each for each in answers if isinstance(each, Exception)] == []
    registrar.catch_up()
    assert not OrthancArrival.objects.exists()
    rows = list(OrthancResource.objects.order_by("pk"))
    assert Counter(row.level for row in rows) == {4: 9, 3: 7, 2: 2, 1: 1}
    assert len({(row.level, row.row) for row in rows}) == len(rows)
    told = [each["Seq"] for each in khanza.json("changes", {"since": 0, "limit": 100})["Changes"]]
    assert told == [row.pk for row in rows]


def test_what_went_away_before_it_was_written_down_leaves_nothing(khanza: OrthancProgram, studies: list[Study]) -> None:
    studies[1].delete()
    registrar.catch_up()
    assert not OrthancArrival.objects.exists()
    assert khanza.json("studies") == [sha1(MRN, studies[0].study_instance_uid)]


def test_answers_of_other_nodes_are_forgotten_after_a_day(khanza: OrthancProgram) -> None:
    node = make_node()
    old, new = (OrthancQuery.objects.create(site=node.site, node=node, level="STUDY") for _ in range(2))
    OrthancQuery.objects.filter(pk=old.pk).update(at="2020-01-01T00:00:00Z")
    registrar.forget_queries()
    assert list(OrthancQuery.objects.all()) == [new]
