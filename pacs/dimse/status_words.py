"""DIMSE statuses in words (PS3.7 Annex C; PS3.4 B.2.3, C.4)."""

from django.utils.translation import gettext as _


def words(status: int) -> str:
    """What a status says, in the reader's language; its number stays beside it."""
    known = {
        0x0000: _("Success"),
        0x0110: _("The node failed to process it"),
        0x0111: _("The node has another object of this UID"),
        0x0117: _("The node does not take this UID"),
        0x0122: _("The node does not take this kind of object"),
        0x0124: _("The node does not allow it"),
        0x0211: _("The node does not know this operation"),
        0xB000: _("Stored, with values changed by the node"),
        0xB006: _("Stored, with elements left out by the node"),
        0xB007: _("Stored, though it does not fit its kind"),
    }
    if status in known:
        return known[status]
    kinds = {
        0xA7: _("The node has no room for it"),
        0xA9: _("The node finds that it does not fit its kind"),
    }
    if status >> 8 in kinds:
        return kinds[status >> 8]
    if status >> 12 == 0xC:
        return _("The node cannot understand it")
    if status >> 12 == 0xB:
        return _("Stored, with a remark by the node")
    return _("The node refuses it")
