"""Patients, studies, series and instances over `/api/v1`, and that nobody sees another site's."""

import io
import json
from typing import Any

import pydicom
import pytest
from django.test import Client
from django.urls import get_resolver, reverse
from PIL import Image

from pacs.models import Instance, Study
from radiology.models import AuditEvent, Site
from radiology.services.critical_results import raise_critical
from tests.factories import (
    make_instance,
    make_order,
    make_patient,
    make_report,
    make_report_template,
    make_requested_procedure,
    make_series,
    make_site,
    make_study,
    make_user,
)
from tests.pacs.api_client import ApiProgram, body, problem
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10, real

pytestmark = pytest.mark.django_db


@pytest.fixture
def simrs(site: Site) -> ApiProgram:
    return ApiProgram()


def everything(program: ApiProgram, path: str, **query: str) -> list[list[dict[str, Any]]]:
    """The pages of a list, first to last."""
    answer = program.get(path, query).json()
    pages = [answer["data"]]
    while "next" in answer:
        answer = program.get(answer["next"]).json()
        pages.append(answer["data"])
    return pages


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"patient_id": "001234"}, ["ANI"]),
        ({"patient_name": "bu"}, ["BUDI", "BUDI"]),
        ({"patient_birth_date": "19800101"}, ["BUDI"]),
        ({"patient_birth_date": "19700101-19751231"}, ["ANI", "BUDI", "REGISTERED^ONLY"]),
        ({"issuer_of_patient_id": "RSUD"}, ["BUDI"]),
        ({"patient_id": ""}, ["ANI", "BUDI", "BUDI", "REGISTERED^ONLY"]),
    ],
)
def test_patients_are_found_by_name_number_and_birth_date(
    simrs: ApiProgram, query: dict[str, str], found: list[str]
) -> None:
    make_study(make_patient("2", "BUDI", patient_birth_date="19800101", issuer_of_patient_id="RSUD"))
    make_study(make_patient("1", "BUDI"))
    make_study(make_patient("001234", "ANI"))
    make_patient("4", "REGISTERED^ONLY")
    response = simrs.get("patients", query)
    assert [each["patient_name"] for each in response.json()["data"]] == found


def test_lists_of_patients_go_on(simrs: ApiProgram) -> None:
    for number in range(5):
        make_study(make_patient(f"P{number}", "SITI"))
    pages = everything(simrs, "patients", limit="2")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {each["patient_id"] for page in pages for each in page} == {f"P{number}" for number in range(5)}


def test_one_patient_with_identifiers_and_studies(simrs: ApiProgram) -> None:
    patient = make_patient("7", "SITI^A", identifiers=[("NIK", "3171")], patient_birth_date="1970.01.02")
    studies = [make_study(patient, study_date=f"2024010{day}").study_instance_uid for day in (3, 2, 1)]
    make_study(make_patient("8"))
    found = simrs.get(f"patients/{patient.public_id}").json()
    assert found["patient_id"] == "7" and found["patient_birth_date"] == "19700102"
    assert found["identifiers"] == [{"kind": "NIK", "value": "3171", "issuer": ""}]
    pages = everything(simrs, found["links"]["studies"], limit="2")
    assert [each["study_instance_uid"] for page in pages for each in page] == studies
    assert pages[0][0]["patient"]["public_id"] == str(patient.public_id)
    problem(simrs.get("patients/01930f5e-7c1a-7b3e-9d51-2f6f0c9a4e11"), 404, "patient")


def test_a_study_in_full(simrs: ApiProgram) -> None:
    study = make_study(make_patient("7"), study_time="101530.5")
    make_series(study, series_number=2, modality="SR")
    make_series(study, series_number=1, instances=2)
    make_series(study, series_number=None, instances=1)
    Study.objects.filter(pk=study.pk).update(version=4)
    response = simrs.get(f"studies/{study.study_instance_uid}")
    found = response.json()
    assert response["ETag"].startswith('"4-') and found["version"] == 4
    assert found["study_time"] == "101530.5" and found["study_datetime"] == "2024-03-15T03:15:30.500000+00:00"
    assert found["patient"]["patient_id"] == "7"
    assert [each["series_number"] for each in found["series"]] == [1, 2, None]
    assert found["links"]["dicomweb"] == f"http://testserver/dicom-web/studies/{study.study_instance_uid}"
    assert simrs.get(found["links"]["self"], headers={"If-None-Match": response["ETag"]}).status_code == 304
    assert AuditEvent.objects.filter(event="api.read", study_instance_uid=study.study_instance_uid).count() == 2


def test_series_and_instances_in_pages_by_number(simrs: ApiProgram) -> None:
    study = make_study()
    for number in (3, None, 1, 2, None):
        make_series(study, series_number=number, instances=1)
    pages = everything(simrs, f"studies/{study.study_instance_uid}/series", limit="2")
    assert [each["series_number"] for page in pages for each in page] == [1, 2, 3, None, None]
    assert [len(page) for page in pages] == [2, 2, 1]
    series = make_series(study, series_number=9)
    for number in (2, None, 1):
        make_instance(series, instance_number=number)
    answer = simrs.get(f"series/{series.series_instance_uid}/instances", limit="2").json()
    assert [each["instance_number"] for each in answer["data"]] == [1, 2]
    answer = simrs.get(answer["next"]).json()
    assert [each["instance_number"] for each in answer["data"]] == [None]
    answer = simrs.get(answer["previous"]).json()
    assert [each["instance_number"] for each in answer["data"]] == [1, 2] and "previous" not in answer
    one = simrs.get(f"series/{series.series_instance_uid}").json()
    assert one["number_of_series_related_instances"] == 3
    assert one["study_instance_uid"] == study.study_instance_uid


def test_an_instance_its_file_picture_and_header(simrs: ApiProgram, site: Site) -> None:
    file = part10(ct(PatientID="7", ImageComments="héllo", side=64))
    stored = store(site, file)
    found = simrs.get(f"instances/{stored.sop_instance_uid}").json()
    assert (found["rows"], found["columns"]) == (64, 64)
    response = simrs.get(found["links"]["file"])
    given = body(response)
    assert response["Content-Type"] == "application/dicom" and int(response["Content-Length"]) == len(given)
    assert pydicom.dcmread(io.BytesIO(given)).PixelData == pydicom.dcmread(io.BytesIO(file)).PixelData
    rest = simrs.get(found["links"]["file"], headers={"Range": "bytes=200-", "If-Range": response["ETag"]})
    assert rest.status_code == 206 and body(rest) == given[200:]
    picture = simrs.get(found["links"]["preview"], size="32")
    assert picture["Content-Type"] == "image/jpeg" and Image.open(io.BytesIO(picture.content)).size == (32, 32)
    again = simrs.get(found["links"]["preview"], {"size": "32"}, headers={"If-None-Match": picture["ETag"]})
    assert again.status_code == 304
    tags = simrs.get(found["links"]["tags"]).json()
    assert tags["00204000"]["Value"] == ["héllo"] and "7FE00010" not in tags
    assert AuditEvent.objects.filter(event="api.retrieve", study_instance_uid=stored.study_instance_uid).count() == 3
    problem(simrs.get(found["links"]["preview"], frame="2"), 404)
    for query in ({"frame": "0"}, {"frame": "x"}, {"frame": "9" * 19}, {"size": "1"}, {"size": "99999"}):
        problem(simrs.get(found["links"]["preview"], query), 400, next(iter(query)))


def test_an_object_without_pixels_has_no_picture(simrs: ApiProgram, site: Site) -> None:
    stored = store(site, real("reportsi.dcm").read_bytes())
    problem(simrs.get(f"instances/{stored.sop_instance_uid}/preview"), 406)


def test_an_object_whose_file_is_gone_is_a_problem_and_no_crash(simrs: ApiProgram, site: Site) -> None:
    instance = make_instance(location=True)
    for what in ("file", "preview", "tags"):
        problem(simrs.get(f"instances/{instance.sop_instance_uid}/{what}"), 507)


@pytest.mark.parametrize("named", ["1.2.3", "..%2f..%2fetc%2fpasswd", "%00", "1" * 65, "x", "1.2'--", "٣"])
def test_what_does_not_exist_is_404(simrs: ApiProgram, named: str) -> None:
    for path in (
        "studies/{}", "studies/{}/series", "studies/{}/history", "studies/{}/archive", "series/{}",
        "series/{}/instances", "series/{}/archive", "instances/{}", "instances/{}/file", "instances/{}/preview",
        "instances/{}/tags", "patients/{}",
    ):  # fmt: skip
        assert simrs.get(path.format(named)).status_code == 404, path


def addresses(study: Study) -> list[tuple[str, str]]:
    """Every address about a study, its patient, an order and what is in it, with the methods to try."""
    order = make_order(study.patient_ref)
    series = study.series.get()
    instance = Instance.objects.get(series_ref=series)
    values: dict[str, Any] = {
        "study": study.study_instance_uid,
        "series": series.series_instance_uid,
        "instance": instance.sop_instance_uid,
        "patient": study.patient_ref.public_id,
        "correction": "01930f5e-7c1a-7b3e-9d51-2f6f0c9a4e11",
        "merge": "01930f5e-9a10-7d3b-9c44-1f5e2d7a6b33",
        "order": order.public_id,
        "procedure": make_requested_procedure(order).public_id,
        "attachment": "01930f5e-a0b3-7e21-9c43-5d9c3f2d7b44",
        "report": make_report(make_requested_procedure(order)).public_id,
        "key_image": "3b241101-e2bb-4255-8caf-4136c566a962",
        "template": make_report_template(site=study.site).public_id,
        "critical_result": raise_critical(
            procedure=make_requested_procedure(order), finding="x", category="red", who=None
        )[0].public_id,
    }
    found = []
    for pattern in get_resolver("pacs.api.urls").url_patterns:
        names = list(pattern.pattern.converters)
        if names:
            view: Any = pattern.callback
            for method in view.view_class.http_method_names:
                if hasattr(view.view_class, method) and method != "options":
                    found.append((method, reverse(pattern.name, kwargs={name: values[name] for name in names})))
    return found


def test_another_sites_things_are_404_at_every_address(simrs: ApiProgram, site: Site) -> None:
    other = make_site()
    elsewhere = make_study(make_patient("7", site=other), series=1, instances=1, locations=True)
    person = Client()
    person.force_login(make_user("here"))
    tried = addresses(elsewhere)
    assert len(tried) == 55
    for method, address in tried:
        for client in (simrs.client, person):
            response = client.generic(
                method.upper(), address, json.dumps({"reason": "x"}), content_type="application/json",
                headers={"If-Match": '"1"'},
            )  # fmt: skip
            # Whoever lacks the right to change such things is told so, whether or not there is one.
            allowed = {404} if client is simrs.client or method == "get" else {403, 404}
            if "restore" in address or "report-templates" in address:
                allowed = {403, 404}
            assert response.status_code in allowed, (method, address, response.content)
            assert b"MRN" not in response.content and elsewhere.accession_number.encode() not in response.content
    assert Study.objects.filter(deleted_at=None).count() == 1
    there = ApiProgram(site=other, name="there")
    assert there.get(f"studies/{elsewhere.study_instance_uid}").status_code == 200


def test_nothing_is_open_to_strangers(site: Site) -> None:
    study = make_study(series=1, instances=1)
    for method, address in addresses(study):
        response = Client().generic(method.upper(), address)
        assert response.status_code == 401, (method, address)


def test_a_deleted_study_is_gone_from_every_address(simrs: ApiProgram) -> None:
    study = make_study(series=1, instances=1)
    assert simrs.delete(f"studies/{study.study_instance_uid}", reason="wrong patient").status_code == 200
    for method, address in addresses(study):
        if not any(part in address for part in ("patients", "orders", "report", "critical", "merges", "restore")):
            assert simrs.client.generic(method.upper(), address).status_code == 404, (method, address)


@pytest.mark.parametrize(
    ("path", "queries"),
    [
        ("patients", 3),
        ("patients/{patient}", 5),
        ("patients/{patient}/studies", 3),
        ("studies/{study}", 4),
        ("studies/{study}/series", 3),
        ("studies/{study}/history", 4),
        ("series/{series}", 2),
        ("series/{series}/instances", 3),
        ("instances/{instance}", 2),
        ("studies/deleted", 2),
    ],
)
def test_the_number_of_queries_is_fixed(
    simrs: ApiProgram, path: str, queries: int, django_assert_max_num_queries: Any
) -> None:
    patient = make_patient("7", identifiers=[("NIK", "1"), ("BPJS", "2")])
    for _ in range(3):
        study = make_study(patient, series=4, instances=5)
    simrs.delete(f"studies/{make_study(patient).study_instance_uid}", reason="x")
    series = study.series.all()[0]
    names = {
        "patient": patient.public_id,
        "study": study.study_instance_uid,
        "series": series.series_instance_uid,
        "instance": series.instances.all()[0].sop_instance_uid,
    }
    with django_assert_max_num_queries(queries):
        assert simrs.get(path.format(**names)).status_code == 200
