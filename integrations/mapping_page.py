"""A peer's field mapping tried on a message that is pasted: what is read, before and after."""

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from integrations.hl7.decoded import Decoded, decoded
from integrations.hl7.mapping import mapped
from integrations.hl7.message import parse
from integrations.models import Hl7Peer
from pacs.pages import refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import CannotUnderstand

LONGEST = 200_000


@require_http_methods(["GET", "POST"])
@never_cache
@signed_in
def mapping(request: PageRequest, pk: int) -> HttpResponse:
    """GET, POST /interfaces/peers/<id>/mapping: nothing is kept, and nothing is done."""
    if not request.user.may("interfaces.read"):
        return refusal(request, 403, _("Administrators look after the interfaces."))
    peers = Hl7Peer.objects.all() if request.user.sees_every_site else Hl7Peer.objects.filter(site=request.user.site_id)
    peer = peers.prefetch_related("mappings").filter(pk=pk).first()
    if peer is None:
        return refusal(request, 404, _("There is no such peer, or it is not for you to see."))
    text = request.POST.get("text", "")[:LONGEST]
    context = {"peer": peer, "mappings": list(peer.mappings.all()), "text": text}
    if request.method == "POST":
        try:
            message = parse(text.replace("\r\n", "\n").encode(), character_set="UNICODE UTF-8")
        except CannotUnderstand as error:
            return render(request, "integrations/mapping.html", {**context, "error": error.message}, status=400)
        context["rows"] = _rows(decoded(message), decoded(mapped(message, peer.mappings.all())))
    return render(request, "integrations/mapping.html", context)


def _rows(before: list[Decoded], after: list[Decoded]) -> list[dict[str, object]]:
    """A row for each field that says something before or after; those that differ are marked."""
    rows: list[dict[str, object]] = []
    for first, second in zip(before, after, strict=True):
        old = {field.place: field for field in first.fields}
        new = {field.place: field for field in second.fields}
        for place in sorted(old.keys() | new.keys(), key=lambda place: int(place.partition("-")[2])):
            was, now = (" ~ ".join(fields[place].lines) if place in fields else "" for fields in (old, new))
            name = (new.get(place) or old[place]).name
            rows.append({"place": place, "name": name, "before": was, "after": now, "differs": was != now})
    return rows
