"""Somebody who is not signed in and came by a link that opens some images: stands where a user stands."""

from dataclasses import dataclass
from typing import ClassVar

from django.db.models import Q


@dataclass(frozen=True)
class Guest:
    """Sees the studies whose keys are in `studies` and those of the patients in `patients`, and does nothing.

    `may` is never true: whatever asks for a right, and every `visible_to` that was not written with guests in
    mind, refuses. `site_id` is 0 where the links are of several sites. `name` says in the audit by what
    one came.
    """

    name: str
    studies: frozenset[int]
    patients: frozenset[int]
    site_id: int

    is_authenticated: ClassVar[bool] = True
    is_anonymous: ClassVar[bool] = False
    is_active: ClassVar[bool] = True
    is_staff: ClassVar[bool] = False
    is_superuser: ClassVar[bool] = False
    sees_every_site: ClassVar[bool] = False
    pk: ClassVar[None] = None

    def __str__(self) -> str:
        return self.name

    def may(self, scope: str) -> bool:
        return False

    def of_studies(self, study: str = "") -> Q:
        """Which rows belong to a study that is shown; `study` leads from the row to its study."""
        return Q(**{f"{study}pk__in": self.studies}) | Q(**{f"{study}patient_ref__in": self.patients})
