"""The procedures of an order: what was asked for by a code, found in the catalogue or taken as it was said."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from django.db.models import Q
from django.utils.translation import gettext as _

from radiology.dicom import clean, is_uid
from radiology.errors import Conflict, InvalidValue
from radiology.models import Laterality, Order, Procedure, ProcedureStatus, RequestedProcedure, Site
from radiology.services.accession import requested_procedure_id, study_uid
from radiology.services.order_safety import missing_side
from radiology.services.rows import Added, Sought

MOST = 20
SCHEME = "99SINAR"
_add = Added(RequestedProcedure)
_WITH_UID = Sought(RequestedProcedure, "study_instance_uid = ANY(%s) LIMIT 1", fields=["id"])
_OFF = {ProcedureStatus.CANCELLED, ProcedureStatus.DISCONTINUED}


@dataclass(frozen=True)
class ProcedureRequest:
    """One procedure as somebody asks for it: an entry of the catalogue, or a code (of ours, or in `scheme`).

    What the catalogue does not know needs `description` and `modality`: it is taken as it is said. `is_ad_hoc`: the
    caller has looked, and the catalogue does not know it.
    """

    procedure: Procedure | None = None
    code: str = ""
    scheme: str = ""
    description: str = ""
    modality: str = ""
    body_part_examined: str = ""
    laterality: str = ""
    comments: str = ""
    requested_procedure_id: str = ""
    study_instance_uid: str = ""
    is_ad_hoc: bool = False


@dataclass(frozen=True)
class Wanted:
    """A request and what the catalogue says of it."""

    request: ProcedureRequest
    procedure: Procedure | None = field(default=None)

    @property
    def code(self) -> str:
        return self.procedure.code if self.procedure else self.request.code


def find_procedures(*, site: Site, requests: Sequence[ProcedureRequest], first: int = 0) -> list[Wanted]:
    """Each request with its entry of the catalogue; two queries at most.

    Raises InvalidValue, naming `procedures.N.…` with N counted from `first`, for a code that means nothing
    here, an entry that cannot be ordered any longer, a side that is missing, or what does not fit.
    """
    if not requests:
        raise InvalidValue(_("Choose at least one procedure."), field="procedures")
    if len(requests) > MOST:
        raise InvalidValue(_("One order may have %(most)d procedures.") % {"most": MOST}, field="procedures")
    known = _catalogue(site, requests)
    wanted = []
    for number, request in enumerate(requests, start=first):
        found = request.procedure or known.get((request.scheme, request.code))
        _require_fit(request, found, site, f"procedures.{number}")
        wanted.append(Wanted(request, found))
    return wanted


def require_new(*, order: Order, there: Sequence[RequestedProcedure], wanted: Sequence[Wanted]) -> None:
    """Raises Conflict for what stands in the order already, or twice in what is wanted; InvalidValue for too many."""
    if len(there) + len(wanted) > MOST:
        raise InvalidValue(_("One order may have %(most)d procedures.") % {"most": MOST}, field="procedures")
    standing: dict[tuple[str, ...], RequestedProcedure | None] = {
        _kind_of_row(each): each for each in there if each.status not in _OFF
    }
    for number, each in enumerate(wanted):
        kind = _kind_of(each)
        if kind in standing:
            stands = standing[kind]
            name = str(stands) if stands else each.request.description or each.code
            raise Conflict(
                _("%(procedure)s stands in this order already.") % {"procedure": name},
                field=f"procedures.{number}.code",
                order=order,
                **({"procedure": stands} if stands else {}),
            )
        standing[kind] = None


def make_procedures(*, order: Order, wanted: Sequence[Wanted], is_first: bool = False) -> list[RequestedProcedure]:
    """The rows, with ids that are unique within the order and UIDs that follow from them. `is_first`: it has none."""
    there = () if is_first else order.requested_procedures.values_list("requested_procedure_id", flat=True)
    taken = set(there)
    made = []
    ids = _free_ids(order.accession_number, taken)
    for each in wanted:
        request, entry = each.request, each.procedure
        own = request.requested_procedure_id or next(ids)
        if own in taken:
            raise Conflict(
                _("This order has a procedure with the id %(id)s already.") % {"id": own},
                field="requested_procedure_id",
            )
        taken.add(own)
        made.append(
            RequestedProcedure(
                order_ref=order,
                procedure_ref=entry,
                requested_procedure_id=own,
                requested_procedure_description=request.description or (entry.name if entry else ""),
                procedure_code_value=entry.code if entry else request.code,
                procedure_coding_scheme=SCHEME if entry else request.scheme or SCHEME,
                modality=entry.modality if entry else request.modality,
                body_part_examined=(entry.body_part_examined if entry else "") or request.body_part_examined,
                laterality=request.laterality,
                duration=entry.duration if entry else RequestedProcedure._meta.get_field("duration").default,
                requested_procedure_comments=request.comments,
                study_instance_uid=request.study_instance_uid
                or study_uid(
                    site=order.site,
                    issuer=order.issuer_of_accession_number,
                    accession_number=order.accession_number,
                    requested_procedure_id=own,
                ),
            )
        )
    uids = [each.study_instance_uid for each in made]
    if len(set(uids)) != len(uids) or _WITH_UID(uids):
        others = RequestedProcedure.objects.filter(study_instance_uid__in=uids)
        other = others.select_related("order_ref").first()
        raise Conflict(
            _("Another procedure has this Study Instance UID."),
            field="study_instance_uid",
            **({"order": other.order_ref} if other else {}),
        )
    _add(made)
    return made


def _kind_of(wanted: Wanted) -> tuple[str, ...]:
    """By what two procedures of an order are the same: code and side; without a code, what is said of them."""
    request, entry = wanted.request, wanted.procedure
    code = (SCHEME, entry.code) if entry else (request.scheme or SCHEME, request.code)
    said = () if code[1] else (request.description, request.modality)
    return (*code, request.laterality, *said)


def _kind_of_row(row: RequestedProcedure) -> tuple[str, ...]:
    said = () if row.procedure_code_value else (row.requested_procedure_description, row.modality)
    return (row.procedure_coding_scheme or SCHEME, row.procedure_code_value, row.laterality, *said)


def _free_ids(accession_number: str, taken: set[str]) -> Iterator[str]:
    position = len(taken)
    while True:
        position += 1
        own = requested_procedure_id(accession_number=accession_number, position=position)
        if own not in taken:
            yield own


def _catalogue(site: Site, requests: Sequence[ProcedureRequest]) -> dict[tuple[str, str], Procedure]:
    """Entries by scheme and code, asked for at once. Ours stand under the empty scheme and `SCHEME`."""
    sought = [request for request in requests if request.procedure is None and not request.is_ad_hoc]
    codes = {request.code for request in sought if request.code}
    if not codes:
        return {}
    found: dict[tuple[str, str], Procedure] = {}
    catalogue = Procedure.objects.filter(site=site)
    for entry in catalogue.filter(Q(code__in=codes)):
        found[("", entry.code)] = found[(SCHEME, entry.code)] = entry
    elsewhere = {request.scheme for request in sought} - {"", SCHEME}
    if elsewhere:
        rows = (
            catalogue.filter(codes__coding_scheme_designator__in=elsewhere, codes__code_value__in=codes)
            .values_list("pk", "codes__coding_scheme_designator", "codes__code_value")
            .order_by("-is_active", "pk")
        )
        entries = Procedure.objects.in_bulk({pk for pk, _scheme, _code in rows})
        for pk, scheme, code in rows:
            found.setdefault((scheme, code), entries[pk])
    return found


def _require_fit(request: ProcedureRequest, found: Procedure | None, site: Site, where: str) -> None:
    if found is not None and found.site_id != site.pk:
        raise InvalidValue(_("This procedure belongs to the catalogue of another site."), field=f"{where}.code")
    if found is None and not (request.description and request.modality):
        if not request.code:
            raise InvalidValue(_("Name the procedure by its code."), field=f"{where}.code")
        raise InvalidValue(
            _("%(code)s is not in the procedure catalogue; give a description and a modality to order it all the same.")
            % {"code": clean(request.code)[:64]},
            field=f"{where}.code",
        )
    if found is not None and not found.is_active:
        raise InvalidValue(_("%(name)s cannot be ordered any longer.") % {"name": found.name}, field=f"{where}.code")
    if request.laterality not in {"", *Laterality.values}:
        raise InvalidValue(_("The side is R, L, B or U."), field=f"{where}.laterality")
    if side := missing_side(procedure=found, laterality=request.laterality):
        raise InvalidValue(side, field=f"{where}.laterality")
    limits = {
        "code": 64,
        "scheme": 16,
        "description": 64,
        "modality": 16,
        "body_part_examined": 16,
        "comments": 10_000,
        "requested_procedure_id": 16,
    }
    for name, most in limits.items():
        value = getattr(request, name)
        if len(value) > most:
            raise InvalidValue(
                _("%(name)s may have %(most)d characters; this one has %(count)d.")
                % {"name": name, "most": most, "count": len(value)},
                field=f"{where}.{name}",
            )
        if name != "comments" and not value.isprintable():
            raise InvalidValue(_("%(name)s is malformed.") % {"name": name}, field=f"{where}.{name}")
    if request.study_instance_uid and not is_uid(request.study_instance_uid):
        raise InvalidValue(_("A UID has digits and dots, at most 64 characters."), field=f"{where}.study_instance_uid")
