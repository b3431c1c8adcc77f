"""No log of a running installation holds a patient's name or number, a password, a token or a search.

A day of everything that goes right and wrong passes through the daemons; then every line that they
printed is searched. Controls show that the search finds what is there, and that the usual
configurations of the same programs would have printed it.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import psycopg
import pytest
import requests
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import build_context

from deploy.postgres import Postgres
from pacs.models import HeldObject, Study
from radiology.models import Job, JobState, Patient, User
from radiology.services.jobs import enqueue
from radiology.tasks import run_due_jobs
from tests.daemons import Daemon, dimse_daemon, wait_until, web_daemon, worker_daemon
from tests.factories import make_node, make_token
from tests.pacs.dimse_client import Sent, associate, of_data_set, store
from tests.pacs.objects import ct, part10

FAMILY, GIVEN, OTHER = "QORIATUNXA", "ZULKARNAENX", "PRAWIRODIRDJOX"
POLISH = "Żółtańskix"
MRN, NIK = "RMX-778812", "3171099988887777"
PASSWORD = "kata-sandi-RAHASIA-7"
QUESTION = "PERTANYAANX"
SECRETS = [FAMILY, GIVEN, OTHER, POLISH, MRN, NIK, PASSWORD, QUESTION]

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"

pytestmark = pytest.mark.usefixtures("committed_db")


def found_in(text: str, secrets: list[str]) -> list[str]:
    """Those of `secrets` that stand in `text`, however a log may have escaped them."""
    text = text.lower()
    forms = (str, lambda s: json.dumps(s)[1:-1], quote, quote_plus, lambda s: repr(s.encode())[2:-1])
    return [secret for secret in secrets if any(form(secret).lower() in text for form in forms)]


@pytest.fixture
def daemons(start: Callable[[Daemon], Daemon]) -> Iterator[dict[str, Daemon]]:
    yield {daemon.name: start(daemon) for daemon in (dimse_daemon(), web_daemon(), worker_daemon())}


def objects() -> list[Sent]:
    """Data sets that are fine, conflicting, contradictory, malformed, and none at all."""
    study, series = generate_uid(), generate_uid()
    named: dict[str, Any] = {"PatientName": f"{FAMILY}^{GIVEN}", "PatientID": MRN, "ReferringPhysicianName": OTHER}
    named |= {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    fine = ct(**named)
    other_pixels = ct(**named, SOPInstanceUID=fine.SOPInstanceUID, seed=1)
    other_patient = ct(**{**named, "PatientName": POLISH, "PatientID": NIK, "PatientBirthDate": "19990101"})
    too_long = ct(**{**named, "PatientID": MRN * 9}, OtherPatientNames=FAMILY * 30)
    without_uid = ct(**named, SOPInstanceUID=None)
    bad_values = ct(**named, StudyDate="20260102", PatientAge="042Y")
    sent = [of_data_set(each) for each in (fine, other_pixels, other_patient, too_long, without_uid, bad_values)]
    undecodable = replace(sent[0], data=sent[0].data.replace(GIVEN.encode(), b"\xff\xfe" + GIVEN[2:].encode()))
    wrong_date = replace(sent[5], data=sent[5].data.replace(b"20260102", FAMILY[:8].encode()))
    wrong_age = replace(sent[5], data=sent[5].data.replace(b"042Y", MRN[:4].encode()))
    cut = replace(sent[0], data=sent[0].data[:700])
    nonsense = replace(sent[0], data=f"{FAMILY}^{GIVEN} {MRN}".encode() * 40)
    another = replace(sent[0], sop_instance_uid=generate_uid())
    return [*sent, undecodable, wrong_date, wrong_age, cut, nonsense, another]


def talk_dicom(port: int, dead_node: int) -> None:
    for sent in objects():
        store(port, [sent])
    make_node("DEADNODE", port=dead_node)
    keys = [
        {"PatientName": f"{FAMILY}*", "PatientID": ""},
        {"PatientID": MRN, "StudyDate": QUESTION[:8]},
        {"PatientName": f"*{GIVEN}*^\\{POLISH}"},
        {"PatientID": MRN * 9, "StudyInstanceUID": QUESTION},
        {"StudyTime": QUESTION[:8], "AccessionNumber": f"{QUESTION}?"},
    ]
    for model in (PATIENT_ROOT_FIND, STUDY_ROOT_FIND):
        association = associate(port, [build_context(model)])
        for wanted in keys:
            for level in ("PATIENT", "STUDY", FAMILY):
                identifier = Dataset()
                identifier.SpecificCharacterSet = "ISO_IR 192"
                identifier.QueryRetrieveLevel = level
                for keyword, value in wanted.items():
                    setattr(identifier, keyword, value)
                list(association.send_c_find(identifier, model))
        association.release()
    association = associate(port, [build_context(STUDY_ROOT_MOVE)])
    for destination in ("DEADNODE", "NOBODY"):
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "STUDY"
        identifier.PatientID = MRN
        identifier.StudyInstanceUID = [str(uid) for uid in Study.objects.values_list("study_instance_uid", flat=True)]
        list(association.send_c_move(identifier, destination, STUDY_ROOT_MOVE))
    association.release()


def talk_http(web: Daemon, token: str) -> None:
    for body in bodies():
        requests.post(
            f"{web.url}/dicom-web/studies?patientId={MRN}",
            data=body,
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": 'multipart/related; type="application/dicom"; boundary=b',
            },
            timeout=30,
        )
    searches = f"PatientName={FAMILY}*&PatientID={MRN}&patientId={MRN}&q={QUESTION}&token={token}"
    paths = ["/dicom-web/studies", "/dicom-web/studies/1.2.3/metadata", "/dicom-web/series", "/worklist", "/nowhere"]
    paths += [
        "/viewer",
        "/studies/1.2.3",
        "/patients/00000000-0000-0000-0000-000000000000",
        "/admin/radiology/patient/",
    ]
    for path in paths:
        for credentials in ({}, {"Authorization": f"Bearer {token}"}, {"Authorization": f"Bearer {QUESTION}"}):
            requests.get(f"{web.url}{path}?{searches}", headers=credentials, timeout=30)
        requests.get(f"{web.url}{path}?{searches}&limit={QUESTION}", auth=(FAMILY, PASSWORD), timeout=30)
        requests.put(f"{web.url}{path}?{searches}", data={"name": FAMILY}, timeout=30)

    person = requests.Session()
    sign_in = f"{web.url}/accounts/login/?next=/worklist?patientId={MRN}"
    person.get(sign_in, timeout=30)
    form = {"csrfmiddlewaretoken": person.cookies["csrftoken"], "login": FAMILY, "password": PASSWORD}
    assert person.post(sign_in, data=form, headers={"Referer": sign_in}, timeout=30).status_code == 200
    assert requests.post(sign_in, data=form, timeout=30).status_code == 403  # no cookie: refused as forged
    signed_in = person.post(sign_in, data={**form, "login": "chief"}, headers={"Referer": sign_in}, timeout=30)
    assert "_auth" not in signed_in.text
    for path in [
        "/",
        "/worklist",
        "/viewer",
        "/nowhere",
        "/studies/9.9",
        "/admin/radiology/patient/",
        "/admin/pacs/study/",
    ]:
        person.get(f"{web.url}{path}?{searches}", timeout=30)
    patient = Patient.objects.filter(patient_id=MRN).first()
    assert patient is not None
    forged = {
        "csrfmiddlewaretoken": person.cookies["csrftoken"],
        "patient_id": MRN,
        "patient_name": FAMILY,
        "site": "1",
    }
    person.post(f"{web.url}/admin/radiology/patient/add/", data=forged, headers={"Referer": web.url}, timeout=30)
    person.get(f"{web.url}/admin/radiology/patient/{patient.pk}/change/?{searches}", timeout=30)

    for request in (
        f"GET /worklist?patientId={MRN}&name={FAMILY} {GIVEN} NONSENSE\r\n\r\n",
        f"GET /?patientId={MRN} HTTP/1.1\r\nHost: {FAMILY}\r\n\r\n",
        f"GET /?patientId={MRN} HTTP/1.1\r\nHost: x\r\nX {FAMILY}: 1\r\n\r\n",
        f"{FAMILY} /?{MRN} HTTP/9.9\r\n\r\n",
        f"GET /{'x' * 9000}?{MRN} HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        raw_request(web.port, request)


def bodies() -> Iterator[bytes]:
    """Bodies of a store request: right, cut, with a broken part."""
    file = part10(ct(PatientName=f"{FAMILY}^{OTHER}", PatientID=MRN))
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    yield head + file + b"\r\n--b--\r\n"
    yield head + file
    yield head + file[:600] + b"\r\n--b--\r\n"
    yield head + f"{FAMILY} {MRN}".encode() * 50 + b"\r\n--b--\r\n"
    yield f"--b\r\nContent-Type: {FAMILY}\r\n\r\n{MRN}\r\n--b--\r\n".encode()
    yield f"{FAMILY} {MRN}".encode()


def raw_request(port: int, text: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(text.encode())
        while connection.recv(65536):
            pass


def test_no_log_of_a_day_names_anybody(daemons: dict[str, Daemon], free_port: Callable[[], int]) -> None:
    User.objects.create_superuser("chief", "chief@example.org", PASSWORD)
    _, token = make_token("simrs", scopes=["studies.read", "studies.write"])
    talk_dicom(daemons["dimse"].port, free_port())
    talk_http(daemons["web"], token)
    jobs = [enqueue(kind="pacs.future", arguments={"name": FAMILY, "patient": MRN})]
    run_due_jobs.delay()
    wait_until(lambda: Job.objects.get(pk=jobs[0].pk).state == JobState.DEAD, seconds=40, what="the job failed")

    assert Patient.objects.filter(patient_id=MRN, patient_name__contains=FAMILY).exists(), "the day took place"
    assert HeldObject.objects.exists()
    for daemon in daemons.values():
        daemon.stop()
    output = {name: daemon.output for name, daemon in daemons.items()}
    assert "request refused" in output["web"]
    assert "/dicom-web/studies" in output["web"]
    assert "job failed" in output["worker"]
    assert output["dimse"]
    files = [path for path in daemons["web"].log.parent.rglob("*") if path.is_file()]
    everything = "".join(path.read_text(errors="replace") for path in files)
    assert all(text in everything for text in output.values())
    assert [line for line in everything.splitlines() if found_in(line, [*SECRETS, token])] == []


PROGRAM = f"""
import logging, threading, warnings
import structlog
from django.db import connection
from radiology.models import Patient

def violate():
    Patient.objects.create(patient_id={MRN!r}, patient_name={FAMILY!r})

violate()
try:
    violate()
except Exception as error:
    assert {MRN!r} in str(error), "the control: the text of the error names the patient"
    structlog.get_logger("pacs").exception("store failed")
    structlog.get_logger("pacs").error("store failed", exc_info=error)
    logging.getLogger("django.request").error("Internal Server Error: %s", "/x", exc_info=error)
    logging.getLogger("gunicorn.error").exception("Error handling request %s", "/?patientId={MRN}")
    logging.getLogger("celery.app.trace").error("Task raised: %r", error)
    logging.getLogger("anything").critical("failed", exc_info=True, stack_info=True)
warnings.warn("The value {FAMILY} is not valid")
def fail(name):
    raise ValueError(name)
thread = threading.Thread(target=fail, args=({FAMILY!r},))
thread.start()
thread.join()
fail({FAMILY!r})
"""


def test_exceptions_warnings_and_crashes_are_logged_without_their_texts(web_server: Daemon) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", PROGRAM],
        cwd=Path(__file__).resolve().parent.parent.parent,
        env=web_server.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    printed = done.stdout + done.stderr
    lines = [json.loads(line) for line in printed.splitlines()]
    assert done.returncode == 1
    assert [line["event"] for line in lines].count("store failed") == 2
    assert {line.get("error") for line in lines} >= {"IntegrityError", "ValueError"}
    assert {"process crashed", "thread crashed"} <= {line["event"] for line in lines}
    assert any("violate" in place for line in lines for place in line.get("where", [])), "where it was is told"
    assert found_in(printed, SECRETS) == []


def test_the_databases_log_quotes_no_row(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path("/tmp") / f"sinar-log-{os.getpid()}"
    folder.mkdir(mode=0o711)
    server = Postgres(folder, options={"fsync": "off"})
    log = folder / "postgres.log"
    try:
        password = server.make()
        server.start(log=log)
        dsn = f"host={server.home} dbname=sinar user=sinar"
        with psycopg.connect(f"{dsn} password={password}", autocommit=True) as connection:
            misbehave(connection)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"{dsn} password={PASSWORD}")
        server.stop()
        written = log.read_text(errors="replace")
        assert "password authentication failed" in written, "the log is the one that was written to"
        assert found_in(written, SECRETS) == []
    finally:
        server.stop()
        subprocess.run(["rm", "-rf", str(folder)], check=False)


def misbehave(connection: "psycopg.Connection[Any]") -> None:
    """What PostgreSQL, as it comes, answers with lines that quote rows and statements."""
    connection.execute("CREATE TABLE p (name text UNIQUE, born date CHECK (born > '1900-01-01'))")
    connection.execute("INSERT INTO p VALUES (%s)", [FAMILY])
    for sql, value in (
        ("INSERT INTO p VALUES (%s)", FAMILY),
        ("INSERT INTO p VALUES (%s, '1800-01-01')", GIVEN),
        ("SELECT %s::date", MRN),
        ("SELECT %s::text FROM nowhere", MRN),
        (f"SELEC '{FAMILY}'", None),
        (f"DO $$ BEGIN RAISE WARNING '{QUESTION}'; END $$", None),
    ):
        try:
            connection.execute(sql, [value] if value else None)
        except psycopg.Error as error:
            assert error


def test_control_the_search_finds_every_form() -> None:
    for secret in SECRETS:
        for form in (secret, secret.lower(), json.dumps({"name": secret}), quote(secret), repr(secret.encode())):
            assert found_in(f'{{"event": "x {form} y"}}', SECRETS) == [secret]
    assert found_in('{"event": "request refused", "route": "worklist", "status": 404}', SECRETS) == []


def test_control_gunicorn_as_it_comes_would_quote_the_request(start: Callable[[Daemon], Daemon]) -> None:
    web = web_daemon()
    web.arguments[2:2] = ["--logger-class", "gunicorn.glogging.Logger", "--access-logformat", "%(r)s"]
    start(web)
    raw_request(web.port, f"GET /worklist?patientId={MRN} NONSENSE\r\n\r\n")
    requests.get(f"{web.url}/worklist?patientId={MRN}", timeout=30)
    wait_until(lambda: MRN in found_in(web.output, SECRETS), what="the request in the log")
