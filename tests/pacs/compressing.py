"""Images that are worth compressing, stored long ago, and the job that compresses them."""

from datetime import timedelta
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy
import pydicom
from django.core.management import call_command
from django.utils import timezone
from pydicom.uid import ExplicitVRLittleEndian

from pacs.models import CompressionRule, Instance, Location, Series, Study, Volume
from pacs.services import compression
from pacs.services.compression import save_rule
from pacs.services.outgoing import open_outgoing
from pacs.services.store import Source, StoreOutcome, receive_part10, store_instance
from radiology.models import Job, Site
from radiology.services import jobs
from tests.pacs.objects import ct, part10

SIDE = 96


def slice_of(*, seed: int = 0, **attributes: Any) -> pydicom.Dataset:
    """A CT image that is worth compressing."""
    y, x = numpy.mgrid[0:SIDE, 0:SIDE]
    pixels = ((x * x + y * y) // 8 + seed).astype("<u2") % 4096
    return ct(side=SIDE, seed=seed, PixelData=pixels.tobytes(), **attributes)


def series_of(count: int, **attributes: Any) -> list[pydicom.Dataset]:
    first = slice_of(**attributes)
    same = {"StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": first.SeriesInstanceUID}
    rest = [slice_of(seed=n, InstanceNumber=n + 1, **{**attributes, **same}) for n in range(1, count)]
    return [first, *rest]


def send(data_set: pydicom.Dataset, *, site: Site | None = None) -> StoreOutcome:
    with receive_part10(source=Source.of_site(site or Site.objects.default())) as incoming:
        incoming.write(part10(data_set))
        received = incoming.finish()
    return store_instance(received=received).outcome


def put(*objects: pydicom.Dataset, days: int = 100, site: Site | None = None) -> Study:
    """Store objects as if that had been so many days ago."""
    for each in objects:
        assert send(each, site=site) == StoreOutcome.STORED
    then = timezone.now() - timedelta(days=days)
    study = Study.objects.get(study_instance_uid=objects[0].StudyInstanceUID)
    Instance.objects.filter(series_ref__study_ref=study).update(created_at=then)
    Series.objects.filter(study_ref=study).update(updated_at=then)
    return study


def rule(**values: Any) -> CompressionRule:
    made = CompressionRule(**{"name": "all", "is_active": True, **values})
    made.full_clean()
    save_rule(made)
    return made


def work() -> Job:
    """A turn of the job, as a worker takes it."""
    Job.objects.filter(kind=compression.KIND).update(next_attempt_at=timezone.now())
    jobs.run_due()
    return Job.objects.get(kind=compression.KIND)


def clear_old_files() -> None:
    """What is removed an hour later."""
    Job.objects.filter(kind="pacs.remove_files").update(next_attempt_at=timezone.now())
    jobs.run_due()


def files(volume: Volume) -> set[str]:
    root = Path(volume.path)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def pixels() -> dict[str, bytes]:
    """Every instance's pixels as they leave uncompressed."""
    found = {}
    related = ("volume", "instance_ref__series_ref__study_ref__patient_ref")
    for location in Location.objects.current().select_related(*related):
        with open_outgoing(location=location, transfer_syntax_uid=ExplicitVRLittleEndian) as stream:
            found[location.instance_ref.sop_instance_uid] = pydicom.dcmread(
                BytesIO(stream.read()), force=True
            ).PixelData
    return found


def pixels_of(objects: list[pydicom.Dataset]) -> dict[str, bytes]:
    return {each.SOPInstanceUID: each.PixelData for each in objects}


def syntaxes() -> list[str]:
    return list(Location.objects.current().order_by("pk").values_list("transfer_syntax_uid", flat=True))


def verified() -> str:
    """What a verification says; nothing when all is well."""
    out = StringIO()
    try:
        call_command("verifyarchive", "--orphan-age", "0", "--pause", "0", stdout=out, stderr=out)
    except SystemExit:
        return out.getvalue()
    return ""
