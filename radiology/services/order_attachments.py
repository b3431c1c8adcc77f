"""Papers that come with an order: the referral letter, a photographed form. What they are, their bytes say."""

import hashlib
import re
import unicodedata
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.dicom import clean
from radiology.errors import Conflict, InvalidValue, NotFound, TooLarge, UnsupportedMediaType
from radiology.models import AuditAction, Order, OrderAttachment
from radiology.services import audit
from radiology.services.order_states import record_version
from radiology.services.orders import require_right

LARGEST = 10 << 20
MOST = 20
# How each kind begins, its media type and the ending that its name gets.
KINDS = (
    (b"%PDF-", "application/pdf", ".pdf"),
    (b"\xff\xd8\xff", "image/jpeg", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
    (b"II*\x00", "image/tiff", ".tiff"),
    (b"MM\x00*", "image/tiff", ".tiff"),
)
ENDINGS = {
    "application/pdf": {".pdf"},
    "image/jpeg": {".jpg", ".jpeg"},
    "image/png": {".png"},
    "image/tiff": {".tif", ".tiff"},
}


@transaction.atomic
def add_attachment(
    *, order: Order, name: str, content: bytes, who: Any = None, address: str | None = None
) -> OrderAttachment:
    """Keep a paper with the order; the same bytes again are the same attachment.

    Raises NotAllowed, TooLarge above 10 MB, UnsupportedMediaType for what is no PDF, JPEG, PNG or TIFF,
    Conflict when the order has as many as it may have.
    """
    require_right(who)
    if len(content) > LARGEST:
        raise TooLarge(_("A file may have 10 MB at most."), field="file")
    if not content:
        raise InvalidValue(_("The file is empty."), field="file")
    media_type, ending = _kind(content)
    order = Order.objects.select_for_update().get(pk=order.pk)
    there = order.attachments.filter(removed_at=None)
    digest = hashlib.sha256(content).digest()
    same = there.filter(sha256=digest).defer("content").first()
    if same is not None:
        return same
    if there.count() >= MOST:
        raise Conflict(_("An order may have %(most)d files.") % {"most": MOST}, field="file")
    made = OrderAttachment.objects.create(
        order_ref=order,
        name=neutral_name(name, media_type=media_type, ending=ending),
        content_type=media_type,
        size=len(content),
        sha256=digest,
        content=content,
        added_by=who if hasattr(who, "get_username") else None,
    )
    record_version(order=order, changes={"attachment": [None, made.name]}, who=who)
    return made


@transaction.atomic
def remove_attachment(
    *, attachment: OrderAttachment, reason: str = "", who: Any = None, address: str | None = None
) -> None:
    """Take a paper away from the order. It is kept, for whoever must know what was there. Again: no change."""
    require_right(who)
    order = Order.objects.select_for_update().get(pk=attachment.order_ref_id)
    if OrderAttachment.objects.filter(pk=attachment.pk, removed_at=None).update(removed_at=timezone.now()):
        record_version(order=order, changes={"attachment": [attachment.name, None]}, who=who, reason=clean(reason))


@transaction.atomic
def restore_attachment(*, attachment: OrderAttachment, who: Any = None, address: str | None = None) -> None:
    """Take back that a paper was taken away."""
    require_right(who)
    order = Order.objects.select_for_update().get(pk=attachment.order_ref_id)
    if OrderAttachment.objects.filter(pk=attachment.pk).exclude(removed_at=None).update(removed_at=None):
        record_version(order=order, changes={"attachment": [None, attachment.name]}, who=who)


def attachment_of(*, order: Order, public_id: Any, who: Any = None, address: str | None = None) -> OrderAttachment:
    """An attachment with its content; that it was read is recorded. Raises NotFound."""
    found = order.attachments.filter(public_id=public_id, removed_at=None).first()
    if found is None:
        raise NotFound(_("There is no such file at this order."), field="attachment")
    audit.record(
        event="order.attachment",
        action=AuditAction.READ,
        who=who,
        address=address,
        site_id=order.site_id,
        patient_id=order.patient_ref_id,
        detail={"order": str(order.public_id), "attachment": str(found.public_id)},
    )
    return found


def neutral_name(name: str, *, media_type: str, ending: str) -> str:
    """A file name that means nothing to any file system, header or page, with the ending of what it is."""
    plain = unicodedata.normalize("NFC", clean(name)).replace("\\", "/").rpartition("/")[2]
    plain = re.sub(r"[^\w .()+-]", "_", plain).strip(" .")
    stem, dot, given = plain.rpartition(".")
    if dot and f".{given.lower()}" in ENDINGS[media_type]:
        plain, ending = stem, f".{given.lower()}"
    return f"{plain.strip(' .')[:120] or 'file'}{ending}"


def _kind(content: bytes) -> tuple[str, str]:
    for begin, media_type, ending in KINDS:
        if content.startswith(begin):
            return media_type, ending
    raise UnsupportedMediaType(_("Attach a PDF, or an image as JPEG, PNG or TIFF."), field="file")
