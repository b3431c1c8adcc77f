"""Pictures are drawn once: who asks again waits for no decoder, and never sees what is not so any more."""

import hashlib
import os
import resource
import stat
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy
import pytest
from django.test import Client
from django.utils import timezone

from pacs.models import HeldChoice, HeldObject, HeldReason, Location, Removal, Study, Volume
from pacs.services import corrections, decode, held, held_cases, removal
from pacs.services.held_picture import thumbnail
from pacs.storage.picture_cache import CHECKSUM, FOLDERS, PictureCache
from radiology.models import Role, Site, User
from radiology.services.jobs import run_due
from tests.factories import make_site, make_user
from tests.pacs import compressing
from tests.pacs.dicomweb import address, store
from tests.pacs.objects import ct, part10

PNG = {"accept": "image/png"}
RAMP = numpy.arange(1024, dtype="<u2").tobytes()  # 32 × 32


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on no picture can be drawn."""

    def stop() -> None:
        monkeypatch.setattr(decode, "_pool", decode._Pool())
        monkeypatch.setattr(decode.sys, "executable", "/nowhere/python")

    return stop


@pytest.fixture
def chief(site: Site) -> User:
    return make_user("chief", is_superuser=True)


def kept(data: Path) -> list[Path]:
    return [path for path in (data / "cache" / "pictures").rglob("*") if path.is_file()]


def picture(reader: Client, url: str, **headers: str) -> bytes:
    response = reader.get(url, headers=headers)
    assert response.status_code == 200, response.content
    return response.content


def test_what_was_drawn_once_needs_no_decoder(
    site: Site, reader: Client, no_decoder: Callable[[], None], tmp_path: Path
) -> None:
    stored = store(site, part10(ct(side=32, PixelData=RAMP * 3, NumberOfFrames=3)))
    uri = (
        f"/wado?requestType=WADO&studyUID={stored.study_instance_uid}&seriesUID={stored.series_instance_uid}"
        f"&objectUID={stored.sop_instance_uid}&contentType=image/jpeg&frameNumber=2"
    )
    asked = [
        (address(stored, "/rendered"), "image/jpeg"),
        (address(stored, "/rendered"), "image/png"),
        (address(stored, "/rendered"), "image/gif"),
        (address(stored, "/frames/3/rendered"), "image/jpeg"),
        (address(stored, "/thumbnail"), "image/jpeg"),
        (f"/dicom-web/studies/{stored.study_instance_uid}/thumbnail", "image/jpeg"),
        (uri, "*/*"),
    ]
    first = [picture(reader, url, accept=accept) for url, accept in asked]
    no_decoder()
    assert [picture(reader, url, accept=accept) for url, accept in asked] == first
    assert reader.get(address(stored, "/rendered?viewport=13,13"), headers=PNG).status_code == 507
    files = kept(tmp_path)
    assert files and not {stat.S_IMODE(path.stat().st_mode) & 0o137 for path in files} - {0}
    assert not {stat.S_IMODE(path.parent.stat().st_mode) & 0o027 for path in files} - {0}


QUERIES = [
    "", "?window=500,200,linear", "?window=501,200,linear", "?window=500,201,linear", "?window=500,200,sigmoid",
    "?viewport=16,16", "?viewport=17,17", "?viewport=16,16,8,0,16,16", "?viewport=16,16,8,0,-16,16", "?quality=30",
    "?annotation=patient", "?annotation=technique", "?annotation=patient,technique",
    "?viewport=64,64&annotation=patient",
]  # fmt: skip


def test_whatever_changes_the_picture_tells_it_apart(site: Site, reader: Client, settings: Any, tmp_path: Path) -> None:
    noise = numpy.random.default_rng(3).integers(0, 1024, 1024, dtype="<u2").tobytes()
    stored = [
        store(site, part10(ct(side=32, PixelData=RAMP + noise, NumberOfFrames=2, KVP="120"))),
        store(site, part10(ct(side=32, PixelData=noise + RAMP, NumberOfFrames=2, KVP="120"))),
    ]
    asked = [
        (address(each, f"{frame}/rendered{query}"), accept)
        for each in stored
        for frame in ("/frames/1", "/frames/2")
        for query in QUERIES
        for accept in ("image/jpeg", "image/png")
    ]
    cold = [picture(reader, url, accept=accept) for url, accept in asked]
    assert len(kept(tmp_path)) == len(asked)
    warm = [picture(reader, url, accept=accept) for url, accept in asked]
    settings.SINAR_RENDERED_CACHE_SIZE = 0
    drawn = [picture(reader, url, accept=accept) for url, accept in asked]
    assert cold == warm == drawn


def test_a_corrected_name_is_never_shown_as_it_was(site: Site, reader: Client, chief: User) -> None:
    stored = store(site, part10(ct(side=256, PixelData=bytes(256 * 256 * 2))))
    url = address(stored, "/rendered?annotation=patient")
    before, plain = picture(reader, url), picture(reader, address(stored, "/rendered"))
    study = Study.objects.get()
    name = {"vr": "PN", "Value": [{"Alphabetic": "LAIN^ORANG"}]}
    Study.objects.filter(pk=study.pk).update(
        overlay={"at": "2026-01-03T00:00:00", "attributes": {"00100010": name}}, version=study.version + 1
    )
    after = picture(reader, url)
    assert after not in (before, plain)
    study.refresh_from_db()
    corrections.correct_study(who=chief, study=study, version=study.version, changes={"StudyDescription": "Thorax"})
    technique = picture(reader, address(stored, "/rendered?annotation=technique"))
    study.refresh_from_db()
    corrections.correct_study(who=chief, study=study, version=study.version, changes={"StudyDescription": "Pelvis"})
    assert picture(reader, address(stored, "/rendered?annotation=technique")) != technique
    assert picture(reader, address(stored, "/rendered")) == plain


def test_nobody_sees_a_kept_picture_of_what_is_not_theirs_or_was_deleted_and_purging_takes_it_along(
    site: Site, reader: Client, chief: User, tmp_path: Path
) -> None:
    stored, other = store(site, part10(ct())), store(site, part10(ct()))
    urls = [address(stored, "/rendered"), address(stored, "/thumbnail"), address(stored, "/frames/1/rendered")]
    for url in [*urls, address(other, "/rendered")]:
        picture(reader, url)
    stranger = Client()
    stranger.force_login(make_user("stranger", site=make_site()))
    assert [stranger.get(url).status_code for url in urls] == [404] * 3
    assert [Client().get(url).status_code for url in urls] == [401] * 3
    study = Study.objects.get(study_instance_uid=stored.study_instance_uid)
    removal.delete_study(who=chief, study=study, reason="test")
    assert [reader.get(url).status_code for url in urls] == [404] * 3
    assert len(kept(tmp_path)) == 4
    Removal.objects.update(created_at=timezone.now() - timedelta(days=site.keeps_deleted_for + 1))
    assert removal.purge(site=site) == 1
    run_due()
    assert len(kept(tmp_path)) == 1
    picture(reader, address(other, "/rendered"))


def test_compressed_and_moved_objects_are_drawn_from_their_new_file(
    site: Site, reader: Client, no_decoder: Callable[[], None]
) -> None:
    data_set = compressing.slice_of()
    compressing.put(data_set)
    url = (
        f"/dicom-web/studies/{data_set.StudyInstanceUID}/series/{data_set.SeriesInstanceUID}"
        f"/instances/{data_set.SOPInstanceUID}/rendered"
    )
    before = picture(reader, url, **PNG)
    compressing.rule()
    compressing.work()
    assert Location.objects.current().get().transfer_syntax_uid != data_set.file_meta.TransferSyntaxUID
    assert picture(reader, url, **PNG) == before
    Location.objects.update(path="2026/01/01/00/00/elsewhere.dcm")
    no_decoder()
    assert reader.get(url, headers=PNG).status_code == 507


def test_an_object_that_replaces_another_is_what_is_shown_and_held_ones_have_their_own(
    site: Site, reader: Client, no_decoder: Callable[[], None]
) -> None:
    radiographer = make_user("rina", role=Role.RADIOGRAPHER)
    first = ct(PixelData=bytes(512), SmallestImagePixelValue=None)
    stored = store(site, part10(first))
    url = address(stored, "/rendered")
    black = picture(reader, url, **PNG)
    first.PixelData = numpy.arange(256, dtype="<u2").tobytes()
    store(site, part10(first))
    tile = thumbnail(held=HeldObject.objects.get())
    (case,) = held_cases.cases(who=radiographer, reasons=list(HeldReason)).cases
    decision = held.decide(who=radiographer, case=case.key, choice=HeldChoice.REPLACE, why="Rebuilt")
    assert picture(reader, url, **PNG) != black
    no_decoder()
    assert thumbnail(held=HeldObject.objects.get()) == tile
    held.undo(who=radiographer, decision=decision)
    assert picture(reader, url, **PNG) == black


def test_damaged_files_are_drawn_anew(site: Site, reader: Client, tmp_path: Path) -> None:
    stored = store(site, part10(ct()))
    url = address(stored, "/rendered")
    good = picture(reader, url)
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    other = tmp_path / "other"
    for damage in (b"", whole[:CHECKSUM], whole[:-1], whole[:-1] + b"\0", bytes(len(whole)), whole + b"\0"):
        file.write_bytes(damage)
        assert picture(reader, url) == good
        assert file.read_bytes() == whole
    file.rename(other)  # another picture's name: taken for none
    picture(reader, address(stored, "/thumbnail"))
    (mistaken,) = kept(tmp_path)
    small = picture(reader, address(stored, "/thumbnail?viewport=200,200"))
    other.rename(mistaken)
    assert picture(reader, address(stored, "/thumbnail?viewport=200,200")) == small


def test_a_full_or_missing_disk_is_only_slower(site: Site, reader: Client, settings: Any, tmp_path: Path) -> None:
    stored = store(site, part10(ct()))
    url = address(stored, "/rendered")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a full disk: the file ends within the picture
    try:
        good = picture(reader, url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not kept(tmp_path)
    Volume.objects.update(reserve=1 << 60)
    assert picture(reader, url) == good and not kept(tmp_path)
    Volume.objects.update(reserve=0)
    settings.SINAR_RENDERED_CACHE_SIZE = 0
    assert picture(reader, url) == good and not kept(tmp_path)
    settings.SINAR_RENDERED_CACHE_SIZE = 1 << 30
    (tmp_path / "cache" / "pictures").rename(tmp_path / "gone")
    (tmp_path / "cache" / "pictures").write_bytes(b"a file where the folder should be")
    assert picture(reader, url) == good
    (tmp_path / "cache" / "pictures").unlink()
    assert picture(reader, url) == good and len(kept(tmp_path)) == 1


def test_what_cannot_be_drawn_is_no_picture_tomorrow_either(site: Site, reader: Client, tmp_path: Path) -> None:
    stored = store(site, part10(ct(PixelData=None, Rows=None)))
    assert reader.get(address(stored, "/rendered")).status_code == 406
    picture(reader, address(stored, "/thumbnail"))  # a tile, which is nobody's picture
    assert not kept(tmp_path)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def name(number: int) -> str:
    return f"{number:032x}-{hashlib.sha256(str(number).encode()).hexdigest()}"


def test_the_limit_is_held_and_what_is_used_stays(tmp_path: Path) -> None:
    limit = FOLDERS * 20_000
    processes = [PictureCache(tmp_path, limit=limit) for _ in range(4)]
    favourite = name(0)
    processes[0].put(favourite, b"favourite", reserve=0)
    path = processes[0]._path(favourite)
    for number in range(1, 4000):
        processes[number % 4].put(name(number), bytes(1000), reserve=0)
        os.utime(processes[0]._path(name(number)), (number, number))  # long ago, and in this order
        if number % 50 == 0:
            assert processes[0].get(favourite) == b"favourite"  # notes that it is used
    assert path.stat().st_mtime > 4000
    assert limit // 2 < size_of(tmp_path) <= limit
    assert processes[0].get(favourite) == b"favourite"
    assert processes[1].get(name(3999)) == bytes(1000) and processes[1].get(name(1)) is None
    assert not processes[0].put(name(5000), bytes(20_000), reserve=0)
    assert processes[0].forget([f"{3999:032x}"]) == 1 and processes[0].get(name(3999)) is None


def test_making_room_looks_at_one_folder_only(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, limit=FOLDERS * 10_000)
    names = [name(number) for number in range(400)]
    for each in names:
        cache.put(each, bytes(100), reserve=0)
    folder = cache._path(names[0]).parent
    others = {path for path in tmp_path.rglob("*-*") if path.parent != folder}
    for path in others:
        os.utime(path, (1, 1))
    for number in range(400, 40_000):
        if cache._path(name(number)).parent == folder:
            cache.put(name(number), bytes(5000), reserve=0)
    assert all(path.exists() for path in others)
    assert size_of(folder) <= 10_000


def hammer(folder: Path, seed: int) -> int:
    """Writes and reads the same few names as others do; how often something was found."""
    cache = PictureCache(folder, limit=FOLDERS * 4000)
    found = 0
    for number in numpy.random.default_rng(seed).integers(0, 60, 1500):
        wanted = bytes([int(number)]) * 1500
        each = f"{int(number):032x}-{int(number) % 3:064x}"
        kept = cache.get(each)
        assert kept in (None, wanted)
        found += kept is not None
        if kept is None:
            cache.put(each, wanted, reserve=0)
    return found


def test_many_processes_at_once_never_read_half_a_picture(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        assert all(list(pool.map(hammer, [tmp_path] * 4, range(4))))
    assert not list(tmp_path.rglob("*.part"))
