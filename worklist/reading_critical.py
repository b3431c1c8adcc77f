"""Critical results in the reading view: raised beside the report, and what became of them."""

import uuid
from typing import Any

from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.cache import never_cache

from radiology.accounts import PageRequest
from radiology.errors import NotAllowed, NotFound
from radiology.models import AcknowledgedHow, CriticalResult, CriticalState, RequestedProcedure
from radiology.services import audit
from radiology.services import critical_results as services
from worklist.reading_view_pages import answers, body_of, procedure_of


@method_decorator([never_cache, answers], name="dispatch")
class Critical(View):
    """`/reading/<requested procedure>/critical`."""

    def get(self, request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
        """Who would be told, and those that there are."""
        return JsonResponse(_told(request, procedure_of(request, public_id)))

    def post(self, request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
        """Raise one (`finding`, `category`, `recipient`); note that somebody was `told` by telephone; `withdraw` one.

        A new one and the call that was made already are one step.
        """
        procedure = procedure_of(request, public_id)
        given: dict[str, Any] = body_of(request)
        caller: dict[str, Any] = {"who": request.user, "address": audit.address_of(request)}
        told = str(given.get("told") or "")
        with transaction.atomic():
            if given.get("withdraw"):
                withdrawn = _one(procedure, given["withdraw"])
                services.withdraw(result=withdrawn, reason=str(given.get("reason") or ""), **caller)
            else:
                if given.get("result"):
                    result = _one(procedure, given["result"])
                else:
                    result, _is_new = services.raise_critical(
                        procedure=procedure,
                        finding=given.get("finding", ""),
                        category=str(given.get("category") or ""),
                        recipient_name=str(given.get("recipient") or ""),
                        **caller,
                    )
                if told.strip() or given.get("result"):
                    services.acknowledge(
                        result=result,
                        how=AcknowledgedHow.TELEPHONE,
                        told=told,
                        read_back=bool(given.get("readBack")),
                        **caller,
                    )
        return JsonResponse(_told(request, procedure))


critical = Critical.as_view()


def _one(procedure: RequestedProcedure, given: Any) -> CriticalResult:
    for each in services.results_of(procedure):
        if str(each.public_id) == given:
            return each
    raise NotFound(_("This critical result is not here, or not for you to see."), field="result")


def _told(request: PageRequest, procedure: RequestedProcedure) -> dict[str, Any]:
    if not request.user.may(services.RIGHT):
        raise NotAllowed(_("You may not write reports."))
    user, name = services.proposed_recipient(procedure)
    return {
        "recipient": name,
        "hasAccount": user is not None,
        "results": [_entry(each) for each in services.results_of(procedure)],
    }


def _entry(result: CriticalResult) -> dict[str, Any]:
    return {
        "id": str(result.public_id),
        "finding": result.finding,
        "category": result.category,
        "isOpen": result.is_open,
        "state": _state(result),
        "address": reverse("critical-result", args=[result.public_id]),
    }


def _state(result: CriticalResult) -> str:
    """What became of it, in a sentence."""
    if result.state == CriticalState.ACKNOWLEDGED:
        assert result.acknowledged_at is not None
        return _("%(name)s knows, %(how)s, since %(at)s.") % {
            "name": result.acknowledged_name,
            "how": result.get_acknowledged_how_display(),
            "at": _time(result.acknowledged_at),
        }
    if result.state == CriticalState.WITHDRAWN:
        return _("Withdrawn: %(reason)s") % {"reason": result.withdrawn_reason}
    return _("Since %(at)s for %(name)s; nobody has said yet that they know.") % {
        "at": _time(result.raised_at),
        "name": result.recipient_name or "—",
    }


def _time(moment: Any) -> str:
    return formats.date_format(timezone.localtime(moment), "j M Y H:i")
