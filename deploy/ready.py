"""Waits until all answer: `ready.py HOST HTTP DICOM[,DICOM] HL7[,HL7] ORTHANC AE_TITLE LOGS SECONDS`, ports between.

Ends with an error that names what does not answer. Web answers when it can work (`/readyz` includes the
database), DICOM when it accepts an association and answers C-ECHO on each port, HL7 when it takes a connection,
the Orthanc-shaped REST (0: none) when it asks who calls.
"""

import http.client
import socket
import sys
import time

from pynetdicom.ae import ApplicationEntity


def web_answers(host: str, port: int) -> bool:
    try:
        connection = http.client.HTTPConnection(host, port, timeout=10)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def dicom_answers(host: str, port: int, title: str) -> bool:
    entity = ApplicationEntity(ae_title="SINAR_READY")
    entity.add_requested_context("1.2.840.10008.1.1")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 10
    association = entity.associate(host, port, ae_title=title)
    if not association.is_established:
        return False
    answer = association.send_c_echo()
    association.release()
    return getattr(answer, "Status", None) == 0


def hl7_answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=10):
            return True
    except OSError:
        return False


def orthanc_answers(host: str, port: int) -> bool:
    try:
        connection = http.client.HTTPConnection(host, port, timeout=10)
        connection.request("GET", "/system")
        return connection.getresponse().status == 401
    except (OSError, http.client.HTTPException):
        return False


def main(
    host: str, http_port: str, dicom_ports: str, hl7_port: str, orthanc_port: str, title: str, logs: str, seconds: str
) -> str | None:
    deadline = time.monotonic() + float(seconds)
    waiting = {("web", int(http_port))} | {("hl7", int(port)) for port in hl7_port.split(",")}
    waiting |= {("dimse", int(port)) for port in dicom_ports.split(",")}
    waiting |= {("web", int(orthanc_port))} - {("web", 0)}
    ask = {"web": web_answers, "hl7": hl7_answers, "dimse": lambda host, port: dicom_answers(host, port, title)}
    while waiting:
        for name, port in sorted(waiting):
            answers = orthanc_answers if str(port) == orthanc_port != http_port else ask[name]
            if answers(host, port):
                waiting.discard((name, port))
        if waiting and time.monotonic() > deadline:
            name, port = sorted(waiting)[0]
            return f"{name} does not answer on port {port} after {seconds} s: {logs}/{name}.log says why"
        if waiting:
            time.sleep(0.2)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
