"""The letterhead: its logo is decoded before it is kept, and stands in the letter."""

import subprocess
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image, PngImagePlugin

from radiology.errors import InvalidValue, TooLarge, UnsupportedMediaType
from radiology.models import AuditEvent, Letterhead, Site
from radiology.services.letterhead import LARGEST_FILE, logo_of
from radiology.services.report_pdf import pdf_of
from tests.factories import make_report, make_site
from tests.radiology.admin_client import administrator, signed_in

pytestmark = pytest.mark.django_db


def picture(kind: str = "PNG", size: tuple[int, int] = (300, 100), **options: Any) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, (20, 90, 160)).save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_nothing_of_the_file_is_kept_but_its_pixels(kind: str) -> None:
    said = PngImagePlugin.PngInfo()
    said.add_text("Comment", "<script>alert(1)</script>")
    options: dict[str, Any] = {"pnginfo": said} if kind == "PNG" else {"comment": b"<script>alert(1)</script>"}
    file = picture(kind, **options) + b"<script>alert(2)</script>"
    kept, media_type = logo_of(file)
    assert b"script" in file and b"script" not in kept and media_type == f"image/{kind.lower()}"
    assert Image.open(BytesIO(kept)).size == (300, 100)


def test_a_large_picture_is_kept_smaller() -> None:
    kept, _ = logo_of(picture(size=(4000, 1000)))
    assert Image.open(BytesIO(kept)).size == (1200, 300)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
BOMB = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0")
    + chunk(b"IDAT", zlib.compress(bytes(1000)))
    + chunk(b"IEND", b"")
)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (SVG, UnsupportedMediaType),
        (b"GIF89a" + bytes(20), UnsupportedMediaType),
        (b"%PDF-1.4", UnsupportedMediaType),
        (b"", UnsupportedMediaType),
        (BOMB, InvalidValue),
        (b"\x89PNG\r\n\x1a\n" + SVG, InvalidValue),
        (b"\xff\xd8\xff" + SVG, InvalidValue),
        (picture(size=(4001, 10)), InvalidValue),
        (picture() + bytes(LARGEST_FILE), TooLarge),
    ],
)
def test_what_is_no_sound_picture_is_refused(content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        logo_of(content)


def save(client: Client, content: bytes | None = None, path: str = "add/", **values: str) -> Any:
    given: dict[str, Any] = {"site": str(Site.objects.default().pk), "address": "", "telephone": "", "email": ""}
    if content is not None:
        given["logo_file"] = SimpleUploadedFile("logo.png", content, "image/png")
    return client.post(f"/admin/radiology/letterhead/{path}", {**given, **values})


def test_an_administrator_uploads_it_and_the_letter_shows_it(tmp_path: Path) -> None:
    client = signed_in(administrator("here", Site.objects.default()))
    address = "Jl. Dr. Sutomo No. 16\nSemarang 50244"
    answer = save(client, picture(), address=address, telephone="(024) 8413476", email="radiologi@rsud.example")
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    head = Letterhead.objects.get()
    assert head.logo_media_type == "image/png" and AuditEvent.objects.filter(event="admin", action="C").exists()
    report = make_report(impression="Normal.")
    file = tmp_path / "letter.pdf"
    file.write_bytes(pdf_of(report=report))
    text = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True).stdout
    for said in ("Jl. Dr. Sutomo No. 16", "Semarang 50244", "(024) 8413476 · radiologi@rsud.example"):
        assert said in text, said
    listed = subprocess.run(["pdfimages", "-list", file], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == 3
    change = f"{head.pk}/change/"
    assert b"data:image/png;base64," in client.get(f"/admin/radiology/letterhead/{change}").content
    refused = save(client, SVG, change)
    assert refused.status_code == 200 and "PNG or JPEG" in refused.content.decode()
    assert "4 lines" in save(client, None, change, address="1\n2\n3\n4\n5").content.decode()
    assert save(client, None, change, telephone="1").status_code == 302
    head.refresh_from_db()
    assert head.logo and head.telephone == "1"
    assert save(client, None, change, remove_logo="on").status_code == 302
    head.refresh_from_db()
    assert head.logo is None


def test_nobody_changes_the_letterhead_of_another_site() -> None:
    far = make_site("far")
    there = Letterhead.objects.create(site=far, telephone="1")
    client = signed_in(administrator("here", Site.objects.default()))
    assert save(client, None, site=str(far.pk)).status_code == 200
    assert save(client, None, f"{there.pk}/change/", telephone="2").status_code == 302
    there.refresh_from_db()
    assert there.telephone == "1" and Letterhead.objects.count() == 1
