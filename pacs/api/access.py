"""What every view of the API about studies shares."""

from collections.abc import Sequence
from typing import Any, cast

from rest_framework.views import APIView

from pacs.dicomweb.access import DicomWebView
from pacs.models import Instance, Series, Study
from pacs.services.keyset import Page, Place
from radiology.api.operations import Operations
from radiology.api.pages import cursor_of, link_header, place_of, with_cursor
from radiology.api.parameters import Parameter
from radiology.dicom import is_uid
from radiology.errors import NotFound

MOST = 1000
LIMIT = Parameter(
    "limit",
    f"At most so many; more than {MOST} counts as {MOST}. The rest follows with `next`.",
    example="50",
    default="100",
    pattern="0*[1-9][0-9]*",
    whole_number=True,
)
CURSOR = Parameter("cursor", "Where to go on: the `cursor` in an answer's `next` or `previous`. Opaque, signed.")


class ApiView(Operations, DicomWebView):
    """Authentication, rights by scope, problem+json and no caching by others, as for DICOMweb; no guests."""

    authentication_classes = APIView.authentication_classes

    @property
    def limit(self) -> int:
        return min(int(self.asked["limit"]), MOST)

    def place(self, order: Sequence[str]) -> Place | None:
        """Where the caller wants to go on."""
        cursor = self.asked.get("cursor", "")
        return Place(*place_of(cursor=cursor, order=order)) if cursor else None

    def neighbours(self, page: Page, *, order: Sequence[str], address: str) -> dict[str, str]:
        """The addresses of the next and the previous page, where there are such pages."""
        places = {"next": page.next, "previous": page.previous}
        return {
            name: with_cursor(
                address=address,
                asked=self.asked,
                cursor=cursor_of(order=order, values=place.values, backwards=place.backwards),
            )
            for name, place in places.items()
            if place is not None
        }


def linked(links: dict[str, str]) -> dict[str, str]:
    """The header that names neighbouring pages; `prev` is the registered relation."""
    named = {"prev" if name == "previous" else name: address for name, address in links.items()}
    return {"Link": link_header(named)} if named else {}


def study_of(who: Any, uid: str) -> Study:
    """The study of that UID that `who` may see. Raises NotFound."""
    found = Study.objects.visible_to(who).select_related("patient_ref", "site").filter(study_instance_uid=uid)
    return cast(Study, _one(found, uid, "study"))


def series_of(who: Any, uid: str) -> Series:
    """The series of that UID that `who` may see. Raises NotFound."""
    found = Series.objects.visible_to(who).select_related("study_ref__patient_ref").filter(series_instance_uid=uid)
    return cast(Series, _one(found, uid, "series"))


def instance_of(who: Any, uid: str) -> Instance:
    """The instance of that UID that `who` may see. Raises NotFound."""
    found = Instance.objects.visible_to(who).select_related("series_ref__study_ref").filter(sop_instance_uid=uid)
    return cast(Instance, _one(found, uid, "instance"))


def _one(found: Any, uid: str, what: str) -> Any:
    # Of somebody who sees every site: the first site's, should two hold the same.
    row = found.order_by("site_id", "id").first() if is_uid(uid) else None
    if row is None:
        raise NotFound(f"There is no such {what}, or none that you may see.", field=what)
    return row
