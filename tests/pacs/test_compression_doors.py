"""Compressed objects leave by every door as they did before; what is configured, shown and measured of compressing."""

import gzip
import json
import zipfile
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from PIL import Image
from pydicom.filereader import read_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless
from pynetdicom import build_context

from pacs.models import Compression, CompressionRule, Instance, Location, StorageCommitment, Volume
from pacs.services import compression
from pacs.services.corrections import correct_study
from radiology.models import Job, Site
from radiology.services import configuration
from tests.daemons import Daemon, free_port
from tests.factories import make_node, make_site, make_user
from tests.integrations.orthanc_client import OrthancProgram, sha1
from tests.pacs.commitment_peer import Reports, ask_and_leave, listening, work_until
from tests.pacs.compressing import clear_old_files, put, rule, series_of, slice_of, syntaxes, work
from tests.pacs.dicomweb import ANY, body, parts
from tests.pacs.dimse_client import get, of_data_set, store
from tests.pacs.objects import ct
from tests.pacs.test_dimse_retrieve import destination, move
from tests.radiology.admin_client import post, signed_in, superuser, texts

EXPLICIT = f'application/dicom; transfer-syntax="{ExplicitVRLittleEndian}"'


def compress() -> None:
    rule()
    work()
    clear_old_files()
    assert set(syntaxes()) == {JPEGLSLossless}


def pixels(response: Any) -> bytes:
    return bytes(pydicom.dcmread(BytesIO(body(response))).PixelData)


def json_of(response: Any) -> str:
    content = body(response)
    return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()


def test_every_page_and_rest_door(site: Site, reader: Client) -> None:
    image = slice_of()
    study = put(image)
    series = f"/dicom-web/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
    at = f"{series}/instances/{image.SOPInstanceUID}"
    wado = f"/wado?requestType=WADO&studyUID={image.StudyInstanceUID}&seriesUID={image.SeriesInstanceUID}"
    wado = f"{wado}&objectUID={image.SOPInstanceUID}"

    def gone_out() -> dict[str, Any]:
        return {
            "object": pixels(reader.get(at, headers={"accept": EXPLICIT})),
            "wado": pixels(reader.get(f"{wado}&contentType=application/dicom")),
            "frame": parts(reader.get(f"{at}/frames/1"))[0][1],
            "rendered": numpy.asarray(Image.open(BytesIO(reader.get(f"{at}/rendered").content))).tobytes(),
            "thumbnail": reader.get(f"{at}/thumbnail").content,
        }

    before, metadata = gone_out(), reader.get(f"{series}/metadata")
    assert before["object"] == before["frame"] == image.PixelData
    tag = reader.get(at, headers={"accept": ANY}).headers["ETag"]
    compress()
    assert gone_out() == before
    # As stored it is another representation, and says so.
    answer = reader.get(at, headers={"accept": ANY})
    assert answer.headers["ETag"] != tag
    stored = pydicom.dcmread(BytesIO(parts(answer)[0][1]))
    assert stored.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert stored.pixel_array.tobytes() == image.PixelData
    [(_, frame)] = parts(reader.get(f"{at}/frames/1", headers={"accept": 'multipart/related; type="image/jls"'}))
    assert frame in stored.PixelData
    now = reader.get(f"{series}/metadata")
    assert now.headers["ETag"] != metadata.headers["ETag"]
    assert JPEGLSLossless in json_of(now) and JPEGLSLossless not in json_of(metadata)
    archive = zipfile.ZipFile(BytesIO(body(reader.get(f"/api/v1/studies/{image.StudyInstanceUID}/archive"))))
    assert archive.testzip() is None
    # Corrections are laid over what is compressed.
    study.refresh_from_db()
    boss = make_user("boss", is_superuser=True)
    correct_study(who=boss, study=study, changes={"StudyDescription": "Thorax"}, version=study.version)
    corrected = pydicom.dcmread(BytesIO(parts(reader.get(at, headers={"accept": ANY}))[0][1]))
    assert corrected.StudyDescription == "Thorax" and corrected.pixel_array.tobytes() == image.PixelData
    assert pixels(reader.get(at, headers={"accept": EXPLICIT})) == image.PixelData


def test_the_orthanc_door(site: Site) -> None:
    image = slice_of()
    put(image)
    compress()
    program = OrthancProgram()
    identifier = sha1(image.PatientID, image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID)
    file = pydicom.dcmread(BytesIO(body(program.get(f"instances/{identifier}/file"))))
    assert file.file_meta.TransferSyntaxUID == JPEGLSLossless and file.pixel_array.tobytes() == image.PixelData
    assert body(program.get(f"instances/{identifier}/metadata/TransferSyntax")).decode() == JPEGLSLossless
    series = program.json(f"instances/{identifier}")["ParentSeries"]
    assert int(program.json(f"series/{series}/statistics")["DiskSize"]) < len(image.PixelData)


def test_peers_that_know_no_jpeg_ls_and_commitment(committed_db: None, dimse_server: Daemon) -> None:
    node = make_node("CT1", port=free_port())
    images = series_of(2)
    assert set(store(dimse_server.port, [of_data_set(each) for each in images], calling="CT1").values()) == {0}
    Instance.objects.update(created_at="2020-01-01T00:00Z")
    compress()
    expected = {each.SOPInstanceUID: each.PixelData for each in images}
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": images[0].StudyInstanceUID}
    received, status, _ = get(dimse_server.port, [build_context(CTImageStorage, ImplicitVRLittleEndian)], **keys)
    assert status.Status == 0
    opened = {each.sop_instance_uid: read_dataset(BytesIO(each.data), True, True) for each in received}
    assert {uid: each.PixelData for uid, each in opened.items()} == expected
    with destination((CTImageStorage, [ExplicitVRLittleEndian])) as plain:
        move(dimse_server.port, **keys)
    opened = {each.sop_instance_uid: read_dataset(BytesIO(each.data), False, True) for each in plain.received}
    assert {uid: each.PixelData for uid, each in opened.items()} == expected
    with destination((CTImageStorage, [JPEGLSLossless, ExplicitVRLittleEndian]), title="WS2") as able:
        move(dimse_server.port, to="WS2", **keys)
    assert {each.transfer_syntax_uid for each in able.received} == {JPEGLSLossless}
    # What is sent again is here already, and is committed.
    assert set(store(dimse_server.port, [of_data_set(each) for each in images], calling="CT1").values()) == {0}
    assert set(syntaxes()) == {JPEGLSLossless} and Location.objects.count() == 2
    reports = Reports()
    with listening(reports, port=node.port):
        ask_and_leave(dimse_server.port, [(CTImageStorage, uid) for uid in expected])
        work_until(lambda: reports.received, what="the report", hurry=False)
    assert reports.received[0].committed == set(expected) and StorageCommitment.objects.get().number_of_failed == 0


class TestAdmin:
    @pytest.fixture
    def chief(self, site: Site) -> Client:
        return signed_in(superuser())

    def form(self, **changes: Any) -> dict[str, Any]:
        return {
            "name": "CT after a month",
            "site": Site.objects.default().pk,
            "is_active": "on",
            "modalities": "ct, mr",
            "sop_class_uids": "",
            "received_in": [ImplicitVRLittleEndian],
            "older_than_days": "30",
            "transfer_syntax_uid": JPEGLSLossless,
            **changes,
        }

    def test_a_rule_is_made_and_wakes_the_job(self, chief: Client) -> None:
        assert chief.get("/admin/pacs/compressionrule/add/").status_code == 200
        post(chief, "pacs_compressionrule_add", self.form())
        made = CompressionRule.objects.get()
        assert (made.modalities, made.received_in, made.sop_class_uids) == (["CT", "MR"], [ImplicitVRLittleEndian], [])
        assert Job.objects.filter(kind=compression.KIND).count() == 1

    def test_what_is_no_uid_is_said(self, chief: Client) -> None:
        answer = post(chief, "pacs_compressionrule_add", self.form(sop_class_uids="CT Image"))
        assert "This is no UID: CT Image." in answer.content.decode()
        with pytest.raises(ValidationError):
            CompressionRule(name="x", transfer_syntax_uid="1.2.840.10008.1.2.4.81").full_clean()  # with loss

    def test_it_shows_what_was_saved_in_few_queries(self, chief: Client, django_assert_max_num_queries: Any) -> None:
        put(*series_of(3))
        compress()
        chief.get("/admin/pacs/compressionrule/")
        with django_assert_max_num_queries(12):
            page = chief.get("/admin/pacs/compressionrule/").content.decode()
        assert " %)" in page
        with django_assert_max_num_queries(12):
            listed = chief.get("/admin/pacs/compression/").content.decode()
        assert listed.count("JPEG-LS Lossless") >= 3
        [one, *_] = Compression.objects.all()
        assert chief.get(f"/admin/pacs/compression/{one.pk}/change/").status_code == 200

    def test_what_was_left_is_looked_at_again_by_wish(self, chief: Client, site: Site, tmp_path: Path) -> None:
        put(*series_of(1))
        location = Location.objects.get()
        path = tmp_path / "archive" / location.path
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] + b"?")
        rule()
        work()
        left = Compression.objects.get()
        path.write_bytes(sound)
        work()
        assert syntaxes() == [ExplicitVRLittleEndian]
        told = post(chief, "pacs_compression_changelist", {"action": "look_again", "_selected_action": [left.pk]})
        assert texts(told) == ["1 object will be looked at again."]
        work()
        assert syntaxes() == [JPEGLSLossless]

    def test_another_sites_rules_are_not_seen(self, site: Site) -> None:
        other = make_site("other")
        rule(site=other, name="theirs")
        user = make_user("admin", site=site, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__contains="compression"))
        assert "theirs" not in signed_in(user).get("/admin/pacs/compressionrule/").content.decode()


def test_rules_stand_in_the_configuration_file_and_begin_only_after_a_look(site: Site) -> None:
    rule(name="old CT", modalities=["CT"], older_than_days=90)
    text = configuration.export(who=None)
    [entry] = json.loads(text)["compression_rules"]
    assert entry["modalities"] == ["CT"] and entry["older_than_days"] == 90 and entry["is_active"] is True
    assert configuration.plan(text=text) == []
    CompressionRule.objects.all().delete()
    [planned] = configuration.plan(text=text)
    planned.apply()
    assert CompressionRule.objects.get().is_active is False


class TestCommand:
    def test_it_tells_what_would_be_saved_and_changes_nothing(self, site: Site) -> None:
        put(*series_of(3))
        put(ct(side=4))
        rule(is_active=False)
        before = list(Location.objects.values_list("pk", "path", "size"))
        out = StringIO()
        call_command("compress", "--sample", "10", stdout=out)
        assert "all" in out.getvalue() and "3 of 4" in out.getvalue() and "%" in out.getvalue()
        assert before == list(Location.objects.values_list("pk", "path", "size"))
        assert not Compression.objects.exists() and not list(Path(Volume.objects.get().path, "incoming").iterdir())

    def test_without_rules_it_says_so(self, site: Site) -> None:
        with pytest.raises(CommandError, match="no rule"):
            call_command("compress")
