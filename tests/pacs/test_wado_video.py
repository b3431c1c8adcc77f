"""Videos: the one stream in ranges, no frames; a browser plays and seeks it."""

import base64
from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Page
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HEVCMP51,
    MPEG2MPML,
    MPEG4HP41,
    UID,
    VideoEndoscopicImageStorage,
)

from pacs.services.store import Stored
from radiology.models import Site, User
from radiology.services.access import issue_token
from tests.daemons import Daemon
from tests.pacs.dicomweb import FRAMES_ANY, address, body, parts, store
from tests.pacs.objects import ct, part10

DATA = Path(__file__).parent / "data"
MP4, MPEG = (DATA / "clip.mp4").read_bytes(), (DATA / "clip.mpg").read_bytes()


def video(site: Site, stream: bytes, syntax: str, fragments: int = 1) -> Stored:
    size = -(-len(stream) // fragments // 2) * 2
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    data_set = ct(
        SOPClassUID=VideoEndoscopicImageStorage,
        Modality="ES",
        NumberOfFrames=20,
        Rows=48,
        Columns=48,
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_PARTIAL_420",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        FrameTime="200",
        PixelData=encapsulate([piece + b"\0" * (len(piece) % 2) for piece in pieces], has_bot=False),
    )
    data_set.file_meta.TransferSyntaxUID = UID(syntax)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    return store(site, part10(data_set))


@pytest.mark.parametrize(
    ("stream", "syntax", "media_type", "fragments"),
    [(MP4, MPEG4HP41, "video/mp4", 1), (MP4, MPEG4HP41 + ".1", "video/mp4", 3), (MPEG, MPEG2MPML, "video/mpeg", 1)],
)
def test_the_stream_comes_as_it_was_stored(
    site: Site, reader: Client, stream: bytes, syntax: str, media_type: str, fragments: int
) -> None:
    stored = video(site, stream, syntax, fragments)
    url = address(stored, "/rendered")
    whole = reader.get(url, headers={"accept": "video/webm,video/*;q=0.9,*/*;q=0.5"})
    content = body(whole)
    assert (whole.status_code, whole.headers["Content-Type"], content[: len(stream)]) == (200, media_type, stream)
    assert len(content) - len(stream) in {0, 1}
    for start in (0, 1, 1000, len(content) - 1):
        part = reader.get(url, headers={"range": f"bytes={start}-{start + 99}"})
        assert (part.status_code, body(part)) == (206, content[start : start + 100])
    assert reader.get(url, headers={"accept": "image/jpeg"}).status_code == 406
    assert reader.get(url, headers={"if-none-match": whole.headers["ETag"]}).status_code == 304


def test_a_video_has_no_frames_but_a_tile_and_pixel_data(site: Site, reader: Client) -> None:
    stored = video(site, MP4, MPEG4HP41)
    for rest in ("/frames/1", "/frames/1,2", "/frames/1/rendered"):
        response = reader.get(address(stored, rest), headers={"accept": "*/*" if "rendered" in rest else FRAMES_ANY})
        assert response.status_code == 406, rest
        assert "video" in response.json()["detail"]
    assert reader.get(address(stored, "/thumbnail")).headers["Content-Type"] == "image/jpeg"
    ((headers, part),) = parts(reader.get(address(stored, "/pixeldata"), headers={"accept": FRAMES_ANY}))
    assert headers["content-type"] == f"application/octet-stream; transfer-syntax={MPEG4HP41}"
    assert part[: len(MP4)] == MP4
    ((headers, _),) = parts(
        reader.get(address(stored, "/pixeldata"), headers={"accept": 'multipart/related; type="video/mp4"'})
    )
    assert headers["content-type"] == f"video/mp4; transfer-syntax={MPEG4HP41}"
    ((headers, _),) = parts(reader.get(address(stored, "/pixeldata")))  # nobody decompresses it
    assert headers["content-type"].startswith("video/mp4")


def test_what_only_says_that_it_is_a_video(site: Site, reader: Client) -> None:
    stored = video(site, b"\x00\x00\x00\x01\x40\x01" * 100, HEVCMP51)
    assert reader.get(address(stored, "/rendered")).headers["Content-Type"] == "video/mpeg"
    empty = video(site, b"\0" * 200, MPEG4HP41)
    assert reader.get(address(empty, "/rendered"), headers={"accept": "video/mp4"}).status_code == 406


def test_a_browser_plays_it_and_seeks(committed_db: None, web_server: Daemon, page: Page) -> None:
    site = Site.objects.default()
    stored = video(site, MP4, MPEG4HP41)
    User.objects.create_user("viewer", password="a long password", site=site)
    credentials = base64.b64encode(b"viewer:a long password").decode()
    page.set_extra_http_headers({"Authorization": f"Basic {credentials}"})
    page.goto(address(stored, "/rendered"))
    size = page.evaluate(
        """async () => {
            const video = document.querySelector("video");
            video.muted = true;
            if (video.readyState < 1) await new Promise(done => video.addEventListener("loadedmetadata", done));
            video.pause();
            const seeked = new Promise(done => video.addEventListener("seeked", done));
            video.currentTime = 3.1;
            await seeked;
            return [video.videoWidth, video.videoHeight, video.duration, video.currentTime, video.error];
        }"""
    )
    assert size[:2] == [48, 48]
    assert size[2] == pytest.approx(4, abs=0.3)
    assert size[3] == pytest.approx(3.1, abs=0.2)
    assert size[4] is None


def test_a_stranger_sees_no_video(site: Site, reader: Client) -> None:
    stored = video(site, MP4, MPEG4HP41)
    elsewhere = Site.objects.create(name="Elsewhere", code="elsewhere")
    _, token = issue_token(name="other", scopes=["studies.read"], site=elsewhere)
    response = Client().get(address(stored, "/rendered"), headers={"authorization": f"Bearer {token}"})
    assert response.status_code == 404
