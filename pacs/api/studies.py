"""`GET /studies`, as hospital systems were promised it, and one study with its series."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample

from pacs.api import shapes
from pacs.api.access import CURSOR, LIMIT, ApiView, linked, study_of
from pacs.api.entries import found_study, series_entry, study_entry
from pacs.dicomweb.addresses import origin
from pacs.models import Study
from pacs.services.attributes import Level
from pacs.services.query import Search
from radiology.api.operations import json_answer, operation
from radiology.api.parameters import Parameter
from radiology.dicom import PersonName
from radiology.errors import InvalidValue
from radiology.models import AuditAction
from radiology.services import audit

COUNTED = 1000
SERIES_OF_STUDY = 100
WILD = "`*` and `?` stand for any characters and any one."
NAME = (
    "Beginnings of words of the name, in any order; case and accents do not matter: `jo doe` finds DOE^JOHN. "
    f"{WILD} A name with them must match as a whole, as in DICOM."
)
# Orders that an index of the database gives; somebody who sees every site gets some of them site by site.
SORTS = {
    "-date": ["-sort_at", "-pk"],
    "date": ["sort_at", "pk"],
    "name": ["patient_ref__patient_name_sort", "patient_ref_id", "-sort_at", "-pk"],
    "-name": ["-patient_ref__patient_name_sort", "-patient_ref_id", "sort_at", "pk"],
    "accession": ["accession_number", "pk"],
    "-accession": ["-accession_number", "-pk"],
    "updated": ["updated_at", "pk"],
    "-updated": ["-updated_at", "-pk"],
}
SITES = {"name": "patient_ref__site_id", "accession": "site_id", "updated": "site_id"}
PARAMETERS = [
    Parameter("PatientID", f"Medical record number (MRN), exactly. {WILD}", example="001234"),
    Parameter("PatientName", NAME, example="john doe"),
    Parameter("AccessionNumber", f"Order number, exactly. {WILD}", example="ACC12345"),
    Parameter(
        "StudyDate",
        "YYYYMMDD, or a range YYYYMMDD-YYYYMMDD, both days included; one end may be left out.",
        example="20240101-20240131",
    ),
    Parameter("modality", "One modality or several, separated by commas.", example="CT,MR", pattern=r"[A-Za-z0-9_ ,]+"),
    Parameter(
        "StudyInstanceUID",
        "One study, or several, separated by commas.",
        example="1.2.840.113619.2.55.3.4271045733.996",
    ),
    Parameter(
        "sort",
        "By study date, patient name, accession number or last change; with `-` from the end.",
        example="name",
        choices=list(SORTS),
        default="-date",
    ),
    LIMIT,
    CURSOR,
]
EXAMPLE = OpenApiExample(
    "One study",
    value={
        "data": [
            {
                "studyInstanceUid": "1.2.840.113619.2.55.3.4271045733.996",
                "accessionNumber": "ACC12345",
                "patientId": "001234",
                "patientName": "DOE^JOHN",
                "studyDate": "20240125",
                "modality": "CT",
                "description": "CT HEAD NON CONTRAST",
                "viewerUrl": "https://pacs.hospital.com/viewer?StudyInstanceUIDs=1.2.840.113619.2.55.3.4271045733.996",
            }
        ],
        "total": 1,
    },
    response_only=True,
    status_codes=["200"],
)


class SearchStudies(ApiView):
    """`GET /studies`."""

    @operation(
        tag="Studies",
        summary="Search for studies",
        description="The studies for which all parameters hold, newest first. An empty parameter is the same as none; "
        "one that is unknown or malformed is refused, because without it the answer would be about other patients.",
        parameters=PARAMETERS,
        answers={200: shapes.FoundStudies},
        examples=[EXAMPLE],
    )
    def get(self, request: Any) -> HttpResponse:
        search = Search(
            who=request.user, level=Level.STUDY, keys=_keys(self.asked), fuzzy=not is_wild(self.asked["PatientName"])
        )
        order = _order(self.asked["sort"], request.user)
        place = self.place(order)
        page = search.page(size=self.limit, order=order, place=place)
        whole = place is None and page.next is None
        total = len(page.rows) if whole else search.count(most=COUNTED)
        here = origin(request)
        body: dict[str, Any] = {"data": [found_study(study, here) for study in page.rows], "total": min(total, COUNTED)}
        if total > COUNTED:
            body["totalIsExact"] = False
        links = self.neighbours(page, order=order, address=here + request.path)
        audit.record(
            event="api.search",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            detail={"level": Level.STUDY.value, "answers": len(page.rows)},
        )
        return json_answer(request, {**body, **links}, headers=linked(links))


class OneStudy(ApiView):
    """`GET /studies/{study}`."""

    @operation(
        tag="Studies",
        summary="One study",
        description="Everything that is kept about a study, its patient, and its first 100 series. The `ETag` of the "
        "answer is what `PATCH` wants in `If-Match`.",
        path=["study"],
        headers={"If-None-Match": "The ETag of the answer that is there already: 304 when it is still right."},
        answers={200: shapes.StudyDetail},
        errors=[404],
    )
    def get(self, request: Any, study: str) -> HttpResponse:
        found = study_of(request.user, study)
        record_read(request, found)
        return json_answer(request, study_detail(request, found), version=found.version)


class SeriesOfStudy(ApiView):
    """`GET /studies/{study}/series`."""

    @operation(
        tag="Studies",
        summary="The series of a study",
        path=["study"],
        parameters=[LIMIT, CURSOR],
        answers={200: shapes.SeriesList},
        errors=[404],
    )
    def get(self, request: Any, study: str) -> HttpResponse:
        found = study_of(request.user, study)
        search = Search(who=request.user, level=Level.SERIES, keys={"StudyInstanceUID": found.study_instance_uid})
        order = ["series_number", "pk"]
        page = search.page(size=self.limit, order=order, place=self.place(order))
        here = origin(request)
        links = self.neighbours(page, order=order, address=here + request.path)
        body = {"data": [series_entry(series, here) for series in page.rows], **links}
        return json_answer(request, body, headers=linked(links))


def study_detail(request: Any, study: Study) -> dict[str, Any]:
    """The study as `GET /studies/{study}` answers it."""
    here = origin(request)
    search = Search(who=request.user, level=Level.SERIES, keys={"StudyInstanceUID": study.study_instance_uid})
    series = search.page(size=SERIES_OF_STUDY, order=["series_number", "pk"]).rows
    return {**study_entry(study, here), "series": [series_entry(each, here) for each in series]}


def record_read(request: Any, study: Study) -> None:
    audit.record(
        event="api.read",
        action=AuditAction.READ,
        who=request.user,
        address=audit.address_of(request),
        site_id=study.site_id,
        patient_id=study.patient_ref_id,
        study_instance_uid=study.study_instance_uid,
    )


def name_key(asked: dict[str, str], parameter: str) -> str:
    """A patient's name as it is searched. Raises InvalidValue for one without a letter, which would match all."""
    name = asked[parameter]
    if name and not is_wild(name) and not PersonName(name).words:
        raise InvalidValue(f"{parameter} must hold at least one letter or digit.", field=parameter)
    return name


def _keys(asked: dict[str, str]) -> dict[str, str]:
    keys = {name: asked[name] for name in ("PatientID", "AccessionNumber", "StudyDate")}
    keys["PatientName"] = name_key(asked, "PatientName")
    keys["ModalitiesInStudy"] = "\\".join(asked["modality"].upper().split(","))
    keys["StudyInstanceUID"] = asked["StudyInstanceUID"].replace(",", "\\")
    return {name: value for name, value in keys.items() if value}


def is_wild(name: str) -> bool:
    """Whether a name is a pattern."""
    return "*" in name or "?" in name


def _order(sort: str, who: Any) -> list[str]:
    site = SITES.get(sort.removeprefix("-"))
    if site is None or not who.sees_every_site:
        return SORTS[sort]
    return [f"-{site}" if sort.startswith("-") else site, *SORTS[sort]]
