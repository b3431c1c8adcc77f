"""Downloads over real sockets by independent clients: cut and resumed, damaged on the way, bulk data and pictures."""

import subprocess
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian, generate_uid

from pacs.models import Location
from pacs.services.store import Stored
from pacs.storage import folder_of
from radiology.models import Site
from radiology.services.access import issue_token
from tests.daemons import Daemon
from tests.pacs.dicomweb import ANY, address, store
from tests.pacs.objects import ct, part10

Curl = Callable[..., subprocess.CompletedProcess[str]]
CUT, PARTIAL_FILE = 56, 18


@pytest.fixture
def web(web_server: Daemon, committed_db: None) -> requests.Session:
    session = requests.Session()
    _, token = issue_token(name="program", scopes=["studies.read", "studies.write"], site=Site.objects.default())
    session.headers["Authorization"] = f"Bearer {token}"
    return session


@pytest.fixture
def curl(web_server: Daemon, web: requests.Session, tool: Callable[[str], str]) -> Curl:
    def run(url: str, target: Path, *options: str) -> subprocess.CompletedProcess[str]:
        secret = ["-H", f"Authorization: {web.headers['Authorization']!s}"]
        command = [tool("curl"), "-sS", "--fail", *secret, "-o", target, *options, web_server.url + url]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def study(web: requests.Session) -> list[Stored]:
    """Large enough that no buffer on the way holds all of it."""
    uid, series = generate_uid(), generate_uid()
    return [
        store(
            Site.objects.default(),
            part10(ct(StudyInstanceUID=uid, SeriesInstanceUID=series, InstanceNumber=number, side=1024, seed=number)),
        )
        for number in range(8)
    ]


def place_of(stored: Stored) -> Path:
    location = Location.objects.get(instance_ref__sop_instance_uid=stored.sop_instance_uid)
    return Path(folder_of(location.volume), location.path)


@pytest.mark.parametrize("what", ["object", "zip"])
def test_a_download_that_was_cut_goes_on(study: list[Stored], curl: Curl, tmp_path: Path, what: str) -> None:
    if what == "zip":
        url, options = f"/api/v1/studies/{study[0].study_instance_uid}/archive", []
    else:
        url, options = address(study[0]), ["-H", "Accept: application/dicom; transfer-syntax=*"]
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert curl(url, whole, *options).returncode == 0
    size = whole.stat().st_size
    for end in (100, size // 3, size // 2 + 7, size - 1):
        done = pieces.stat().st_size if pieces.exists() else 0
        part = tmp_path / "part"
        assert curl(url, part, *options, "-r", f"{done}-{end - 1}").returncode == 0
        with pieces.open("ab") as target:
            target.write(part.read_bytes())
        assert pieces.stat().st_size == end
    assert curl(url, pieces, *options, "-C", "-").returncode == 0
    assert pieces.read_bytes() == whole.read_bytes()
    if what == "zip":
        with zipfile.ZipFile(pieces) as opened:
            assert opened.testzip() is None
            assert len(opened.namelist()) == 2 + len(study)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000])
def test_frames_leave_as_they_lie(web: requests.Session, web_server: Daemon, syntax: UID) -> None:
    """Long ones, in one piece and in several fragments, alone and together."""
    count, side = 3, 320
    frames = [numpy.random.default_rng(each).bytes(side * side * 2) for each in range(count)]
    data_set = ct(NumberOfFrames=count, side=side)
    data_set.file_meta.TransferSyntaxUID = syntax
    data_set.PixelData = b"".join(frames)
    if syntax == JPEG2000:  # what is in the fragments does not matter to who passes them on
        data_set.PixelData = encapsulate(frames, fragments_per_frame=4)
        data_set["PixelData"].VR = "OB"
    stored = store(Site.objects.default(), part10(data_set))
    client = DICOMwebClient(f"{web_server.url}/dicom-web", session=web)
    uids = (stored.study_instance_uid, stored.series_instance_uid, stored.sop_instance_uid)
    assert client.retrieve_instance_frames(*uids, [3, 1, 2], media_types=(("*/*", "*"),)) == [
        frames[2],
        frames[0],
        frames[1],
    ]
    kind = "image/jp2" if syntax == JPEG2000 else "application/octet-stream"
    url, accept = web_server.url + address(stored, "/frames/2"), {"Accept": f"{kind}; transfer-syntax={syntax}"}
    alone = web.get(url, headers=accept, timeout=30)
    assert alone.content == frames[1]
    head = web.head(url, headers=accept, timeout=30)
    assert head.headers["Content-Length"] == alone.headers["Content-Length"] == str(len(frames[1]))
    assert web.get(url, headers={**accept, "If-None-Match": alone.headers["ETag"]}, timeout=30).status_code == 304


@pytest.mark.parametrize("how", ["gone", "flipped"])
def test_a_damaged_object_cuts_the_connection(study: list[Stored], curl: Curl, tmp_path: Path, how: str) -> None:
    path = place_of(study[5])
    content = path.read_bytes()
    path.unlink()
    if how == "flipped":
        path.write_bytes(content[:-5] + b"\xff" + content[-4:])
    target = tmp_path / "study.zip"
    done = curl(f"/api/v1/studies/{study[0].study_instance_uid}/archive", target)
    assert done.returncode in {CUT, PARTIAL_FILE}, done
    assert target.stat().st_size > 4 * 1024 * 1024
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(target)
    if how == "gone":
        multipart = curl(
            f"/dicom-web/studies/{study[0].study_instance_uid}", tmp_path / "study", "-H", f"Accept: {ANY}"
        )
        assert multipart.returncode in {CUT, PARTIAL_FILE}, multipart
        first = place_of(study[0])
        first.rename(first.with_suffix(".away"))
        refused = curl(f"/api/v1/studies/{study[0].study_instance_uid}/archive", tmp_path / "none")
        assert (refused.returncode, "507" in refused.stderr) == (22, True), refused


def test_a_study_has_its_length_and_each_file_as_it_lies(
    study: list[Stored], web_server: Daemon, web: requests.Session
) -> None:
    url = f"{web_server.url}/dicom-web/studies/{study[0].study_instance_uid}"
    files = sorted(place_of(each).read_bytes() for each in study)
    for _ in range(2):  # over one connection: where one ends, the next begins
        whole = web.get(url, headers={"Accept": ANY})
        assert (whole.status_code, whole.headers["Content-Length"]) == (200, str(len(whole.content)))
        assert "Transfer-Encoding" not in whole.headers
        boundary = whole.headers["Content-Type"].partition("boundary=")[2].encode()
        pieces = whole.content.split(b"--" + boundary)
        assert (pieces[0], pieces[-1]) == (b"", b"--\r\n")
        assert sorted(piece.partition(b"\r\n\r\n")[2][:-2] for piece in pieces[1:-1]) == files
        assert web.get(url, headers={"Accept": ANY, "If-None-Match": whole.headers["ETag"]}).status_code == 304
    found = DICOMwebClient(url=f"{web_server.url}/dicom-web", session=web).retrieve_study(
        study[0].study_instance_uid, media_types=(("application/dicom", "*"),)
    )
    assert {each.SOPInstanceUID for each in found} == {each.sop_instance_uid for each in study}


def test_a_file_that_is_too_short_or_too_long_gives_no_other_objects_bytes(
    study: list[Stored], curl: Curl, web_server: Daemon, web: requests.Session, tmp_path: Path
) -> None:
    path, url = place_of(study[3]), f"/dicom-web/studies/{study[0].study_instance_uid}"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"more")
    whole = web.get(web_server.url + url, headers={"Accept": ANY})
    assert whole.headers["Content-Length"] == str(len(whole.content)) and b"more" not in whole.content
    path.write_bytes(content[:-1000])
    cut = curl(url, tmp_path / "study", "-H", f"Accept: {ANY}")
    assert cut.returncode in {CUT, PARTIAL_FILE}, cut
    path.write_bytes(content)
    assert web.get(web_server.url + url, headers={"Accept": ANY}).content.count(content) == 1


def test_head_over_a_socket(study: list[Stored], web_server: Daemon, web: requests.Session) -> None:
    for rest in ("", "/metadata", "/rendered", "/frames/1", "/pixeldata"):
        url = web_server.url + address(study[0], rest)
        head, whole = web.head(url), web.get(url)
        assert (head.status_code, head.content) == (200, b""), rest
        assert head.headers["ETag"] == whole.headers["ETag"]


def test_the_stock_client_gets_bulk_data_and_pictures(web_server: Daemon, web: requests.Session) -> None:
    client = DICOMwebClient(url=f"{web_server.url}/dicom-web", session=web)
    uid, series = generate_uid(), generate_uid()
    frames = numpy.arange(3 * 256, dtype="u2").reshape(3, 16, 16)
    data_set = ct(StudyInstanceUID=uid, SeriesInstanceUID=series, NumberOfFrames=3, PixelData=frames.tobytes())
    data_set.add_new(0x00091002, "OB", b"ab" * 5000)
    client.store_instances([data_set, ct(StudyInstanceUID=uid, SeriesInstanceUID=series)])
    root = f"{web_server.url}/dicom-web/studies/{uid}"
    instance = f"{root}/series/{series}/instances/{data_set.SOPInstanceUID}"
    assert client.retrieve_bulkdata(f"{instance}/pixeldata") == [frames.tobytes()]
    assert sorted(map(len, client.retrieve_bulkdata(f"{root}/bulkdata"))) == [512, 1536, 10_000]
    assert len(list(client.iter_bulkdata(f"{root}/series/{series}/pixeldata"))) == 2
    assert client.retrieve_bulkdata(f"{instance}/bulkdata/00091002") == [b"ab" * 5000]
    ids = (uid, series, data_set.SOPInstanceUID)
    picture = client.retrieve_instance_frames_rendered(
        *ids, [2], media_types=("image/png",), params={"viewport": "8,8", "window": "300,400,linear"}
    )
    assert Image.open(BytesIO(picture)).size == (8, 8)
    annotated = client.retrieve_instance_rendered(
        *ids, media_types=("image/jpeg",), params={"annotation": "patient", "quality": 70, "iccprofile": "no"}
    )
    assert Image.open(BytesIO(annotated)).format == "JPEG"
    one, three = (client.retrieve_instance_frames(*ids, frame_numbers=numbers) for numbers in ([2], [3, 1, 2]))
    assert one == [frames[1].tobytes()]
    assert three == [frames[2].tobytes(), frames[0].tobytes(), frames[1].tobytes()]
    assert pydicom.Dataset.from_json(client.retrieve_instance_metadata(*ids)).NumberOfFrames == 3
