"""WADO-RS: whole objects come back in the form that is accepted, to those who may see them."""

from collections.abc import Iterator
from io import BytesIO

import numpy
import pydicom
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from radiology.models import Site, User
from tests.pacs.dicomweb import ANY, address, body, parts, store
from tests.pacs.objects import bare, ct, part10, real


@pytest.mark.parametrize("name", ["CT_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "test-SR.dcm"])
def test_as_stored_means_the_very_bytes(site: Site, reader: Client, name: str) -> None:
    file = real(name).read_bytes()
    stored = store(site, file)
    for url in (address(stored), f"/dicom-web/studies/{stored.study_instance_uid}"):
        ((headers, part),) = parts(reader.get(url, headers={"accept": ANY}))
        assert headers["content-type"].startswith("application/dicom; transfer-syntax=1.2.840.10008.1.2.")
        assert bare(part) == bare(file)
        assert part[:128] == bytes(128)


@pytest.mark.parametrize(
    "accept", ["", "*/*", 'multipart/related; type="application/dicom"', "multipart/related; type=application/dicom"]
)
@pytest.mark.parametrize("name", ["JPEG2000.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
def test_without_a_transfer_syntax_it_is_explicit_little_endian(
    site: Site, reader: Client, name: str, accept: str
) -> None:
    stored = store(site, real(name).read_bytes())
    ((_, part),) = parts(reader.get(address(stored), headers={"accept": accept} if accept else {}))
    data_set = pydicom.dcmread(BytesIO(part))
    assert data_set.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    numpy.testing.assert_array_equal(data_set.pixel_array, pydicom.dcmread(real(name)).pixel_array)


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
def test_implicit_and_big_endian_are_never_sent(site: Site, reader: Client, name: str) -> None:
    stored = store(site, real(name).read_bytes())
    ((headers, part),) = parts(reader.get(address(stored), headers={"accept": ANY}))
    assert headers["content-type"].endswith(ExplicitVRLittleEndian)
    assert pydicom.dcmread(BytesIO(part)).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        accept = f'multipart/related; type="application/dicom"; transfer-syntax={syntax}'
        assert reader.get(address(stored), headers={"accept": accept}).status_code == 406


def test_a_single_file_is_an_attachment(site: Site, reader: Client) -> None:
    file = part10(ct())
    stored = store(site, file)
    for accept in ("application/dicom", "application/dicom; transfer-syntax=*"):
        response = reader.get(address(stored), headers={"accept": accept})
        assert response.headers["Content-Type"] == "application/dicom"
        assert response.headers["Content-Disposition"] == f'attachment; filename="{stored.sop_instance_uid}.dcm"'
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert bare(body(response)) == bare(file)


def test_the_accept_parameter_of_the_query_is_heard_first(site: Site, reader: Client) -> None:
    stored = store(site, part10(ct()))
    url = address(stored) + "?accept=application/dicom%3Btransfer-syntax=*"
    assert reader.get(url, headers={"accept": "image/png"}).headers["Content-Type"] == "application/dicom"


@pytest.mark.parametrize(
    "accept",
    [
        "image/jpeg",
        "text/html",
        f'multipart/related; type="application/dicom"; transfer-syntax={JPEG2000}',
        "application/dicom;q=0",
    ],
)
def test_what_cannot_be_made_is_406(site: Site, reader: Client, accept: str) -> None:
    stored = store(site, part10(ct()))
    assert reader.get(address(stored), headers={"accept": accept}).status_code == 406


def test_a_study_with_some_objects_that_cannot_be_sent_so_is_partial(site: Site, reader: Client) -> None:
    study = generate_uid()
    store(site, part10(ct(StudyInstanceUID=study)))
    other = pydicom.dcmread(real("JPEG2000.dcm"))
    other.StudyInstanceUID, other.PatientID, other.PatientName = study, "MRN-1001", "SANTOSO^BUDI"
    store(site, part10(other))
    accept = f'multipart/related; type="application/dicom"; transfer-syntax={JPEG2000}'
    response = reader.get(f"/dicom-web/studies/{study}", headers={"accept": accept})
    assert response.status_code == 206
    assert len(parts(response)) == 1
    assert len(parts(reader.get(f"/dicom-web/studies/{study}"))) == 2


RESOURCES = [
    "", "/metadata", "/rendered", "/thumbnail", "/series/{e}", "/series/{e}/metadata", "/series/{e}/thumbnail",
    "/series/{e}/rendered", "/series/{e}/instances/{i}", "/series/{e}/instances/{i}/metadata",
    "/series/{e}/instances/{i}/frames/1", "/series/{e}/instances/{i}/frames/1/rendered",
    "/series/{e}/instances/{i}/frames/1/thumbnail", "/series/{e}/instances/{i}/rendered",
    "/series/{e}/instances/{i}/thumbnail", "/series/{e}/instances/{i}/bulkdata/00091002",
]  # fmt: skip


@pytest.mark.parametrize("resource", RESOURCES)
def test_another_sites_objects_do_not_exist(site: Site, reader: Client, resource: str) -> None:
    data_set = ct()
    data_set.add_new(0x00091002, "OB", b"x" * 2000)
    stored = store(site, part10(data_set))
    url = f"/dicom-web/studies/{stored.study_instance_uid}" + resource.format(
        e=stored.series_instance_uid, i=stored.sop_instance_uid
    )
    assert reader.get(url).status_code == 200
    stranger = Client()
    stranger.force_login(
        User.objects.create_user("stranger", site=Site.objects.create(name="Elsewhere", code="elsewhere"))
    )
    assert stranger.get(url).status_code == 404
    assert Client().get(url).status_code == 401


@pytest.mark.parametrize("resource", RESOURCES)
def test_unknown_and_malformed_uids_are_404(reader: Client, resource: str) -> None:
    for uid in ("1.2.3", "..", "%2e%2e%2f", "%00", "1.2%27--", "%25", "x" * 200):
        url = f"/dicom-web/studies/{uid}{resource.format(e=uid, i=uid)}"
        assert reader.get(url).status_code == 404, uid


def test_the_levels_of_an_address_must_belong_together(site: Site, reader: Client) -> None:
    one, other = store(site, part10(ct())), store(site, part10(ct()))
    url = (
        f"/dicom-web/studies/{one.study_instance_uid}/series/{other.series_instance_uid}"
        f"/instances/{other.sop_instance_uid}"
    )
    for rest in ("", "/metadata", "/frames/1", "/rendered", "/thumbnail"):
        assert reader.get(url + rest).status_code == 404


BUDGETS = [("/metadata", 5), ("/frames/1", 5), ("/rendered", 5), ("/thumbnail", 5), ("", 8)]


@pytest.mark.parametrize(("resource", "budget"), BUDGETS)
def test_query_budgets_of_an_instance(site: Site, reader: Client, resource: str, budget: int) -> None:
    stored = store(site, part10(ct()))
    with CaptureQueriesContext(
        connection,
    ) as captured:
        response = reader.get(address(stored, resource))
        body(response)
    assert response.status_code == 200
    assert len(captured) <= budget, [query["sql"] for query in captured]


def test_the_queries_of_a_series_do_not_grow_with_it(site: Site, reader: Client) -> None:
    def queries(count: int) -> Iterator[int]:
        study, series = generate_uid(), generate_uid()
        for number in range(count):
            store(site, part10(ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number, side=2)))
        for rest in ("", "/metadata", "/thumbnail"):
            with CaptureQueriesContext(connection) as captured:
                body(reader.get(f"/dicom-web/studies/{study}/series/{series}{rest}"))
            yield len(captured)

    assert list(queries(2)) == list(queries(30))
