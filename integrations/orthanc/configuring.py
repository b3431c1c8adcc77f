"""`PUT` and `DELETE` of `/modalities/{name}` and `/peers/{name}`: registered as in the administration.

It takes a person whose role may do it there; a token opens studies, and no configuration.
"""

import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.http import HttpResponse

from integrations.models import OrthancPeer
from integrations.orthanc.access import NotDone, OrthancView, OutOfRange, answer, json_value, raw_body, text
from integrations.orthanc.modalities import NodeView
from integrations.orthanc.peers import PeerView
from pacs.models import ApplicationEntity
from pacs.services import orthanc_nodes
from radiology.errors import CannotUnderstand, InvalidValue, NotAllowed
from radiology.models import AuditAction, Site, User

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
LARGEST = 64 * 1024
# Says only how to go about it, and is passed over; what else nodes and peers have no value for is refused.
INDIFFERENT = {"Timeout"}
PEER_FIELDS = {"Url": "url", "Username": "username", "Password": "password"}


def require_right(view: OrthancView, verb: str, model: type[models.Model]) -> None:
    """Raises NotAllowed for all but those who may add, change or delete such rows in the administration."""
    who = view.request.user
    right = f"{model._meta.app_label}.{verb}_{model._meta.model_name}"
    if not (isinstance(who, User) and who.is_staff and who.has_perm(right)):
        raise NotAllowed("Nodes and peers are registered by persons who may do so in the administration.")


def site_of(view: OrthancView) -> Site:
    return Site.objects.get(pk=view.here.site_id)


def require_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise CannotUnderstand("A name has letters, digits, - and _, 64 at most.")


def require_plain(values: dict[str, Any]) -> None:
    """Raises CannotUnderstand for texts with what is no text."""
    if not all(value.isprintable() for value in values.values() if isinstance(value, str)):
        raise CannotUnderstand("There are characters in it that cannot stand there.")


def saved(view: OrthancView, row: Any, values: dict[str, Any]) -> HttpResponse:
    """Validate as the administration does, save, and write down what was changed. Raises InvalidValue."""
    require_plain(values)
    is_new = row.pk is None
    before = {name: getattr(row, name) for name in values}
    for name, value in values.items():
        setattr(row, name, value)
    try:
        with transaction.atomic():
            row.full_clean()
            row.save()
    except ValidationError as error:
        raise InvalidValue(" ".join(error.messages)) from error
    except IntegrityError as error:
        raise InvalidValue("Somebody else has registered it this moment.") from error
    changed = sorted(name for name, value in values.items() if is_new or before[name] != value)
    recorded(view, AuditAction.CREATE if is_new else AuditAction.UPDATE, row, changed=changed)
    return text("")


def deleted(view: OrthancView, row: Any) -> HttpResponse:
    recorded(view, AuditAction.DELETE, row)
    row.delete()
    return text("")


def recorded(view: OrthancView, action: AuditAction, row: Any, **detail: Any) -> None:
    view.record("configuration", action, detail={"model": row._meta.label, "id": row.pk, "row": str(row), **detail})


class Modality(NodeView):
    """`/modalities/{name}`: what can be done with it; registering it under that name, and taking it back."""

    may_be_new = True

    def get(self, request: Any, **_: str) -> HttpResponse:
        return answer(
            ["configuration", "echo", "find-series", "find-study", "move", "query", "store", "store-straight"]
        )

    def put(self, request: Any, orthanc_modality: str) -> HttpResponse:
        """The address `[AET, host, port]`, or an object, whose Allow… are taken where they are named."""
        node = self.found
        require_right(self, "add" if node is None else "change", ApplicationEntity)
        values = node_values(orthanc_modality, json_value(request, raw_body(request, most=LARGEST)))
        if node is None:
            require_name(orthanc_modality)
            node = ApplicationEntity(site=site_of(self), description=orthanc_modality)
        return saved(self, node, values)

    def delete(self, request: Any, **_: str) -> HttpResponse:
        require_right(self, "delete", ApplicationEntity)
        return deleted(self, self.node)


def node_values(name: str, given: Any) -> dict[str, Any]:
    """What a body says about a node, by column. Raises CannotUnderstand, NotDone for what nodes cannot be told."""
    try:
        found = orthanc_nodes.node_of(name, given)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise CannotUnderstand("Neither [AET, host, port] nor an object with AET, Host and Port.") from error
    named = given if isinstance(given, dict) else {}
    lost = [each for each in orthanc_nodes.without_counterpart(named) if each not in INDIFFERENT]
    if lost:
        raise NotDone(f"There is nothing here like {', '.join(lost)}.")
    if not 1 <= found["port"] <= 65535:
        raise OutOfRange(f"A port is 1 to 65535, not {found['port']}.")
    said = {column for setting, column in orthanc_nodes.COLUMNS.items() if setting in named}
    return {column: value for column, value in found.items() if column in {"title", "host", "port", *said}}


class Peer(PeerView):
    """`/peers/{name}`: what can be done with it; entering it under that name, and taking it back."""

    may_be_new = True

    def get(self, request: Any, **_: str) -> HttpResponse:
        return answer(["configuration", "store", "system"])

    def put(self, request: Any, orthanc_peer: str) -> HttpResponse:
        """`[url]`, `[url, user name, password]`, or an object. Without a password it has none afterwards."""
        peer = self.found
        require_right(self, "add" if peer is None else "change", OrthancPeer)
        values = peer_values(json_value(request, raw_body(request, most=LARGEST)))
        if peer is None:
            require_name(orthanc_peer)
            peer = OrthancPeer(site=site_of(self), name=orthanc_peer)
        peer.password = values.pop("password")
        return saved(self, peer, values)

    def delete(self, request: Any, **_: str) -> HttpResponse:
        require_right(self, "delete", OrthancPeer)
        return deleted(self, self.peer)


def peer_values(given: Any) -> dict[str, str]:
    """Raises CannotUnderstand, NotDone."""
    if isinstance(given, list) and len(given) in {1, 3}:
        given = dict(zip(PEER_FIELDS, given, strict=False))
    if not isinstance(given, dict):
        raise CannotUnderstand("Neither [url], nor [url, user name, password], nor an object with Url.")
    lost = sorted(name for name, value in given.items() if name not in {*PEER_FIELDS, *INDIFFERENT} and value)
    if lost:
        raise NotDone(f"There is nothing here like {', '.join(map(str, lost))[:200]}.")
    values = {column: given.get(name) or "" for name, column in PEER_FIELDS.items()}
    if not all(isinstance(value, str) for value in values.values()) or not values["url"]:
        raise CannotUnderstand("Url, Username and Password are texts, and Url is not empty.")
    require_plain(values)
    if len(values["password"]) > 512:
        raise CannotUnderstand("The password is too long.")
    return values
