"""Our decisions on an association request: who calls, and what each presentation context becomes.

PS3.8 leaves the acceptor free to choose among the proposed transfer syntaxes. For a message's data
set that is our own favourite; for objects see `pacs.dimse.storage`.
"""

import socket
from collections.abc import Iterable

from django.conf import settings

from pacs.dimse import pdu
from pacs.dimse.association import Context
from pacs.dimse.connection import MAXIMUM_LENGTH, SMALLEST_MAXIMUM_LENGTH
from pacs.dimse.pdu import AnsweredContext, AssociateAccept, AssociateRequest, ContextResult, Rejection, Role
from pacs.dimse.services import Service
from pacs.models import ApplicationEntity
from pacs.services.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from radiology.models import Site
from radiology.services.rows import Sought

# Asked with every association.
_REGISTERED = Sought(
    ApplicationEntity, "pacs_applicationentity.title = %s ORDER BY pacs_applicationentity.id", related={"site": ()}
)


def own_titles() -> set[str]:
    """The AE titles that we answer to on every port."""
    return {settings.DIMSE["AE_TITLE"], *settings.DIMSE["EXTRA_AE_TITLES"]}


def refusal(request: AssociateRequest) -> Rejection | None:
    """Why the request is refused whoever sends it (PS3.8 9.3.4), if it is."""
    if not request.protocol_version & 1:
        return pdu.PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context_name != pdu.APPLICATION_CONTEXT:
        return pdu.APPLICATION_CONTEXT_NOT_SUPPORTED
    if request.called_ae_title not in own_titles() and not (
        settings.DIMSE["ACCEPT_ANY_SCP"] and request.called_ae_title == "ANY-SCP"
    ):
        return pdu.CALLED_AE_TITLE_NOT_RECOGNIZED
    if not _is_ae_title(request.calling_ae_title):
        return pdu.CALLING_AE_TITLE_NOT_RECOGNIZED
    if 0 < request.maximum_length < SMALLEST_MAXIMUM_LENGTH:
        return Rejection(1, 1, 1)
    return None


def caller(title: str, address: str) -> ApplicationEntity | None:
    """The node that calls; None when it may not.

    Devices may share a title, so the address decides between them. A title that is registered is never
    taken for an unknown caller, whatever address it calls from.
    """
    registered = _REGISTERED(title)
    if not registered:
        if not settings.DIMSE["ACCEPT_UNKNOWN_CALLING_AE"]:
            return None
        return ApplicationEntity(title=title, host=address, site=Site.objects.default())
    active = [node for node in registered if node.is_active]
    here = [node for node in active if node.host == address]
    if not here and (len(active) > 1 or any(node.check_address for node in active)):
        here = [node for node in active if address in _addresses(node.host)]
    return next(iter(here), None) or next((node for node in active if not node.check_address), None)


def negotiate(
    request: AssociateRequest, node: ApplicationEntity, services: Iterable[Service]
) -> tuple[AssociateAccept, dict[int, Context]]:
    """Our answer, and the contexts that it accepts."""
    services = list(services)
    answers: list[AnsweredContext] = []
    accepted: dict[int, Context] = {}
    roles: dict[str, Role] = {}
    extended: dict[str, bytes] = {}
    for proposed in request.contexts:
        uid = proposed.abstract_syntax
        service = next((service for service in services if uid in service.sop_classes), None)
        if service is None:
            answers.append(_refused(proposed, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED))
            continue
        role = Role(scu=True, scp=False)
        if uid in request.roles:
            role = Role(scu=request.roles[uid].scu, scp=request.roles[uid].scp and service.peer_may_provide)
        syntax = service.choose_syntax(node, proposed.transfer_syntaxes, role.scp)
        if syntax is None:
            answers.append(_refused(proposed, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED))
            continue
        answers.append(AnsweredContext(proposed.context_id, ContextResult.ACCEPTED, syntax))
        accepted[proposed.context_id] = Context(proposed.context_id, uid, syntax, role, service)
        if uid in request.roles:
            roles[uid] = role
        if uid in request.extended and service.answer_extended is not None:
            extended[uid] = service.answer_extended(request.extended[uid])
    accept = AssociateAccept(
        # Sent back as they came (PS3.8 Table 9-17).
        called_ae_title=request.called_ae_title,
        calling_ae_title=request.calling_ae_title,
        maximum_length=MAXIMUM_LENGTH,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        roles=roles,
        extended=extended,
        contexts=tuple(answers),
    )
    return accept, accepted


def _refused(proposed: pdu.ProposedContext, result: ContextResult) -> AnsweredContext:
    # The syntax of a refused context is not significant; some peers want one there all the same.
    syntax = proposed.transfer_syntaxes[0] if proposed.transfer_syntaxes else "1.2.840.10008.1.2"
    return AnsweredContext(proposed.context_id, result, syntax)


def _is_ae_title(title: str) -> bool:
    return 0 < len(title) <= 16 and title.isprintable() and "\\" not in title and "\ufffd" not in title


def _addresses(host: str) -> set[str]:
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()
