"""Mirth Connect and Open Integration Engine: the channels of deploy/interfaces/mirth, and their side of the wire."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as product
from django.core.management import call_command

from integrations.hl7 import queries
from integrations.hl7.dispatch import HANDLERS
from integrations.models import Hl7Message, Hl7Peer, MessageState
from radiology.models import Order, Patient
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.orders import place_order
from tests.daemons import ROOT, Daemon, free_port
from tests.factories import default_site, make_patient
from tests.integrations.mirth import Channel, TcpSender, generated_ack, validated
from tests.integrations.mllp_client import END, START, control_id, message, pid
from tests.integrations.outgoing import IMPATIENT, make_due, put, row
from tests.integrations.receiver import Receiver, field, send_all

INTERFACE = ROOT / "deploy" / "interfaces" / "mirth"
CHANNELS = {file.stem: Channel(file) for file in sorted(INTERFACE.glob("*.xml"))}
TO_SINAR = ("hospital-to-sinar", "openemr-orders-to-sinar")
FROM_SINAR = ("sinar-to-hospital", "sinar-to-openemr")


def configured(tmp_path: Path, port: int = 6662) -> Hl7Peer:
    """Mirth as the configuration file makes it, on this machine."""
    told = json.loads((INTERFACE / "sinar.json").read_text(encoding="utf-8"))
    told["hl7_peers"][0] |= {"addresses": ["127.0.0.1"], "destination_host": "127.0.0.1", "destination_port": port}
    (tmp_path / "sinar.json").write_text(json.dumps(told))
    call_command("configuration", "import", str(tmp_path / "sinar.json"))
    return Hl7Peer.objects.get()


class TestChannels:
    def test_each_has_an_identity_and_one_version_throughout(self) -> None:
        assert sorted(CHANNELS) == sorted(TO_SINAR + FROM_SINAR)
        ids = [uuid.UUID(each.root.findtext("id")) for each in CHANNELS.values()]
        names = {each.root.findtext("name") for each in CHANNELS.values()}
        assert len(set(ids)) == len(names) == len(CHANNELS)
        for channel in CHANNELS.values():
            assert channel.root.tag == "channel"
            assert {each.get("version") for each in channel.root.iter() if each.get("version")} == {"3.12.0"}
            assert channel.root.findtext("properties/initialState") == "STARTED"
            assert all(each.findtext("enabled") == "true" for each in channel.connectors)

    def test_framing_and_characters_are_ours(self) -> None:
        for channel in CHANNELS.values():
            for transport, told in zip(channel.transports, (channel.source, channel.destination), strict=True):
                assert told["charsetEncoding"] == "UTF-8"
                if transport.startswith("TCP"):
                    framing = (told["startOfMessageBytes"], told["endOfMessageBytes"], told["useMLLPv2"])
                    assert framing == (START.hex().upper(), END.hex().upper(), "false")
                    assert told["keepConnectionOpen"] == "true" and told["dataTypeBinary"] == "false"
            for element in channel.root.iter("segmentDelimiter"):
                assert element.text == "\\r"

    @pytest.mark.parametrize("name", TO_SINAR)
    def test_what_comes_to_us_is_kept_until_it_is_answered_in_order(self, name: str) -> None:
        told = CHANNELS[name].destination
        assert CHANNELS[name].transports[1] == "TCP Sender"
        assert int(told["remotePort"]) in product.SINAR_HL7_PORTS
        assert (told["queueEnabled"], told["threadCount"], told["rotate"]) == ("true", "1", "false")
        assert (told["validateResponse"], told["ignoreResponse"]) == ("true", "false")
        assert told["queueOnResponseTimeout"] == "true"
        assert CHANNELS[name].source["processingThreads"] == "1"
        validation = CHANNELS[name].root.find("destinationConnectors/connector/responseTransformer/inboundProperties")
        assert validation is not None
        codes = validation.find("responseValidationProperties")
        assert codes is not None and codes.findtext("validateMessageControlId") == "true"
        said = [codes.findtext(each) for each in ("successfulACKCode", "errorACKCode", "rejectedACKCode")]
        assert said == ["AA,CA", "AE,CE", "AR,CR"]
        assert "msg['MSH']['MSH.18']['MSH.18.1'] = 'UNICODE UTF-8'" in CHANNELS[name].scripts()

    def test_what_we_take_in_passes_and_nothing_else(self) -> None:
        asked = {code for code, _event in queries.EVENTS}  # Mirth would answer these itself
        assert CHANNELS["hospital-to-sinar"].words("return ") == {code for code, _event in HANDLERS} - asked

    def test_our_messages_are_answered_by_who_got_them(self, tmp_path: Path, db: None) -> None:
        peer = configured(tmp_path)
        hospital, openemr = (CHANNELS[name] for name in FROM_SINAR)
        assert int(hospital.source["port"]) == peer.destination_port
        assert hospital.source["responseVariable"] == "d1" and hospital.destination["queueEnabled"] == "false"
        assert openemr.source["responseVariable"] == "Auto-generate (Destinations completed)"
        assert (openemr.transports[1], openemr.destination["temporary"]) == ("File Writer", "true")
        ports = [CHANNELS[name].source["port"] for name in (*FROM_SINAR, "hospital-to-sinar")]
        assert len(set(ports)) == 3
        # Mirth waits for the hospital less long than we wait for Mirth.
        assert int(hospital.destination["responseTimeout"]) < product.HL7["ANSWER_SECONDS"] * 1000

    def test_openemr_is_given_the_segments_that_it_reads(self) -> None:
        assert CHANNELS["sinar-to-openemr"].words("read = ") == {
            "MSH", "PID", "PD1", "PV1", "ORC", "OBR", "NTE", "OBX", "SPM", "TQ1", "ZEF", "ZPS",
        }  # fmt: skip
        guide = (ROOT / "docs" / "openemr.md").read_text(encoding="utf-8")
        assert "MSH, PID, PD1, PV1, ORC, OBR, NTE, OBX, SPM, TQ1, ZEF, ZPS." in guide

    def test_files_of_openemr_are_read_when_they_are_whole(self) -> None:
        told = CHANNELS["openemr-orders-to-sinar"].source
        assert (told["fileFilter"], told["checkFileAge"], told["fileAge"]) == ("*.txt", "true", "2000")
        assert told["sortBy"] == "date"
        assert told["afterProcessingAction"] == "MOVE" and told["moveToDirectory"] == told["host"] + "/sent"


class TestSendingToUs:
    """Mirth's TCP Sender with its queue, against the daemon."""

    @pytest.fixture
    def sender(self, committed_db: None, tmp_path: Path, hl7_server: Daemon) -> Iterator[TcpSender]:
        configured(tmp_path)
        sender = TcpSender(hl7_server.port)
        yield sender
        sender.close()

    def test_a_queue_goes_out_over_one_connection(self, sender: TcpSender) -> None:
        ids = [control_id() for _ in range(12)]
        for number, own_id in enumerate(ids[:10]):
            sender.queue.append(message("ADT^A08", pid("7", f"N{number}^X"), own_id=own_id).encode())
        for number, own_id in enumerate(ids[10:]):
            order = (f"ORC|NW|P{number}", f"OBR|1|P{number}||CTTHX^CT Thorax|||||||||||||||||||CT")
            sender.queue.append(message("ORM^O01", pid("7", "N9^X"), *order, own_id=own_id).encode())
        sender.work()
        assert (sender.sent, sender.failed, sender.connections) == (ids, {}, 1)
        assert Patient.objects.get().patient_name == "N9^X" and Order.objects.count() == 2

    def test_what_timed_out_is_sent_again_and_done_once(self, sender: TcpSender) -> None:
        order = message("ORM^O01", pid("7"), "ORC|NW|P1", "OBR|1|P1||CTTHX^CT Thorax|||||||||||||||||||CT").encode()
        sender.queue += [order, message("ADT^A08", pid("7", "LATER^X")).encode()]
        sender.response_timeout = 0.0001
        sender.work(attempts=3)
        assert len(sender.queue) == 2 and not sender.sent
        sender.response_timeout = 30.0
        sender.work()
        assert len(sender.sent) == 2 and not sender.failed and sender.connections > 1
        assert Order.objects.count() == 1
        assert Patient.objects.get().patient_name == "LATER^X"

    def test_nobody_at_home_keeps_the_queue(self, sender: TcpSender) -> None:
        sender.queue.append(message("ADT^A08", pid("7")).encode())
        there, sender.port = sender.port, free_port()
        with pytest.raises(ConnectionRefusedError):
            sender.work()
        sender.port = there
        sender.work()
        assert len(sender.sent) == 1

    def test_a_refusal_is_an_error_with_its_reason_and_holds_up_nobody(self, sender: TcpSender) -> None:
        bad = [message("ADT^A08", pid("", "WIBOWO^BUDI")), message("ORU^R01", pid("7"), "OBR|1")]
        sender.queue += [each.encode() for each in (*bad, message("ADT^A08", pid("7")))]
        sender.work()
        assert len(sender.failed) == 2 and len(sender.sent) == 1
        assert all("PID-3" in why or "MSH-9" in why for why in sender.failed.values()), sender.failed

    def test_a_hospital_that_asks_for_two_answers_does_not_confuse_it(self, sender: TcpSender) -> None:
        """It reads one answer for each message: a second one would be taken for that of the next message."""
        header = "MSH|^~\\&|SIMRS|RSUD|SINAR|RAD|20260125083000||ADT^A08|{}|P|2.5|||AL|AL\r{}\r"
        messages = [header.format(control_id(), pid(str(number))).encode() for number in range(3)]
        sender.queue += messages
        sender.work()
        assert len(sender.sent) == 3, sender.failed
        Hl7Peer.objects.update(acknowledgment_mode="message")
        sender.queue += [header.format(control_id(), pid(str(number))).encode() for number in range(3)]
        sender.work()
        assert sender.failed  # what the setting of the configuration file is for


class TestReceivingFromUs:
    """Mirth's TCP Listener, with the answers that it generates or passes on."""

    @pytest.fixture(autouse=True)
    def impatient(self, settings: Any, db: None) -> None:
        settings.HL7 = {**settings.HL7, **IMPATIENT}

    @pytest.fixture
    def mirth(self) -> Iterator[Receiver]:
        with Receiver(lambda message: [generated_ack(str(message))]) as running:
            yield running

    @pytest.mark.parametrize(("version", "kind"), [("2.3", "ACK"), ("2.3.1", "ACK"), ("2.5.1", "ACK^A28^ACK")])
    def test_its_own_answer_is_enough(self, mirth: Receiver, tmp_path: Path, version: str, kind: str) -> None:
        peer = configured(tmp_path, mirth.port)
        peer.sent_version = version
        peer.save()
        sent = put(peer, make_patient("1"))
        send_all()
        assert row(sent).state == MessageState.PROCESSED and sent.acknowledgment_code == "AA"
        assert f"||{kind}|2026".encode() in bytes(sent.acknowledgment)
        assert bytes(sent.acknowledgment).startswith(b"MSH|^~\\&|MIRTH||SINAR|")  # who sent and who received, swapped

    @pytest.mark.parametrize(
        ("code", "text", "state"),
        [
            ("AE", "An Error Occurred Processing Message.", MessageState.FAILED),
            ("AR", "Message Rejected.", MessageState.DEAD),
        ],
    )
    def test_its_refusals_are_told_from_each_other(
        self, mirth: Receiver, tmp_path: Path, code: str, text: str, state: str
    ) -> None:
        mirth.answers = lambda message: [generated_ack(str(message), code, text)]
        sent = put(configured(tmp_path, mirth.port), make_patient("1"))
        send_all()
        assert row(sent).state == state and text in sent.error
        assert (sent.due_at is None) == (state == MessageState.DEAD)  # what failed is tried again

    def test_an_empty_answer_says_that_the_hospital_is_away(self, mirth: Receiver, tmp_path: Path) -> None:
        """A destination that failed has no response, and its listener frames nothing: the message stays ours."""
        mirth.answers = lambda message: [""]
        sent = put(configured(tmp_path, mirth.port), make_patient("1"))
        send_all()
        assert row(sent).state == MessageState.FAILED and sent.due_at is not None
        mirth.answers = lambda message: [generated_ack(str(message))]
        make_due()
        send_all()
        assert row(sent).state == MessageState.PROCESSED
        assert [str(each) for each in mirth.messages] == [bytes(sent.raw).decode()] * 2

    def test_the_hospitals_number_comes_home_through_it(self, mirth: Receiver, tmp_path: Path) -> None:
        def hospital(message: Any) -> list[str]:
            number = f"ORC|NA|P-4711|{field(message, 'ORC', 3)}\r"
            return [generated_ack(str(message)) + number]

        mirth.answers = hospital
        configured(tmp_path, mirth.port)
        place_order(
            site=default_site(), patient=make_patient("001234"), accept_warnings=True, asks_safety=False, values={},
            procedures=[ProcedureRequest(code="CTTHX", description="CT Thorax", modality="CT")],
        )  # fmt: skip
        send_all()
        assert Order.objects.get().placer_order_number == "P-4711"
        (told,) = Hl7Message.objects.all()
        assert validated(bytes(told.acknowledgment).decode(), told.message_control_id) == ("SENT", "")
