"""What every view of the API about orders shares."""

import re
import uuid
from typing import Any

from django.db.models import QuerySet
from rest_framework.permissions import SAFE_METHODS, BasePermission

from pacs.api.access import ApiView
from pacs.api.entries import patient_entry
from pacs.api.order_entries import order_entry, requested_entry
from pacs.api.patient_entries import candidate_entry
from pacs.dicomweb.addresses import origin
from radiology.errors import InvalidValue, NotFound, PreconditionFailed, PreconditionRequired, RadiologyError, problem
from radiology.models import Order, Patient, RequestedProcedure

IF_MATCH = {"If-Match": 'The ETag as it was read, or the version in quotes (`"7"`).'}


class MayUseOrders(BasePermission):
    """Reading needs the scope `studies.read` or `orders.write`, everything else `orders.write`."""

    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        if not (who and who.is_authenticated):
            return False
        if request.method in SAFE_METHODS:
            return who.may("studies.read") or who.may("orders.write")
        return who.may("orders.write")


class OrderView(ApiView):
    """A view about orders. What is refused tells what is there already, and what must be confirmed or answered.

    A Conflict has the order as it stands in `existing`; where one of its procedures stands in the way, that one
    in `procedure`.
    """

    permission_classes = [MayUseOrders]

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, PreconditionFailed):
            exc.field = exc.field or "If-Match"
        if isinstance(exc, RadiologyError):
            more: dict[str, Any] = {name: exc.facts[name] for name in ("warnings", "fields") if name in exc.facts}
            more |= self._persons(exc)
            there = exc.facts.get("order")
            if isinstance(there, Order):
                seen = orders_of(self.request.user).filter(pk=there.pk).first()
                more |= {"existing": order_entry(seen, origin(self.request))} if seen else {}
                if seen and isinstance(exc.facts.get("procedure"), RequestedProcedure):
                    more["procedure"] = requested_entry(exc.facts["procedure"])
            if more:
                return problem(exc, **more)
        return super().handle_exception(exc)

    def _persons(self, error: RadiologyError) -> dict[str, Any]:
        """Who stands in the way of registering the patient of an order."""
        here = origin(self.request)
        more: dict[str, Any] = {}
        existing = error.facts.get("existing")
        if isinstance(existing, Patient) and Patient.objects.visible_to(self.request.user).filter(pk=existing.pk):
            more["existing"] = patient_entry(existing, here)
        if candidates := error.facts.get("candidates"):
            more["candidates"] = [candidate_entry(each, here) for each in candidates]
        return more


def orders_of(who: Any) -> QuerySet[Any]:
    """The orders that `who` may see, with what an answer tells of them."""
    found = Order.objects.visible_to(who).select_related("patient_ref", "site").defer("patient_ref__attributes")
    return found.prefetch_related("requested_procedures")


def order_of(who: Any, public_id: uuid.UUID) -> Order:
    """The order of that public id that `who` may see. Raises NotFound."""
    found = orders_of(who).filter(public_id=public_id).first()
    if found is None:
        raise NotFound("There is no such order, or none that you may see.", field="order")
    return found


def version_of(request: Any, *, required: bool = True) -> int | None:
    """The version that If-Match names. Raises PreconditionRequired, InvalidValue."""
    header = request.headers.get("If-Match", "").strip()
    if not header and not required:
        return None
    if not header:
        raise PreconditionRequired(
            "Send If-Match with the ETag as you read it, so that nobody's change is lost.",
            field="If-Match",
        )
    found = re.fullmatch(r'(?:W/)?"?(\d{1,9})(?:-[0-9a-f]*)?"?', header, re.ASCII)
    if found is None:
        raise InvalidValue("If-Match is an ETag of this API, or a version in quotes.", field="If-Match")
    return int(found[1])
