"""OpenEMR: the order files that it writes, sent by the script of deploy/interfaces/openemr; its module."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import call_command
from django.utils import timezone
from pydicom.uid import generate_uid

from integrations.models import Hl7Message, Hl7Peer, MessageState
from pacs.models import Study
from radiology.models import Order, Patient, Role
from radiology.services.reports import sign_report, write_draft
from tests.daemons import ROOT, Daemon, accepts, free_port, wait_until
from tests.factories import make_device, make_node, make_patient, make_procedure, make_user
from tests.integrations.mllp_client import MllpClient, hand_in, last_message, make_peer, message, pid
from tests.integrations.openemr import OpenEmrOrder, Ordered
from tests.integrations.outgoing import put, row
from tests.integrations.receiver import send_all
from tests.pacs.dicomweb import store
from tests.pacs.guests import received, signer
from tests.pacs.objects import ct, part10
from tests.worklist.worklist_client import findscu

INTERFACE = ROOT / "deploy" / "interfaces" / "openemr"
CHEST = Ordered("CTTHX", "CT Thorax", diagnoses={"A15.0": "Tuberculosis of lung", "R05": "Cough"})
SENT, REFUSED, NO_ANSWER = 0, 1, 3


@pytest.fixture(autouse=True)
def peer(committed_db: None, tmp_path: Path) -> Hl7Peer:
    """OpenEMR as the configuration file makes it, but for its address; and what can be ordered there."""
    told = json.loads((INTERFACE / "sinar.json").read_text(encoding="utf-8"))
    told["hl7_peers"][0]["addresses"] = ["127.0.0.1"]
    (tmp_path / "sinar.json").write_text(json.dumps(told))
    call_command("configuration", "import", str(tmp_path / "sinar.json"))
    make_procedure("CTTHX", "CT Thorax")
    make_procedure("CTABD", "CT Abdomen")
    return Hl7Peer.objects.get()


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    folder = tmp_path / "orders"
    folder.mkdir()
    return folder


@pytest.fixture
def send(tool: Callable[[str], str], orders: Path) -> Callable[[int], int]:
    """Run the script once against a port; how it ended."""
    php = tool("php")

    def run(port: int) -> int:
        command = [php, str(INTERFACE / "send_orders.php"), str(orders), "127.0.0.1", str(port)]
        return subprocess.run(command, check=False, timeout=90, capture_output=True).returncode

    return run


def answer(order: bytes) -> str:
    given = hand_in(order)
    assert given is not None
    return given.decode().split("\r")[1].split("|")[1]


def folders(orders: Path) -> dict[str, list[str]]:
    """Which files lie where, by the number of the order."""
    return {
        name: sorted(file.name.split("-")[0].split(".")[0] for file in (orders / name).glob("*.txt"))
        for name in ("", "sent", "refused")
    }


def test_an_order_becomes_a_worklist_entry_and_its_images_are_bound_to_it(
    orders: Path,
    send: Callable[[int], int],
    hl7_server: Daemon,
    dimse_server: Daemon,
    tool: Callable[[str], str],
    tmp_path: Path,
) -> None:
    make_device("CT1")
    make_node("CT1")
    now = timezone.localtime().strftime("%Y%m%d%H%M%S")
    OpenEmrOrder(12, [CHEST], insurers=["BPJS Kesehatan"], medications="Aspirin 81 mg").transmit(orders, now)
    assert send(hl7_server.port) == SENT
    assert folders(orders) == {"": [], "sent": ["0012"], "refused": []}
    (entry,) = findscu(
        tool("findscu"), dimse_server.port, tmp_path,
        "PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyInstanceUID", "RequestingPhysician",
        "PlacerOrderNumberImagingServiceRequest", "ScheduledProcedureStepSequence[0].Modality",
    )  # fmt: skip
    assert (entry.PatientName, entry.PatientID, entry.IssuerOfPatientID) == ("WIBOWO^BUDI", "7", "OPENEMR")
    assert entry.PlacerOrderNumberImagingServiceRequest == "0012" and entry.RequestingPhysician == "SARI^DEWI"
    assert entry.ScheduledProcedureStepSequence[0].Modality == "CT"
    image = ct(
        StudyInstanceUID=entry.StudyInstanceUID, AccessionNumber=entry.AccessionNumber, PatientID=entry.PatientID,
        PatientName=str(entry.PatientName), IssuerOfPatientID=entry.IssuerOfPatientID, PatientBirthDate="19700131",
    )  # fmt: skip
    (tmp_path / "image.dcm").write_bytes(part10(image))
    command = [tool("storescu"), "-aet", "CT1", "-aec", "MINIPACS", "127.0.0.1", str(dimse_server.port)]
    subprocess.run([*command, str(tmp_path / "image.dcm")], check=True, timeout=60)
    study, order = Study.objects.get(), Order.objects.get()
    assert study.patient_ref == order.patient_ref == Patient.objects.get()
    assert study.study_instance_uid == order.requested_procedures.get().study_instance_uid
    assert order.accession_number == study.accession_number != "I"  # what OpenEMR writes in OBR-18


def test_what_openemr_says_of_an_order_is_read() -> None:
    answers = {"Q1": "Claustrophobic", "Q2": "7"}
    ordered = OpenEmrOrder(
        13, [CHEST, Ordered("CTABD", "CT Abdomen", specimen="x", answers=answers)],
        last="O'BRIEN & SÖHNE|X", middle="A^B", priority="high", phone="0812 3456 7890", sex="Unassigned",
    )  # fmt: skip
    assert answer(ordered.message()) == "AA"
    order = Order.objects.get()
    assert (order.priority, order.placer_order_number, order.admission_id) == ("STAT", "0013", "31")
    assert order.requesting_physician == "SARI^DEWI"
    assert order.reason_for_the_requested_procedure == "Tuberculosis of lung"
    wanted = order.requested_procedures.order_by("pk")
    assert [(each.procedure_code_value, each.modality) for each in wanted] == [("CTTHX", "CT"), ("CTABD", "CT")]
    patient = order.patient_ref
    assert (patient.patient_id, patient.issuer_of_patient_id) == ("7", "OPENEMR")
    assert patient.patient_name.startswith("O'BRIEN & SÖHNE|X^BUDI^A")
    assert (patient.patient_birth_date, patient.patient_sex) == ("19700131", "")
    assert patient.patient_telephone_numbers == "456-7890"  # all that OpenEMR sends of a number of twelve digits


def test_two_orders_are_two_and_one_that_is_sent_again_is_one() -> None:
    """MSH-10 is the number of the order: sent again from its page it is the same, with another time."""
    first, other = OpenEmrOrder(14, [CHEST]), OpenEmrOrder(15, [CHEST], pid=8, last="SANTOSO", born="1980-02-03")
    assert [answer(each.message()) for each in (first, other, first)] == ["AA"] * 3
    assert answer(first.message("20260126090000")) == "AA"
    assert sorted(Order.objects.values_list("placer_order_number", flat=True)) == ["0014", "0015"]
    assert len(set(Order.objects.values_list("accession_number", flat=True))) == 2


def test_another_system_with_the_same_numbers_is_another_patient() -> None:
    make_patient("7", "SOMEBODY^ELSE", issuer_of_patient_id="RSUD")
    assert answer(OpenEmrOrder(16, [CHEST]).message()) == "AA"
    assert Order.objects.get().patient_ref.issuer_of_patient_id == "OPENEMR"


def test_what_is_refused_stands_aside_with_its_reason(
    orders: Path, send: Callable[[int], int], hl7_server: Daemon
) -> None:
    OpenEmrOrder(20, [CHEST], production="D").transmit(orders, seconds_ago=30)
    OpenEmrOrder(21, [Ordered("MRBRAIN", "MR Brain")], pid=9, last="LIM").transmit(orders, seconds_ago=20)
    OpenEmrOrder(22, [CHEST]).transmit(orders, seconds_ago=10)
    assert send(hl7_server.port) == REFUSED
    assert folders(orders) == {"": [], "sent": ["0022"], "refused": ["0020", "0021"]}
    reasons = [file.read_text() for file in sorted((orders / "refused").glob("*.reason"))]
    assert reasons[0].startswith("AR ") and reasons[1].startswith("AE ") and "MRBRAIN" in reasons[1]
    assert Order.objects.get().placer_order_number == "0022"
    make_procedure("MRBRAIN", "MR Brain", modality="MR")
    (again,) = (orders / "refused").glob("0021*.txt")
    os.rename(again, orders / "0021.txt")
    assert send(hl7_server.port) == SENT
    assert Order.objects.count() == 2


def test_files_wait_until_they_are_whole_and_until_somebody_answers(
    orders: Path, send: Callable[[int], int], hl7_server: Daemon
) -> None:
    assert send(free_port()) == SENT  # nothing to send
    OpenEmrOrder(30, [CHEST]).transmit(orders)
    assert send(free_port()) == NO_ANSWER
    half = OpenEmrOrder(31, [CHEST]).transmit(orders, seconds_ago=-60)
    whole = half.read_bytes()
    half.write_bytes(whole[:200])
    os.utime(half)
    assert send(hl7_server.port) == SENT
    assert folders(orders) == {"": ["0031"], "sent": ["0030"], "refused": []}
    half.write_bytes(whole)
    os.utime(half, (1, 1))
    assert send(hl7_server.port) == SENT
    assert Order.objects.count() == 2


def test_runs_at_once_send_each_file_once(orders: Path, send: Callable[[int], int], hl7_server: Daemon) -> None:
    for number in range(40, 60):
        OpenEmrOrder(number, [CHEST]).transmit(orders, seconds_ago=100 - number)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(send, [hl7_server.port] * 3)) == [SENT] * 3
    assert send(hl7_server.port) == SENT
    assert folders(orders)["sent"] == [f"00{number}" for number in range(40, 60)]
    numbers = Hl7Message.objects.order_by("pk").values_list("message_control_id", flat=True)
    assert list(numbers) == [f"00{number}" for number in range(40, 60)]  # the oldest first


REPORT = (
    "MSH|^~\\&|SINAR|RAD|OPENEMR|KLINIK|20260125090000+0700||ORU^R01|R1|P|2.3||||||UNICODE UTF-8\r"
    "PID|1||7^^^OPENEMR^MR||WIBOWO^BUDI||19700131|M|||Jl. Merdeka 1||(021)555-1234\r"
    "PV1|1|U|||||||||||||||||31\rORC|RE|0012|A1\rOBR|1|0012|A1|CTTHX^CT Thorax|||||||||||||||||||||F\r"
    "ZDS|1.2.3^SINAR^Application^DICOM\rOBX|1|TX|CTTHX^CT Thorax||Cor: normal, 80 µm||||||F\r"
)


@pytest.fixture
def results(tool: Callable[[str], str], tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The script that takes reports: its port, and OpenEMR's folder of results."""
    folder, port = tmp_path / "results", free_port()
    folder.mkdir()
    command = [tool("php"), str(INTERFACE / "receive_results.php"), str(folder), str(port), "127.0.0.1"]
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: accepts(port), what="the script listens")
        yield port, folder
    finally:
        process.terminate()
        process.wait(10)


def test_a_report_becomes_a_file_that_openemr_imports_once(results: tuple[int, Path]) -> None:
    port, folder = results
    with MllpClient(port) as silent, MllpClient(port) as client:
        silent.send(b"\x0bMSH|half")
        answer = client.ask(REPORT)
        assert (answer.code, answer.control_id) == ("AA", "R1")
        assert answer.segment("MSH")[2:6] == ["OPENEMR", "KLINIK", "SINAR", "RAD"]
        (file,) = folder.glob("*.hl7")
        lines = file.read_bytes().decode().split("\r")
        assert [line[:3] for line in lines] == ["MSH", "PID", "PV1", "ORC", "OBR", "OBX", ""]
        assert lines[5] in REPORT and "ZDS" not in file.read_text()
        file.unlink()  # as OpenEMR does with what it has imported
        client.send(REPORT.join(["\x0b", "\x1c\r"]).encode()[:50])
        client.send(REPORT.join(["\x0b", "\x1c\r"]).encode()[50:])
        assert client.receive().code == "AA"
        assert not list(folder.glob("*.hl7"))
        assert client.ask(REPORT.replace("|F\r", "|C\r")).code == "AA"
        assert len(list(folder.glob("*.hl7"))) == 1
        assert all(each.name.startswith(".") or each.suffix == ".hl7" for each in folder.iterdir())


def test_what_openemr_cannot_import_or_keep_is_not_accepted(results: tuple[int, Path]) -> None:
    port, folder = results
    with MllpClient(port) as client:
        assert client.ask(REPORT.replace("ORU^R01", "ORM^O01")).code == "AR"
        assert client.ask("nonsense\r").code == "AR"
        shutil.rmtree(folder)
        assert client.ask(REPORT).code == "AE"
        folder.mkdir()
        (folder / ".seen").mkdir()
        assert client.ask(REPORT).code == "AA"
        assert len(list(folder.glob("*.hl7"))) == 1


def test_our_sender_understands_its_answers(results: tuple[int, Path]) -> None:
    port, _folder = results
    there = {"addresses": [], "destination_host": "127.0.0.1", "destination_port": port, "sends_patients": True}
    sent = put(make_peer("OpenEMR results", **there), make_patient("1"))
    send_all()
    assert row(sent).state == MessageState.DEAD and "reports (ORU) only" in sent.error


# What the module needs of OpenEMR: who is signed in, and the events of the menu.
GLOBALS = """<?php
namespace OpenEMR\\Common\\Acl;
class AclMain {
    static function aclCheckCore($section, $value) { return ($_COOKIE['may'] ?? '') === "$section/$value"; }
}
"""
MENU = """<?php
namespace OpenEMR\\Menu { class PatientMenuEvent {
    const MENU_UPDATE = 'patient.menu.update';
    function __construct(private $menu) {}
    function getMenu() { return $this->menu; }
    function setMenu(array $menu) { $this->menu = $menu; }
} }
namespace {
    class Dispatcher { public $heard; function addListener($name, $call) { $this->heard[$name] = $call; } }
    $GLOBALS['webroot'] = '/openemr';
    $eventDispatcher = new Dispatcher();
    include $argv[1];
    $event = new OpenEMR\\Menu\\PatientMenuEvent([(object) ['label' => 'Dashboard']]);
    $eventDispatcher->heard['patient.menu.update']($event);
    echo json_encode($event->getMenu());
}
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """The module where OpenEMR has it, below a stand-in for what it uses of OpenEMR."""
    folder = tmp_path / "openemr" / "interface" / "modules" / "custom_modules" / "oe-module-sinar"
    shutil.copytree(INTERFACE / "oe-module-sinar", folder)
    (tmp_path / "openemr" / "interface" / "globals.php").write_text(GLOBALS)
    return folder


@contextmanager
def openemr(php: str, module: Path) -> Iterator[str]:
    """PHP's web server with the module; the address of its page."""
    port = free_port()
    root = module.parents[3]
    process = subprocess.Popen([php, "-S", f"127.0.0.1:{port}", "-t", str(root)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), what="php listens")
        yield f"http://127.0.0.1:{port}/interface/modules/custom_modules/oe-module-sinar/public/images.php"
    finally:
        process.terminate()
        process.wait(10)


def test_the_module_adds_a_tab_to_the_patients_record(module: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    (tmp_path / "menu.php").write_text(MENU)
    command = [tool("php"), str(tmp_path / "menu.php"), str(module / "openemr.bootstrap.php")]
    shown = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
    assert [each["label"] for each in shown] == ["Dashboard", "Images"]
    item = shown[1]
    assert (item["pid"], item["acl_req"], item["requirement"]) == ("true", ["patients", "med"], 0)
    assert item["url"].startswith("/openemr/interface/") and item["url"].endswith("/public/images.php?pid=")
    assert '"' not in item["on_click"]  # OpenEMR writes it into an attribute as it stands


def test_who_may_see_the_record_is_led_to_the_patients_images(
    module: Path, web_server: Daemon, tool: Callable[[str], str]
) -> None:
    assert answer(OpenEmrOrder(70, [CHEST]).message()) == "AA"
    site = Order.objects.get().site
    study = received(site, PatientID="7", IssuerOfPatientID="OPENEMR", PatientName="WIBOWO^BUDI")
    store(site, part10(ct(PatientID="7", IssuerOfPatientID="OTHER", StudyInstanceUID=generate_uid())))
    _, secret = signer("openemr")
    configuration = module / "config.php"
    edited = configuration.read_text().replace("https://pacs.hospital.com", web_server.url)
    configuration.write_text(edited.replace("'secret' => ''", f"'secret' => '{secret}'"))
    with openemr(tool("php"), module) as page:

        def get(number: str, may: str = "patients/med") -> Any:
            return requests.get(page, {"pid": number}, cookies={"may": may}, allow_redirects=False, timeout=30)

        assert get("7", may="").status_code == get("7' OR 1").status_code == get("").status_code == 403
        led = get("7")
        assert led.status_code == 302 and led.headers["Referrer-Policy"] == "no-referrer"
        browser = requests.Session()
        shown = browser.get(led.headers["Location"], timeout=30)
        assert shown.status_code == 200 and "signature" not in shown.url
        found = browser.get(f"{web_server.url}/dicom-web/studies", timeout=30).json()
        assert [each["0020000D"]["Value"] for each in found] == [[study.study_instance_uid]]
        configuration.write_text(edited)
        assert get("7").headers["Location"] == f"{web_server.url}/worklist?patientId=7"


def test_a_signed_report_becomes_a_file_that_openemr_imports(peer: Hl7Peer, results: tuple[int, Path]) -> None:
    """By what its import requires of segments and fields (docs/openemr.md)."""
    port, folder = results
    Hl7Peer.objects.filter(pk=peer.pk).update(destination_host="127.0.0.1", destination_port=port)
    assert answer(OpenEmrOrder(12, [CHEST]).message()) == "AA"
    procedure = Order.objects.get().requested_procedures.get()
    who = make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")
    text = {"findings": "Cor normal.\nPulmo normal.", "impression": "Normal."}
    report = write_draft(procedure=procedure, sections=text, who=who)
    sign_report(report=report, version=1, who=who)
    send_all()
    (file,) = folder.glob("*.hl7")
    raw = file.read_bytes().decode()
    assert raw == bytes(Hl7Message.objects.get(message_code="ORU").raw).decode()  # nothing had to be left out
    lines = [line.split("|") for line in raw.split("\r") if line]
    assert {line[0] for line in lines} <= {"MSH", "PID", "PV1", "ORC", "OBR", "OBX"}
    segments = {line[0]: line for line in lines}
    assert segments["MSH"][8] == "ORU^R01" and len(segments["PID"]) > 8
    assert segments["PV1"][19] == "31" and segments["ORC"][2] == segments["OBR"][2] == "0012"
    assert segments["OBR"][4].split("^")[:2] == ["CTTHX", "CT Thorax"] and segments["OBR"][25] == "F"
    observed = [line for line in lines if line[0] == "OBX"]
    assert all(line[3].count("^") >= 1 and line[11] == "F" for line in observed)
    assert [line[5] for line in observed if line[2] == "TX"] == ["Cor normal.", "Pulmo normal.", "Normal."]
    (pdf,) = (line[5].split("^") for line in observed if line[2] == "ED")
    assert pdf[2:4] == ["PDF", "Base64"] and base64.b64decode(pdf[4]).startswith(b"%PDF-")


def test_a_status_is_no_message_for_openemr_and_none_is_sent(peer: Hl7Peer) -> None:
    """Its import takes files of results only: the configuration asks for nothing else."""
    assert answer(OpenEmrOrder(80, [CHEST]).message()) == "AA"
    assert peer.receives and not Hl7Message.objects.filter(state=MessageState.WAITING).exists()
    assert last_message().message_code == "ORM"


def test_who_else_comes_from_that_address_is_not_openemr(hl7_server: Daemon) -> None:
    with MllpClient(hl7_server.port) as client:
        assert client.ask(message("ADT^A08", pid())).code == "AR"
