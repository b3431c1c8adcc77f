"""The bounded child: hostile code streams cost their sender an error and nobody else anything."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from pacs.services import decode
from pacs.services.decode import ask, decode_frame
from pacs.services.frames import StoredImage
from pacs.services.image_description import ImageDescription
from pacs.services.render import render_frame
from radiology.errors import NotAcceptable
from tests.daemons import wait_until
from tests.pacs.objects import ct, part10, real
from tests.pacs.placed import placed

JPEG, JPEG_LS, JPEG_2000, RLE, HTJ2K = (
    f"1.2.840.10008.1.2.{suffix}" for suffix in ("4.50", "4.80", "4.90", "5", "4.201")
)


def sample(name: str) -> tuple[bytes, ImageDescription, str]:
    """The first frame of one of pydicom's files, its description and its transfer syntax."""
    data_set = pydicom.dcmread(real(name))
    description = ImageDescription(
        rows=data_set.Rows,
        columns=data_set.Columns,
        samples_per_pixel=data_set.SamplesPerPixel,
        bits_allocated=data_set.BitsAllocated,
        bits_stored=data_set.BitsStored,
        pixel_representation=data_set.PixelRepresentation,
        photometric_interpretation=data_set.PhotometricInterpretation,
    )
    frame = next(generate_frames(data_set.PixelData, number_of_frames=1))
    return frame, description, str(data_set.file_meta.TransferSyntaxUID)


SAMPLES = ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm"]


def decoded(name: str, *, frame: bytes | None = None, **changes: Any) -> bytes:
    original, description, syntax = sample(name)
    return decode_frame(
        frame=original if frame is None else frame,
        transfer_syntax_uid=syntax,
        description=replace(description, **changes),
    )[0]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(
    "changes",
    [{"rows": 65535, "columns": 65535}, {"rows": 63}, {"columns": 128}, {"samples_per_pixel": 4}, {"rows": 6400}],
    ids=lambda changes: "-".join(changes),
)
def test_a_header_that_contradicts_the_code_stream(name: str, changes: dict[str, int]) -> None:
    with pytest.raises(NotAcceptable):
        decoded(name, **changes)
    assert decoded(name)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_code_stream_that_claims_to_be_huge(name: str) -> None:
    frame = bytearray(sample(name)[0])
    if name.startswith("SC"):
        position = frame.find(b"\xff\xc0")
        struct.pack_into(">HH", frame, position + 5, 65535, 65535)
    elif "jpeg_ls" in name:
        position = frame.find(b"\xff\xf7")
        struct.pack_into(">HH", frame, position + 5, 65535, 65535)
    elif "jp2k" in name:
        position = frame.find(b"\xff\x4f\xff\x51")
        struct.pack_into(">II", frame, position + 8, 2**31, 2**31)
    else:
        struct.pack_into("<16I", frame, 0, 15, *range(64, 64 + 15 * 4096, 4096))
    started = time.monotonic()
    with pytest.raises(NotAcceptable):
        decoded(name, frame=bytes(frame))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("name", SAMPLES)
def test_a_code_stream_cut_short_or_made_of_noise(name: str) -> None:
    frame = sample(name)[0]
    size = sample(name)[1].decoded_size
    for damaged in (b"", frame[:4], frame[: len(frame) // 2], os.urandom(len(frame)), frame[:40] + os.urandom(4000)):
        try:
            result = decoded(name, frame=damaged)
        except NotAcceptable:
            continue
        assert len(result) == size  # some decoders fill what is missing; never more or less than was asked
    assert decoded(name)


def lossless_jpeg(
    folder: Path, tool: Callable[[str], str], pixels: np.ndarray, stored: int, predictor: int, *, shifted: int = 0
) -> bytes:
    """The code stream that dcmtk makes of them."""
    kind, signed = pixels.dtype.itemsize * 8, pixels.dtype.kind == "i"
    made = ct(
        Rows=pixels.shape[0],
        Columns=pixels.shape[1],
        BitsAllocated=kind,
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=int(signed),
        PixelData=pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    )
    made["PixelData"].VR = "OB" if kind == 8 else "OW"
    source, target = folder / "native.dcm", folder / "jpeg.dcm"
    source.write_bytes(part10(made))
    options = ["+el", "+sv", str(predictor), "+pt", str(shifted)]
    subprocess.run([tool("dcmcjpeg"), *options, str(source), str(target)], check=True)
    return next(generate_frames(pydicom.dcmread(target).PixelData, number_of_frames=1))


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(
    ("kind", "stored"), [("u1", 8), ("<u2", 10), ("<u2", 12), ("<u2", 16), ("<i2", 16), ("<i2", 12)]
)
def test_lossless_jpeg_of_each_predictor_and_depth(
    kind: str, stored: int, predictor: int, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    signed = "i" in kind
    least = -(1 << (stored - 1)) if signed else 0
    most = least + (1 << stored) - 1
    noise = np.random.default_rng(predictor).integers(least, most + 1, (37, 53))
    noise[:9, ::2], noise[:9, 1::2] = least, most  # the largest steps that there are
    pixels = noise.astype(kind)
    stream = lossless_jpeg(tmp_path, tool, pixels, stored, predictor)
    description = ImageDescription(
        rows=37,
        columns=53,
        bits_allocated=pixels.dtype.itemsize * 8,
        bits_stored=stored,
        pixel_representation=int(signed),
        photometric_interpretation="MONOCHROME2",
    )
    restarting = stream[:2] + b"\xff\xdd\x00\x04\xff\xff" + stream[2:]  # an interval that is never reached
    for each in (stream, restarting):
        found, _ = decode_frame(frame=each, transfer_syntax_uid="1.2.840.10008.1.2.4.57", description=description)
        assert np.array_equal(np.frombuffer(found, kind).reshape(37, 53), pixels)


def test_lossless_jpeg_whose_lowest_bits_were_shifted_away(tmp_path: Path, tool: Callable[[str], str]) -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, (37, 53)).astype("<u2")
    stream = lossless_jpeg(tmp_path, tool, pixels, 12, 1, shifted=2)
    scan = stream.index(b"\xff\xda")
    assert stream[scan + 9] == 2
    description = ImageDescription(
        rows=37, columns=53, bits_allocated=16, bits_stored=12, photometric_interpretation="MONOCHROME2"
    )
    found, _ = decode_frame(frame=stream, transfer_syntax_uid="1.2.840.10008.1.2.4.57", description=description)
    assert np.array_equal(np.frombuffer(found, "<u2").reshape(37, 53), pixels & ~np.uint16(3))


def test_a_frame_that_would_need_more_memory_than_there_is() -> None:
    frame, description, syntax = sample("MR_small_RLE.dcm")
    huge = asdict(replace(description, rows=60_000, columns=60_000))
    with pytest.raises(NotAcceptable):
        ask(
            operation="decode",
            payload=(frame,),
            transfer_syntax_uid=syntax,
            description=huge,
            decoded_size=7_200_000_000,
        )
    assert decoded("MR_small_RLE.dcm")


def test_a_child_that_takes_too_long_is_ended_and_replaced(tmp_path: Path) -> None:
    first = _child_pid()
    os.kill(first, signal.SIGSTOP)  # as if a decoder did not return
    frame, description, syntax = sample("MR_small_RLE.dcm")
    started = time.monotonic()
    with pytest.raises(NotAcceptable):
        ask(
            operation="decode",
            payload=(frame,),
            seconds=1,
            transfer_syntax_uid=syntax,
            description=asdict(description),
            decoded_size=description.decoded_size,
        )
    assert 0.9 < time.monotonic() - started < 5
    assert decoded("MR_small_RLE.dcm")
    assert _child_pid() != first


def test_a_child_that_was_killed_is_replaced_unnoticed() -> None:
    first = _child_pid()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not _running(first))
    assert decoded("MR_small_RLE.dcm")


def test_many_threads_get_each_their_own_pixels() -> None:
    expected = {name: decoded(name) for name in SAMPLES}
    wrong: list[str] = []

    def work(name: str) -> None:
        wrong.extend(name for _ in range(20) if decoded(name) != expected[name])

    threads = [threading.Thread(target=work, args=(name,)) for name in SAMPLES * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(decode._pool._idle) <= decode.CHILDREN


def test_a_forked_process_uses_a_child_of_its_own() -> None:
    expected = decoded("MR_small_RLE.dcm")
    pid = os.fork()
    if pid == 0:
        same = False
        try:
            same = not decode._pool._idle and decoded("MR_small_RLE.dcm") == expected
        finally:
            os._exit(0 if same else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert decoded("MR_small_RLE.dcm") == expected


def test_children_end_with_their_process() -> None:
    script = (
        "import django, sys; django.setup(); from pacs.services.decode import _Child; child = _Child()\n"
        "print(child.process.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=decode.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        child = int(process.stdout.readline().split()[-1])
        assert _running(child)
        process.kill()
    wait_until(lambda: not _running(child), what="the decoder ended")


@pytest.mark.parametrize("changes", [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 1_000_000}])
def test_pictures_of_images_that_lie(changes: dict[str, int], tmp_path: Path) -> None:
    for name in ("MR_small_RLE.dcm", "MR_small.dcm", "SC_rgb_jpeg_dcmtk.dcm"):
        data_set = pydicom.dcmread(real(name))
        for keyword, value in changes.items():
            setattr(data_set, keyword, value)
        with pytest.raises(Exception) as caught:
            render_frame(location=placed(tmp_path, part10(data_set)))
        assert type(caught.value).__name__ in {"NotAcceptable", "CannotUnderstand", "NotFound"}


def test_a_lying_image_is_opened_without_taking_memory(tmp_path: Path) -> None:
    data_set = pydicom.dcmread(real("MR_small_RLE.dcm"))
    data_set.NumberOfFrames = 2_000_000_000
    with StoredImage(placed(tmp_path, part10(data_set))) as image:
        assert image.description.number_of_frames == 2_000_000_000


def _child_pid() -> int:
    decoded("MR_small_RLE.dcm")
    return decode._pool._idle[-1].process.pid


def _running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}
