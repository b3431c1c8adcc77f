"""QIDO-RS (PS3.18 10.6) as clients use it."""

import gzip
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from django.test import Client

from pacs.models import Series, Study
from radiology.models import AuditEvent
from tests.factories import make_instance, make_patient, make_series, make_site, make_study, make_token, uid

pytestmark = pytest.mark.django_db

# Tables 10.6.3-3 to 10.6.3-5, with the UIDs of the levels above.
STUDY_TAGS = [
    "00080005", "00080020", "00080030", "00080050", "00080056", "00080061", "00080090", "00080201", "00081190",
    "00100010", "00100020", "00100030", "00100040", "0020000D", "00200010", "00201206", "00201208",
]  # fmt: skip
SERIES_TAGS = [
    "00080005", "00080056", "00080060", "00080201", "0008103E", "00081190", "0020000D", "0020000E", "00200011",
    "00201209", "00400244", "00400245", "00400275",
]  # fmt: skip
INSTANCE_TAGS = [
    "00080005", "00080016", "00080018", "00080056", "00080201", "00081190", "0020000D", "0020000E", "00200013",
    "00280008", "00280010", "00280011", "00280100",
]  # fmt: skip


@pytest.fixture
def get() -> Any:
    """`get("studies", {...})`: the response to a client with a token of the default site."""
    _, token = make_token()
    client = Client(headers={"Authorization": f"Bearer {token}"})

    def get(path: str, query: Any = None, **headers: str) -> Any:
        return client.get(f"/dicom-web/{path}", query or {}, headers=headers)

    return get


def uids(response: Any, tag: str = "0020000D") -> list[str]:
    assert response.status_code == 200, response.content
    return [each[tag]["Value"][0] for each in response.json()]


def test_an_empty_result_is_200_and_an_empty_list(get: Any) -> None:
    unknown = uid(1)
    for path in (
        "studies",
        "series",
        "instances",
        f"studies/{unknown}/series",
        f"studies/{unknown}/instances",
        f"studies/{unknown}/series/{unknown}/instances",
    ):
        response = get(path)
        assert response.status_code == 200 and response.json() == [], path
        assert response["Content-Type"] == "application/dicom+json"
        assert "Warning" not in response


def test_the_default_attributes_are_all_there_also_when_empty(get: Any) -> None:
    study = make_study(make_patient("", ""), referring_physician_name="", study_id="", study_date="", study_time="")
    series = make_series(study, series_number=None, modality="")
    make_instance(series, rows=None, columns=None, bits_allocated=None, instance_number=None)
    assert list(get("studies").json()[0]) == STUDY_TAGS
    assert list(get(f"studies/{study.study_instance_uid}/series").json()[0]) == SERIES_TAGS
    path = f"studies/{study.study_instance_uid}/series/{series.series_instance_uid}/instances"
    (instance,) = get(path).json()
    assert list(instance) == INSTANCE_TAGS
    assert instance["00280010"] == {"vr": "US"} and instance["00200013"] == {"vr": "IS"}


def test_addresses_that_leave_levels_open_answer_their_attributes_too(get: Any) -> None:
    study = make_study(series=1, instances=1)
    assert set(get("series").json()[0]) == {*STUDY_TAGS, *SERIES_TAGS}
    assert set(get("instances").json()[0]) == {*STUDY_TAGS, *SERIES_TAGS, *INSTANCE_TAGS}
    in_study = get(f"studies/{study.study_instance_uid}/instances").json()[0]
    assert set(in_study) == {*SERIES_TAGS, *INSTANCE_TAGS}


def test_values_are_those_of_the_standard(get: Any) -> None:
    patient = make_patient("001234", "Yamada^Tarou=山田^太郎=やまだ^たろう")
    study = make_study(patient, series=1, instances=2, timezone_offset_from_utc="+0700")
    (answer,) = get("studies").json()
    assert answer["00100010"]["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]
    assert answer["00100020"] == {"vr": "LO", "Value": ["001234"]}
    assert answer["00080061"]["Value"] == ["CT"] and answer["00201208"]["Value"] == [2]
    assert answer["00080056"]["Value"] == ["ONLINE"] and answer["00080005"]["Value"] == ["ISO_IR 192"]
    url = f"http://testserver/dicom-web/studies/{study.study_instance_uid}"
    assert answer["00081190"] == {"vr": "UR", "Value": [url]}
    series = study.series.get()
    (answer,) = get(f"studies/{study.study_instance_uid}/series").json()
    assert answer["00081190"]["Value"] == [f"{url}/series/{series.series_instance_uid}"]
    answers = get(f"studies/{study.study_instance_uid}/instances").json()
    assert [each["00200013"]["Value"] for each in answers] == [[1], [2]]
    assert all(each["00081190"]["Value"][0].startswith(f"{url}/series/") for each in answers)


@pytest.mark.parametrize(
    "query",
    [
        {"PatientID": "7"},
        {"00100020": "7"},
        {"patientid": "7"},
        {"PatientName": "wibowo*"},
        {"StudyDate": "20240301-20240331"},
        {"StudyDate": "-", "PatientID": "7"},
        {"ModalitiesInStudy": "MR,CT", "PatientID": "7"},
        {"ModalitiesInStudy": "MR\\CT", "PatientID": "7"},
        {"fuzzymatching": "true", "PatientName": "bud wib"},
        {"fuzzymatching": "TRUE", "PatientName": "wibowo"},
        {"RequestAttributesSequence.ScheduledProcedureStepID": "SPS1"},
        {"00400275.00400009": "SPS1", "00400275.00401001": "RP1"},
        {"SeriesDescription": "Axial*"},
        {"StudyDate": "20240314-20240316", "StudyTime": "2000-0100", "PatientID": "7"},
    ],
)
def test_keys_come_by_keyword_by_tag_and_nested(get: Any, query: dict[str, str]) -> None:
    wanted = make_study(make_patient("7", "WIBOWO^BUDI"))
    items = [{"scheduled_procedure_step_id": "SPS1", "requested_procedure_id": "RP1"}]
    make_series(wanted, request_attributes=items)
    make_study(make_patient("8", "SITI^AMINAH"), study_date="20230101", series=0)
    response = get("studies", query)
    if "patientid" in query:
        assert "patientid is unknown" in response["Warning"]
    else:
        assert uids(response) == [wanted.study_instance_uid]
        assert "Warning" not in response


def test_uid_lists_come_with_commas_backslashes_and_repeated(get: Any) -> None:
    found = {make_study().study_instance_uid for _ in range(2)}
    make_study()
    one, two = sorted(found)
    for query in (
        {"StudyInstanceUID": f"{one},{two}"},
        {"StudyInstanceUID": f"{one}\\{two}"},
        {"StudyInstanceUID": [one, two]},
        {"0020000d": f"{one},{two}"},
    ):
        assert set(uids(get("studies", query))) == found


def test_included_fields_are_added(get: Any) -> None:
    make_study(attributes={"00101010": {"vr": "AS", "Value": ["053Y"]}})
    for query in (
        {"includefield": ["00081030", "PatientAge"]},
        {"includefield": "StudyDescription,00101010"},
        {"includefield": "all"},
        {"StudyDescription": "", "PatientAge": "", "includefield": "RequestedProcedureCodeSequence.CodeValue"},
    ):
        (answer,) = get("studies", query).json()
        assert answer["00081030"]["Value"] == ["CT Thorax"] and answer["00101010"]["Value"] == ["053Y"], query
    assert "00321064" in answer


def test_limit_and_offset_page_newest_first_and_tell_of_more(get: Any) -> None:
    patient = make_patient()
    expected = [make_study(patient, study_date=f"2024010{day}").study_instance_uid for day in (5, 4, 3, 2, 1)]
    assert uids(get("studies")) == expected
    first = get("studies", {"limit": "2"})
    assert uids(first) == expected[:2]
    assert first["Warning"] == '299 testserver "There are additional results that can be requested"'
    last = get("studies", {"limit": "2", "offset": "3"})
    assert uids(last) == expected[3:] and "Warning" not in last
    assert uids(get("studies", {"offset": "9"})) == []
    assert uids(get("studies", {"limit": "1", "offset": "1", "PatientName": "wib*"})) == expected[1:2]
    assert uids(get("studies", {"limit": "0"})) == []


def test_no_answer_is_longer_than_the_cap(get: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs.dicomweb.search.MOST_ANSWERS", 2)
    for _ in range(3):
        make_study()
    for query in ({}, {"limit": "999999999"}):
        response = get("studies", query)
        assert len(response.json()) == 2 and "additional results" in response["Warning"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("StudyDate", "2024-03-15"),
        ("StudyDate", "yesterday"),
        ("StudyTime", "99"),
        ("StudyInstanceUID", "../../etc/passwd"),
        ("0020000D", "1.2.3,x"),
        ("limit", "ten"),
        ("limit", "-1"),
        ("offset", "1.5"),
        ("fuzzymatching", "perhaps"),
        ("NumberOfStudyRelatedSeries", "x"),
        ("TimezoneOffsetFromUTC", "WIB"),
        ("PatientID", "\x00"),
    ],
)
def test_a_malformed_value_is_400_and_named(get: Any, name: str, value: str) -> None:
    response = get("studies", {name: value})
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["field"] in (name, "StudyInstanceUID") and value not in response.json()["detail"]


def test_a_malformed_uid_in_the_address_is_400(get: Any) -> None:
    assert get("studies/abc/series").status_code == 400
    assert get(f"studies/{uid(1)}/series/%00/instances").status_code == 400


def test_unknown_parameters_are_ignored_with_a_warning(get: Any) -> None:
    make_study()
    response = get("studies", {"nonsense": "1", 'x"\r\ny': "1", "includefield": "Nothing", "00091001": "x"})
    assert len(response.json()) == 1
    for text in ("nonsense", "x???y", "Nothing", "00091001"):
        assert text in response["Warning"]


def test_the_time_zone_of_the_query_is_honoured(get: Any) -> None:
    make_study(study_date="20240315", study_time="233000", timezone_offset_from_utc="+0700")
    assert len(get("studies", {"StudyDate": "20240316", "TimezoneOffsetFromUTC": "+0900"}).json()) == 1
    assert len(get("studies", {"StudyDate": "20240315", "TimezoneOffsetFromUTC": "+0900"}).json()) == 0


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/dicom+json", "application/dicom+json"),
        ("application/json", "application/json"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/dicom+json"),
        ("application/dicom+json, application/json", "application/dicom+json"),
        ('multipart/related; type="application/dicom+xml"', "multipart/related"),
        ("multipart/related; type=application/dicom+xml", "multipart/related"),
    ],
)
def test_accept_decides_the_form(get: Any, accept: str, expected: str) -> None:
    make_study()
    assert get("studies", Accept=accept)["Content-Type"].split(";")[0] == expected


def test_what_cannot_be_given_is_406(get: Any) -> None:
    for accept in ("image/png", 'multipart/related; type="application/dicom"'):
        assert get("studies", Accept=accept).status_code == 406, accept


def test_xml_is_the_native_dicom_model(get: Any) -> None:
    make_study(make_patient("7", "Müller^Jürgen^^Dr=山田^太郎"), study_description="A & <B>")
    make_study()
    response = get("studies", {"includefield": "00081030"}, Accept='multipart/related; type="application/dicom+xml"')
    boundary = response["Content-Type"].split("boundary=")[1].strip('"').encode()
    parts = response.content.split(b"--" + boundary)[1:-1]
    assert len(parts) == 2
    models = [ElementTree.fromstring(part.partition(b"\r\n\r\n")[2].strip()) for part in parts]
    texts = ["".join(model.itertext()) for model in models]
    assert any("A & <B>" in text for text in texts)
    names = [model.find("DicomAttribute[@keyword='PatientName']/PersonName") for model in models]
    assert any(
        name is not None
        and name.findtext("Alphabetic/FamilyName") == "Müller"
        and name.findtext("Alphabetic/NamePrefix") == "Dr"
        and name.findtext("Ideographic/GivenName") == "太郎"
        for name in names
    )


def test_large_answers_are_gzipped_where_that_is_accepted(get: Any) -> None:
    for _ in range(5):
        make_study()
    packed = get("studies", **{"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed["Content-Encoding"] == "gzip" and len(json.loads(gzip.decompress(packed.content))) == 5
    assert "Content-Encoding" not in get("studies", **{"Accept-Encoding": "gzip;q=0"})
    assert "Accept-Encoding" in packed["Vary"]


def test_another_sites_studies_are_absent(get: Any) -> None:
    hidden = make_study(make_patient("7", site=make_site()), series=1, instances=1)
    series = Series.objects.get()
    for path in (
        "studies",
        "series",
        "instances",
        f"studies/{hidden.study_instance_uid}/series",
        f"studies/{hidden.study_instance_uid}/instances",
        f"studies/{hidden.study_instance_uid}/series/{series.series_instance_uid}/instances",
    ):
        assert get(path).json() == []
    assert get("studies", {"StudyInstanceUID": hidden.study_instance_uid}).json() == []
    assert get("studies", {"PatientID": "7"}).json() == []


def test_deleted_studies_are_absent(get: Any) -> None:
    study = make_study(series=1, instances=1)
    Study.objects.update(deleted_at=study.created_at)
    assert [get(path).json() for path in ("studies", "series", "instances")] == [[], [], []]


def test_each_search_is_in_the_audit_trail_without_its_keys(get: Any) -> None:
    study = make_study(make_patient("RAHASIA7"), series=1)
    get("studies", {"PatientID": "RAHASIA7"})
    get(f"studies/{study.study_instance_uid}/series")
    events = list(AuditEvent.objects.filter(event="dicomweb.search").order_by("id"))
    assert [event.detail for event in events] == [{"level": "STUDY", "answers": 1}, {"level": "SERIES", "answers": 1}]
    assert events[1].study_instance_uid == study.study_instance_uid and events[1].agent == "simrs"
    assert "RAHASIA7" not in str([vars(event) for event in events])


@pytest.mark.parametrize("name", ["studies", "series", "instances"])
def test_the_number_of_queries_stays_the_same(get: Any, name: str, django_assert_max_num_queries: Any) -> None:
    for _ in range(3):
        make_series(instances=3, request_attributes=[{"requested_procedure_id": "1"}])
    get(name)  # notes the token's first use
    with django_assert_max_num_queries(5):  # token, rows, request attributes, audit; identifiers with `all`
        get(name)
    with django_assert_max_num_queries(6):
        get(name, {"includefield": "all"})


def test_the_other_root_answers_with_its_own_addresses(get: Any) -> None:
    make_study()
    _, token = make_token("other")
    response = Client().get("/dicomweb/studies", headers={"Authorization": f"Bearer {token}"})
    assert response.json()[0]["00081190"]["Value"][0].startswith("http://testserver/dicomweb/studies/")
