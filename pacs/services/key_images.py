"""The key images of reports, as the archive has them now: of the report's patient, and of nobody else."""

from collections.abc import Collection
from io import BytesIO
from typing import Any

from django.utils.translation import gettext as _
from PIL import Image, ImageOps

from pacs.models import WRITTEN, Instance, Location
from pacs.models.instance import InstanceQuerySet
from pacs.services.render import render_frame
from radiology.errors import NotFound
from radiology.services.key_images import ArchivedImage, KeyImage

FIELDS = (
    "sop_instance_uid", "sop_class_uid", "instance_number", "number_of_frames", "series_ref__series_instance_uid",
    "series_ref__modality", "series_ref__series_number", "series_ref__study_ref__study_instance_uid",
    "series_ref__study_ref__study_date",
)  # fmt: skip


def shown_of(*, patient: int, site: int | None, instances: Collection[str]) -> InstanceQuerySet:
    """Those of these SOP Instance UIDs that a site's archive shows now, of this patient (an id)."""
    return Instance.objects.filter(
        site=site,
        sop_instance_uid__in=instances,
        removed_at=None,
        series_ref__removed_at=None,
        series_ref__study_ref__deleted_at=None,
        series_ref__study_ref__patient_ref=patient,
    )


class ArchivedImages:
    """See `radiology.services.key_images.Archive`."""

    def images(
        self, *, patient: int, site: int | None, instances: Collection[str], who: Any = None
    ) -> dict[str, ArchivedImage]:
        found = shown_of(patient=patient, site=site, instances=instances)
        if who is not None:
            found = found.visible_to(who)
        rows = found.exclude(series_ref__modality__in=WRITTEN).values_list(*FIELDS)
        return {
            uid: ArchivedImage(
                study=study,
                series=series,
                instance=uid,
                sop_class=sop_class,
                modality=modality,
                study_date=day,
                series_number=series_number,
                instance_number=number,
                frames=frames or 1,
            )
            for uid, sop_class, number, frames, series, modality, series_number, study, day in rows
        }

    def picture(self, *, patient: int, site: int | None, image: KeyImage, side: int, quality: int) -> bytes:
        here = shown_of(patient=patient, site=site, instances=[image["instance"]])
        location = (
            Location.objects.current()
            .filter(instance_ref__in=here)
            .select_related("instance_ref__series_ref__study_ref", "volume")
            .first()
        )
        if location is None:
            raise NotFound(_("This image is no longer in the archive."), field="image")
        window = image["window"]
        asked: dict[str, Any] = {
            "location": location,
            "frame": image["frame"],
            "window": (window["center"], window["width"], window["function"]) if window else None,
            "viewport": (side, side),
        }
        if not image["inverted"]:
            return render_frame(**asked, quality=quality)
        drawn = Image.open(BytesIO(render_frame(**asked, media_type="image/png"))).convert("RGB")
        made = BytesIO()
        ImageOps.invert(drawn).save(made, "JPEG", quality=quality)
        return made.getvalue()
