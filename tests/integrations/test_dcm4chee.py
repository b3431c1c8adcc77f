"""dcm4chee-arc-light: its configuration in both directions, its HL7 in both directions, and moving its images in."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.conf import settings as product
from django.core.management import call_command

from integrations.hl7.outgoing.orders import Group, filler_order, order_status
from integrations.models import Hl7Peer, MessageState
from pacs.models import ApplicationEntity, Instance, Study
from radiology.models import Order, OrderStatus, Patient, PatientMerge, Report
from tests.daemons import ROOT, Daemon, free_port
from tests.factories import make_order, make_patient, make_requested_procedure, make_token
from tests.integrations.dcm4chee import ack, entries, person_update, procedure_update
from tests.integrations.mllp_client import hand_in, last_message
from tests.integrations.outgoing import IMPATIENT, put, row
from tests.integrations.receiver import Receiver, send_all
from tests.pacs.dicomweb_peer import BASE, Peer, dicomweb_peer, send
from tests.pacs.imported import archived, make_objects
from tests.pacs.test_import_remote import imported

INTERFACE = ROOT / "deploy" / "interfaces" / "dcm4chee"
CONFIGURATION = "cn=DICOM Configuration,dc=dcm4che,dc=org"
RS = "/dcm4chee-arc/aets/DCM4CHEE/rs"


def configured(tmp_path: Path, port: int = 2575) -> Hl7Peer:
    """dcm4chee as the configuration file makes it, on this machine."""
    told = json.loads((INTERFACE / "sinar.json").read_text(encoding="utf-8"))
    told["hl7_peers"][0] |= {"addresses": ["127.0.0.1"], "destination_host": "127.0.0.1", "destination_port": port}
    (tmp_path / "sinar.json").write_text(json.dumps(told))
    call_command("configuration", "import", str(tmp_path / "sinar.json"))
    return Hl7Peer.objects.get()


class TestConfiguration:
    @pytest.fixture
    def ldif(self) -> list[dict[str, list[str]]]:
        return entries(INTERFACE / "sinar.ldif") + entries(INTERFACE / "notifications.ldif")

    def test_every_entry_stands_below_one_that_is_there(self, ldif: list[dict[str, list[str]]]) -> None:
        known = {f"{name},{CONFIGURATION}" for name in (
            "cn=Devices", "cn=Unique AE Titles Registry", "cn=Unique HL7 Application Names Registry",
        )}  # fmt: skip
        archive = f"dicomDeviceName=dcm4chee-arc,cn=Devices,{CONFIGURATION}"
        known |= {archive, f"cn=hl7,{archive}"}  # of every dcm4chee
        for entry in ldif:
            dn, parent = entry["dn"][0], entry["dn"][0].partition(",")[2]
            if entry["changetype"] == ["modify"]:
                assert dn in known
                continue
            assert dn not in known and parent in known, dn
            known.add(dn)
            name, _, value = dn.partition(",")[0].partition("=")
            assert entry[name] == [value] and entry["objectClass"]
            for reference in entry.get("dicomNetworkConnectionReference", []):
                assert reference in known

    def test_both_sides_say_the_same(self, ldif: list[dict[str, list[str]]], tmp_path: Path, db: None) -> None:
        peer, node = configured(tmp_path), ApplicationEntity.objects.get()
        assert (node.title, node.port) == ("DCM4CHEE", 11112)
        ports = {entry["cn"][0]: int(entry["dicomPort"][0]) for entry in ldif if "dicomPort" in entry}
        assert ports["dicom"] in product.SINAR_DICOM_PORTS and ports["hl7"] in product.SINAR_HL7_PORTS
        titles = {entry["dicomAETitle"][0] for entry in ldif if "dicomUniqueAETitle" in entry.get("objectClass", [])}
        assert titles == {product.DIMSE["AE_TITLE"]}
        archive = f"{peer.sending_application}|{peer.sending_facility}"
        us = f"{peer.sent_application}|{peer.sent_facility}"
        names = {entry["hl7ApplicationName"][0] for entry in ldif if "hl7ApplicationName" in entry}
        assert names == {archive, us}
        for entry in ldif:
            for name, value in entry.items():
                if name.endswith("SendingApplication"):
                    assert value == [archive]
                if name.endswith("ReceivingApplication"):
                    assert value == [us]


class TestImages:
    """dcmtk under its title: what its exporter sends, and what it asks for."""

    def test_it_sends_and_fetches_by_its_title(
        self, committed_db: None, dimse_server: Daemon, tool: Callable[[str], str], tmp_path: Path
    ) -> None:
        configured(tmp_path)
        listening = free_port()
        ApplicationEntity.objects.update(host="127.0.0.1", port=listening)
        made = make_objects(tmp_path / "theirs", 3)
        here = ["-aet", "DCM4CHEE", "-aec", "MINIPACS"]
        there = ["127.0.0.1", str(dimse_server.port)]
        command = [tool("storescu"), *here, "+sd", "+r", *there, str(tmp_path / "theirs")]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
        assert archived() == made
        (tmp_path / "got").mkdir()
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={Study.objects.get().study_instance_uid}"]
        command = [tool("movescu"), "-S", *here, "-aem", "DCM4CHEE", "+P", str(listening), "-od", str(tmp_path / "got")]
        subprocess.run([*command, *keys, *there], check=True, timeout=60, capture_output=True)
        assert len(list((tmp_path / "got").iterdir())) == 3


class TestItsMessages:
    @pytest.fixture(autouse=True)
    def peer(self, db: None, tmp_path: Path) -> Hl7Peer:
        return configured(tmp_path)

    def answer(self, message: bytes) -> str:
        given = hand_in(message)
        assert given is not None
        return given.decode().split("\r")[1].split("|")[1]

    def test_patients_of_its_pages_are_patients_here(self) -> None:
        make_patient("7", "WIBOWO^BUDI", issuer_of_patient_id="RSUD", patient_address="Jl. 1")
        assert self.answer(person_update("A31", "7", "WIBOWO^BUDIMAN")) == "AA"
        patient = Patient.objects.get()
        assert patient.patient_name == "WIBOWO^BUDIMAN"
        assert patient.patient_address == "Jl. 1"  # its PID-11 is empty, which is not deleted
        assert self.answer(person_update("A28", "8", "SANTOSO^SITI")) == "AA"
        assert self.answer(person_update("A47", "9", "SANTOSO^SITI", "8")) == "AA"
        assert self.answer(person_update("A40", "7", "WIBOWO^BUDIMAN", "9")) == "AA"
        assert PatientMerge.objects.get().survivor == patient
        assert sorted(Patient.objects.values_list("patient_id", flat=True)) == ["7", "9"]

    def test_what_it_says_of_examinations_is_noted_and_an_end_ends(self) -> None:
        """How far an examination is, this department knows itself; one that was given up there is called off."""
        order = make_order(
            make_patient("7", issuer_of_patient_id="RSUD"), accession_number="A1", placer_order_number="P1"
        )
        procedure = make_requested_procedure(order)
        numbers = {"placer": "P1", "filler": "", "accession": "A1", "study": procedure.study_instance_uid}
        for status in ("IP", "CM"):
            assert self.answer(procedure_update(status, **numbers)) == "AA", last_message().error
            order.refresh_from_db()
            assert order.status == OrderStatus.ACTIVE
        assert self.answer(procedure_update("DC", **numbers)) == "AA", last_message().error
        order.refresh_from_db()
        assert order.status == OrderStatus.REVOKED and Order.objects.count() == 1

    def test_without_a_patient_it_is_refused(self) -> None:
        numbers = {"placer": "P1", "filler": "", "accession": "A1", "study": "1.2.3"}
        assert self.answer(procedure_update("CM", **numbers, patient="")) == "AE"
        assert "PID" in last_message().error

    def test_as_a_result_without_a_text_it_makes_no_report(self) -> None:
        make_requested_procedure(
            make_order(make_patient("7", "WIBOWO^BUDI", issuer_of_patient_id="RSUD"), placer_order_number="P1")
        )
        numbers = {"placer": "P1", "filler": "", "accession": "", "study": "1.2.3"}
        assert self.answer(procedure_update("CM", **numbers, kind="ORU")) == "AA", last_message().error
        assert not Report.objects.exists() and "Nothing was reported yet" in last_message().note

    def test_an_examination_that_nobody_ordered_here_is_refused_and_kept(self) -> None:
        numbers = {"placer": "P9", "filler": "", "accession": "A9", "study": "1.2.3"}
        assert self.answer(procedure_update("DC", **numbers)) == "AE"
        assert last_message().state == MessageState.FAILED and not Order.objects.exists()


class TestOurMessages:
    @pytest.fixture(autouse=True)
    def impatient(self, settings: Any, db: None) -> None:
        settings.HL7 = {**settings.HL7, **IMPATIENT}

    @pytest.fixture
    def archive(self) -> Iterator[Receiver]:
        with Receiver(lambda message: [ack(str(message))]) as running:
            yield running

    def test_patients_are_told_and_its_answer_is_read(self, archive: Receiver, tmp_path: Path) -> None:
        sent = put(configured(tmp_path, archive.port), make_patient("1"))
        send_all()
        assert row(sent).state == MessageState.PROCESSED and sent.acknowledgment_code == "AA"
        (got,) = archive.texts
        assert got.startswith("MSH|^~\\&|SINAR|RAD|DCM4CHEE|DCM4CHEE|")

    def test_its_reason_is_shown(self, archive: Receiver, tmp_path: Path) -> None:
        text = "Invalid order control in field 1 and/or invalid order status in field 5"
        archive.answers = lambda message: [ack(str(message), "AE", text, "101^Required field missing^HL70357")]
        sent = put(configured(tmp_path, archive.port), make_patient("1"))
        send_all()
        assert row(sent).state == MessageState.FAILED and text in sent.error and "ORC" in sent.error

    def test_of_orders_it_understands_the_new_ones(self, tmp_path: Path) -> None:
        """ORC-1 and ORC-5 as its configuration knows them from the start; others are an error there."""
        known = {"NW_SC", "NW_IP", "XO_SC", "CA_CA", "DC_CA", "XO_CM"}
        peer, order = configured(tmp_path), make_order()
        procedure = make_requested_procedure(order)

        def pair(text: bytes) -> str:
            orc = next(line for line in text.decode().split("\r") if line.startswith("ORC")).split("|")
            return f"{orc[1]}_{orc[5]}"

        assert pair(filler_order(peer, order, [Group(procedure, "SC")]).raw) in known
        states = {pair(order_status(peer, order, [Group(procedure, each)]).raw) for each in ("SC", "IP", "CM", "CA")}
        assert not states & known and not peer.sends_order_status and not peer.sends_orders


def as_dcm4chee(peer: Peer) -> Callable[[BaseHTTPRequestHandler, str], bool]:
    """Its addresses, 204 where nothing is found, and multipart as RESTEasy writes it."""

    def disturb(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if not path.startswith(RS):
            return send(handler, 404)
        handler.path = BASE + handler.path.removeprefix(RS)
        parts = path.removeprefix(RS).strip("/").split("/")
        if len(parts) == 6:
            assert "transfer-syntax=*" in handler.headers["Accept"].replace('"', "")
            kind = 'multipart/related;start="<1@resteasy>";type="application/dicom";boundary="7e6b-4c1d"'
            body = b"--7e6b-4c1d\r\nContent-ID: <1@resteasy>\r\n"
            body += b"Content-Type: application/dicom;transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n"
            return send(handler, 200, body + peer.files[parts[5]].read_bytes() + b"\r\n--7e6b-4c1d--", kind)
        query = dict(parse_qsl(urlsplit(handler.path).query))
        query.pop("includefield", None)
        handler.path = f"{urlsplit(handler.path).path}?{'&'.join(f'{name}={value}' for name, value in query.items())}"
        return not peer.search(parts, dict(query)) and send(handler, 204)

    return disturb


class TestMovingIn:
    @pytest.fixture
    def theirs(self, committed_db: None, tmp_path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Its address, and what it holds."""
        made = make_objects(tmp_path / "theirs", 12, per_study=4)
        with dicomweb_peer(tmp_path / "theirs") as peer:
            peer.disturb = as_dcm4chee(peer)
            yield peer.url.removesuffix(BASE) + RS, made

    def test_all_of_it_comes_by_dicomweb_and_is_compared(
        self,
        theirs: tuple[str, dict[str, bytes]],
        start: Callable[[Daemon], Daemon],
        web_server: Daemon,
        tmp_path: Path,
    ) -> None:
        url, made = theirs
        (tmp_path / "token").write_text(make_token()[1])
        days = "20251230-20260105"

        def compared(*more: str, to: str = f"{web_server.url}/dicom-web") -> subprocess.CompletedProcess[str]:
            command = [sys.executable, str(INTERFACE / "compare.py"), url, to, "--token-file", str(tmp_path / "token")]
            return subprocess.run(
                [*command, *more], capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ)
            )

        nothing = compared()
        assert nothing.returncode == 1 and nothing.stdout.count("missing ") == 3, nothing
        assert nothing.stdout.endswith("0 of 12 objects; 3 studies are not whole\n")
        code, found = imported(start, "--from-dicomweb", url)
        assert (code, found["stored"], found["refused"]) == (0, 12, 0), found
        assert archived() == made
        for more in ((), ("--date", days)):
            whole = compared(*more)
            assert (whole.returncode, whole.stdout) == (0, "12 of 12 objects; 0 studies are not whole\n"), whole
        study = Study.objects.order_by("pk")[0]
        Study.objects.filter(pk=study.pk).update(number_of_study_related_instances=3)
        less = compared()
        assert less.returncode == 1 and f"fewer {study.study_instance_uid} " in less.stdout
        assert "3 of 4" in less.stdout and "11 of 12 objects; 1 studies" in less.stdout
        assert compared(to="http://127.0.0.1:1/dicom-web").returncode == 2
        assert compared("--date", "2026").returncode == 2
        assert Instance.objects.count() == 12
