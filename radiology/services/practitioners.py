"""Whose orders are whose: from the numbers, names and places in an order to the users who are tied to them.

One way for all who ask: the results of a doctor, and who must know of a critical one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q

from radiology.models import Order, PractitionerTie, Role, TieKind, User
from radiology.models.practitioner import tie_key

Key = tuple[str, str]


@dataclass
class Concerned:
    """Users (ids) whom an order concerns: who ordered or referred, and who works where its patient lies."""

    by_order: set[int]
    by_place: set[int]

    @property
    def everybody(self) -> set[int]:
        return self.by_order | self.by_place


def keys_of(order: Order) -> tuple[list[tuple[Key, Key]], list[Key]]:
    """What of an order is compared: number and name of each physician, the requesting one first; and the places.

    A place is written from the ward to the bed, such as `W3 12 1`: it is of `W3`, of `W3 12` and of the bed.
    """
    physicians = (
        (order.requesting_physician_identifier, order.requesting_physician),
        (order.referring_physician_identifier, order.referring_physician_name),
    )
    people = [
        (
            (TieKind.IDENTIFIER.value, tie_key(TieKind.IDENTIFIER, number)),
            (TieKind.NAME.value, tie_key(TieKind.NAME, name)),
        )
        for number, name in physicians
    ]
    places = (order.current_patient_location, order.requesting_service)
    words = [tie_key(TieKind.PLACE, place).split() for place in places]
    wider = {" ".join(each[:count]) for each in words for count in range(1, len(each) + 1)}
    return people, [(TieKind.PLACE.value, place) for place in sorted(wider)]


def concerned_by(orders: Iterable[Order]) -> dict[int, Concerned]:
    """By order (id) whom it concerns; two queries, three where somebody entered orders.

    A number that somebody has decides: then the name, which others may share, is not looked at. Only active users of
    the order's site, and those who see every site, are meant.
    """
    rows = list(orders)
    asked = {key for order in rows for key in _all_keys(order) if key[1]}
    ties = _ties(asked)
    entered = {order.entered_by_id for order in rows if order.entered_by_id}
    doctors = set(
        User.objects.filter(pk__in=entered, groups__name=Role.DOCTOR).values_list("pk", flat=True) if entered else ()
    )
    named = {order.ordering_physician_id for order in rows if order.ordering_physician_id}
    people = {each.pk: each for each in User.objects.filter(pk__in=named | doctors, is_active=True)}
    people |= {tie.user.pk: tie.user for found in ties.values() for tie in found}
    concerned: dict[int, Concerned] = {}
    for order in rows:
        by_order = {key for key in (order.ordering_physician_id,) if key}
        by_order |= {key for key in (order.entered_by_id,) if key in doctors}
        physicians, places = keys_of(order)
        for number, name in physicians:
            by_order |= {tie.user_id for tie in _of(order, ties, number) or _of(order, ties, name)}
        by_place = {tie.user_id for place in places for tie in ties.get(place, ())}
        seeing = {key for key, user in people.items() if user.is_superuser or user.site_id == order.site_id}
        concerned[order.pk] = Concerned(by_order & seeing, by_place & seeing)
    return concerned


def physician_of(order: Order) -> User | None:
    """The one user who ordered or referred; None where nobody, or more than one, is meant.

    Who is named as having ordered comes first, then the requesting, then the referring physician: by number, where
    one is known, else by name.
    """
    user = order.ordering_physician
    if user is not None and user.is_active:
        return user
    physicians, _places = keys_of(order)
    ties = _ties({key for pair in physicians for key in pair if key[1]})
    for number, name in physicians:
        found = _of(order, ties, number) or _of(order, ties, name)
        meant = {tie.user for tie in found if tie.user.site_id == order.site_id}
        if len(meant) == 1:
            return meant.pop()
    return None


def _of(order: Order, ties: dict[Key, list[PractitionerTie]], key: Key) -> list[PractitionerTie]:
    """Ties of people who see the order: what is somebody's at another site says nothing here."""
    return [tie for tie in ties.get(key, ()) if tie.user.is_superuser or tie.user.site_id == order.site_id]


def _all_keys(order: Order) -> list[Key]:
    physicians, places = keys_of(order)
    return [key for pair in physicians for key in pair] + places


def _ties(keys: set[Key]) -> dict[Key, list[PractitionerTie]]:
    """Ties of active users by what they compare."""
    if not keys:
        return {}
    wanted = Q()
    for kind in TieKind:
        if of_kind := [key for name, key in keys if name == kind]:
            wanted |= Q(kind=kind, key__in=of_kind)
    found: dict[Key, list[PractitionerTie]] = {}
    for tie in PractitionerTie.objects.filter(wanted, user__is_active=True).select_related("user"):
        found.setdefault((tie.kind, tie.key), []).append(tie)
    return found
