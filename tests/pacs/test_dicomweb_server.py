"""The DICOMweb services over real sockets: a stock client, large bodies, and bodies that break off."""

import hashlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from pacs.models import Instance
from radiology.models import Site
from radiology.services.access import issue_token
from tests.daemons import Daemon, child_pids, wait_until
from tests.pacs.dicomweb import ANY
from tests.pacs.objects import bare, ct, part10, real

MIB = 1024 * 1024
LARGE = 300 * MIB


@pytest.fixture
def token(committed_db: None) -> str:
    return issue_token(name="program", scopes=["studies.read", "studies.write"], site=Site.objects.default())[1]


@pytest.fixture
def web(web_server: Daemon, token: str) -> requests.Session:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    return session


@pytest.fixture
def dicomweb(web_server: Daemon, web: requests.Session) -> DICOMwebClient:
    return DICOMwebClient(url=f"{web_server.url}/dicom-web", session=web)


def test_a_stock_client_stores_searches_and_retrieves(dicomweb: DICOMwebClient) -> None:
    names = ["CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "test-SR.dcm", "SC_rgb_jpeg_dcmtk.dcm"]
    originals = [pydicom.dcmread(real(name)) for name in names]
    answer = dicomweb.store_instances(originals)
    assert len(answer.ReferencedSOPSequence) == len(originals)
    assert "FailedSOPSequence" not in answer
    for original in originals:
        uids = (original.StudyInstanceUID, original.SeriesInstanceUID, original.SOPInstanceUID)
        (found,) = dicomweb.search_for_studies(search_filters={"StudyInstanceUID": uids[0]})
        assert found["0020000D"]["Value"] == [uids[0]]
        metadata = pydicom.Dataset.from_json(dicomweb.retrieve_instance_metadata(*uids))
        assert metadata.PatientID == original.PatientID
        (by_study,) = dicomweb.retrieve_study(uids[0])
        by_instance = dicomweb.retrieve_instance(*uids)
        assert by_study.SOPInstanceUID == by_instance.SOPInstanceUID == uids[2]
        # It asks for `*`: as stored, but never in Implicit VR or Big Endian.
        stored = original.file_meta.TransferSyntaxUID
        expected = stored if stored.is_compressed else ExplicitVRLittleEndian
        assert by_instance.file_meta.TransferSyntaxUID == expected
        assert len(dicomweb.retrieve_series_metadata(*uids[:2])) == 1
        if "PixelData" not in original:
            continue
        numpy.testing.assert_array_equal(by_instance.pixel_array, original.pixel_array)
        (frame,) = dicomweb.retrieve_instance_frames(*uids, frame_numbers=[1])
        assert len(frame) == original.pixel_array.nbytes
        picture = dicomweb.retrieve_instance_rendered(*uids, media_types=("image/png",))
        assert picture.startswith(b"\x89PNG")
        (as_stored,) = dicomweb.iter_instance_frames(*uids, [1], media_types=(("application/octet-stream", "*"),))
        assert as_stored


def test_bulk_data_by_the_stock_client(dicomweb: DICOMwebClient) -> None:
    data_set = ct()
    data_set.add_new(0x00091002, "OB", bytes(range(256)) * 40)
    dicomweb.store_instances([data_set])
    uids = (data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID)
    uri = dicomweb.retrieve_instance_metadata(*uids)["00091002"]["BulkDataURI"]
    assert dicomweb.retrieve_bulkdata(uri) == [bytes(range(256)) * 40]


def large_object(folder: Path) -> tuple[Path, pydicom.Dataset]:
    """A multi-frame object of LARGE bytes in Implicit VR Little Endian, on disk."""
    data_set = ct(Rows=512, Columns=512, NumberOfFrames=LARGE // (512 * 512 * 2), PixelData=b"")
    data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    file = part10(data_set)
    path = folder / "large.dcm"
    block = numpy.random.default_rng(1).bytes(MIB)
    with path.open("wb") as stream:
        stream.write(file[:-4] + LARGE.to_bytes(4, "little"))
        for number in range(LARGE // MIB):
            stream.write(number.to_bytes(4, "little") + block[4:])
    return path, data_set


def memory(pid: int) -> int:
    """Bytes that a process and its children really hold."""
    total = 0
    for each in [pid, *child_pids(pid)]:
        try:
            status = Path(f"/proc/{each}/status").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0)
    return total


@pytest.fixture
def watched(web_server: Daemon) -> Iterator[Callable[[], int]]:
    """How much the worker that grew most has grown since the test began."""
    before = {pid: memory(pid) for pid in web_server.pids}
    peak = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], *(memory(pid) - start for pid, start in before.items()))

    thread = threading.Thread(target=watch)
    thread.start()
    yield lambda: peak[0]
    over.set()
    thread.join()


def test_large_objects_pass_in_constant_memory(
    web_server: Daemon, web: requests.Session, watched: Callable[[], int], tmp_path: Path
) -> None:
    path, data_set = large_object(tmp_path)
    url = f"{web_server.url}/dicom-web/studies"
    for _ in range(8):  # both workers have served once: what they load then is not counted
        web.get(f"{url}?limit=1")
    with path.open("rb") as stream:
        answer = web.post(url, data=stream, headers={"Content-Type": "application/dicom"})
    assert answer.status_code == 200, answer.text
    assert watched() < 64 * MIB
    study = f"{url}/{data_set.StudyInstanceUID}"
    digests = {}
    for accept in (ANY, "application/dicom"):
        with web.get(
            f"{study}/series/{data_set.SeriesInstanceUID}/instances/{data_set.SOPInstanceUID}",
            headers={"Accept": accept},
            stream=True,
        ) as response:
            assert response.status_code == 200
            tail = hashlib.sha256()
            length = 0
            for block in response.iter_content(MIB):
                length += len(block)
                tail.update(block)
            digests[accept] = (length, tail.hexdigest())
            assert length > LARGE
    assert watched() < 64 * MIB
    metadata = web.get(f"{study}/metadata").json()
    assert metadata[0]["00280008"]["Value"] == [LARGE // (512 * 512 * 2)]
    frames = f"{study}/series/{data_set.SeriesInstanceUID}/instances/{data_set.SOPInstanceUID}/frames"
    last = LARGE // (512 * 512 * 2)
    response = web.get(f"{frames}/{last}", headers={"Accept": "application/octet-stream"})
    assert len(response.content) == 512 * 512 * 2
    assert response.content[:4] == path.read_bytes()[-512 * 1024 * 1 :][:4]
    assert web.get(f"{frames}/{last + 1}").status_code == 404
    assert watched() < 64 * MIB


def test_a_body_without_a_length(web_server: Daemon, web: requests.Session) -> None:
    files = [part10(ct()) for _ in range(3)]

    def body() -> Iterator[bytes]:
        for file in files:
            yield b"--B-0\r\nContent-Type: application/dicom\r\n\r\n"
            yield from (file[start : start + 100] for start in range(0, len(file), 100))
            yield b"\r\n"
        yield b"--B-0--"

    answer = web.post(
        f"{web_server.url}/dicom-web/studies",
        data=body(),
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=B-0'},
    )
    assert answer.status_code == 200, answer.text
    assert Instance.objects.count() == 3


@pytest.mark.parametrize("complete", [0, 2])
def test_a_connection_cut_within_an_object(web_server: Daemon, token: str, complete: int) -> None:
    files = [part10(ct(side=64)) for _ in range(3)]
    body = b"".join(b"--B-0\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files)
    sent = body[: complete * (len(body) // 3) + len(body) // 6]
    drafts = web_server.data / "archive" / "incoming"
    others = set(drafts.glob("*.part"))  # of daemons that another test killed
    with socket.create_connection((web_server.host, web_server.port)) as connection:
        head = (
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
            'Content-Type: multipart/related; type="application/dicom"; boundary=B-0\r\n'
            f"Content-Length: {len(body) + 7}\r\n\r\n"
        )
        connection.sendall(head.encode() + sent)
        connection.shutdown(socket.SHUT_WR)
        reply = connection.makefile("rb").read()
    assert reply.split(b" ")[1] == (b"202" if complete else b"400")
    assert Instance.objects.count() == complete
    wait_until(lambda: not set(drafts.glob("*.part")) - others, what="nothing half-written is left")


def test_a_viewer_that_goes_away_in_the_middle(web_server: Daemon, web: requests.Session, token: str) -> None:
    data_set = ct(side=2048)
    url = f"{web_server.url}/dicom-web/studies"
    assert web.post(url, data=part10(data_set), headers={"Content-Type": "application/dicom"}).status_code == 200
    for _ in range(5):
        connection = http.client.HTTPConnection(web_server.host, web_server.port)
        connection.request(
            "GET", f"/dicom-web/studies/{data_set.StudyInstanceUID}", headers={"Authorization": f"Bearer {token}"}
        )
        connection.getresponse().read(1000)
        connection.close()
    (response,) = pydicom_parts(web.get(f"{url}/{data_set.StudyInstanceUID}"))
    assert bare(response) == bare(part10(data_set))


def test_many_viewers_at_once_get_each_their_own_frames(web_server: Daemon, web: requests.Session) -> None:
    url = f"{web_server.url}/dicom-web/studies"
    study, series = generate_uid(), generate_uid()
    objects = [ct(seed=number, StudyInstanceUID=study, SeriesInstanceUID=series) for number in range(24)]
    for each in objects:
        web.post(url, data=part10(each), headers={"Content-Type": "application/dicom"})
    wrong: list[str] = []

    def look(each: pydicom.Dataset) -> None:
        frame = f"{url}/{study}/series/{series}/instances/{each.SOPInstanceUID}/frames/1"
        for _ in range(5):
            response = requests.get(
                frame,
                headers={"Authorization": web.headers["Authorization"], "Accept": "application/octet-stream"},
                timeout=30,
            )
            if response.content != each.PixelData:
                wrong.append(each.SOPInstanceUID)

    threads = [threading.Thread(target=look, args=(each,)) for each in objects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def pydicom_parts(response: Any) -> list[bytes]:
    from pacs.dicomweb.multipart import State, read_parts

    stream = BytesIO(response.content)
    boundary = response.headers["Content-Type"].partition("boundary=")[2]
    found: list[bytes] = []
    for event in read_parts(read=stream.read, boundary=boundary):
        if event.state is State.BEGIN:
            found.append(b"")
        elif event.data is not None:
            found[-1] += bytes(event.data)
    return found
