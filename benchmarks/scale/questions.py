"""What a hospital asks for all day. To add a question, write a function that asks it once and name it in QUESTIONS.

Each gets a `Department` and the number of a study that exists at every size, another one each time; it raises Wrong
when the answer is not right, because a fast error would win.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from benchmarks.dcmtk import TITLE
from benchmarks.http_client import HttpClient, Response
from benchmarks.rows import expect
from benchmarks.scale.hospital import GIVEN_NAMES, STUDIES_A_DAY, StudyFacts, facts_of
from benchmarks.servers.sinar import Sinar
from tests.pynetdicom_pause import stand_still

JSON = "application/dicom+json"
PAGE = 50


@dataclass
class Department:
    """The server, with a person who is signed in and a workstation that is connected."""

    server: Sinar
    last: datetime
    pages: HttpClient
    workstation: Association

    @classmethod
    def of(cls, server: Sinar, last: datetime) -> "Department":
        stand_still()
        caller = AE(TITLE)
        caller.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
        caller.dimse_timeout = 120
        association = caller.associate("127.0.0.1", server.dicom_port, ae_title=server.ae_title)
        expect(association.is_established, "no association")
        return cls(server, last, server.session(), association)

    def close(self) -> None:
        self.workstation.release()
        self.pages.close()

    def study(self, number: int) -> StudyFacts:
        return facts_of(number, last=self.last)

    def find(self, **keys: str) -> list[Dataset]:
        """C-FIND at study level."""
        asked = Dataset()
        asked.QueryRetrieveLevel = "STUDY"
        for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "StudyDate", "AccessionNumber"):
            setattr(asked, keyword, keys.get(keyword, ""))
        asked.ModalitiesInStudy = asked.StudyDescription = ""
        found = self.workstation.send_c_find(asked, StudyRootQueryRetrieveInformationModelFind)
        return [
            identifier for status, identifier in found if status and status.Status in {0xFF00, 0xFF01} and identifier
        ]

    def qido(self, query: str) -> list[dict[str, Any]]:
        answer = self.server.http.get(f"/dicom-web/studies?{query}", Accept=JSON)
        expect(answer.status in {200, 204}, answer)
        return list(answer.json())

    def rest(self, path: str) -> Any:
        answer = self.server.http.get(f"/api/v1/{path}")
        expect(answer.status == 200, answer)
        return answer.json()

    def page(self, path: str) -> Response:
        answer = self.pages.get(path, Accept="text/html")
        expect(answer.status == 200, (answer.status, answer.headers))
        return answer


def find_by_patient_id(at: Department, number: int) -> None:
    found = at.find(PatientID=at.study(number).patient_id)
    expect({each.StudyInstanceUID for each in found} >= {at.study(number).study_instance_uid}, found)


def find_by_accession_number(at: Department, number: int) -> None:
    expect(len(at.find(AccessionNumber=at.study(number).accession_number)) == 1, "not one study")


def find_by_name(at: Department, number: int) -> None:
    rare = at.study(number).patient_name.split(" ")[-1]
    expect(len(at.find(PatientName=f"*{rare}*")) >= 1, rare)


def find_by_day(at: Department, number: int) -> None:
    day = at.study(number % STUDIES_A_DAY).moment
    found = at.find(StudyDate=f"{day:%Y%m%d}")
    expect(len(found) >= STUDIES_A_DAY, f"{len(found)} studies of {day:%Y%m%d}")


def qido_by_patient_id(at: Department, number: int) -> None:
    expect(len(at.qido(f"PatientID={at.study(number).patient_id}")) >= 1, "no study")


def qido_by_day(at: Department, number: int) -> None:
    day = at.study(number % STUDIES_A_DAY).moment
    expect(len(at.qido(f"StudyDate={day:%Y%m%d}&limit=100&includefield=all")) == 100, "not 100 studies")


def qido_by_common_name(at: Department, number: int) -> None:
    name = GIVEN_NAMES[number % len(GIVEN_NAMES)]
    expect(len(at.qido(f"PatientName=*{name}*&limit=20")) == 20, f"not 20 studies of {name}")


def qido_by_modality(at: Department, number: int) -> None:
    expect(len(at.qido("ModalitiesInStudy=MG&limit=25")) == 25, "not 25 studies")


def rest_by_accession_number(at: Department, number: int) -> None:
    found = at.rest(f"studies?AccessionNumber={at.study(number).accession_number}")
    expect(found["data"][0]["studyInstanceUid"] == at.study(number).study_instance_uid, found)


def rest_patient(at: Department, number: int) -> None:
    found = at.rest(f"patients?patient_id={at.study(number).patient_id}")
    expect(len(found["data"]) == 1, found)


def page_of_studies(at: Department, number: int) -> None:
    expect(b"CT " in at.page("/worklist?view=studies").body, "no studies")


def page_of_studies_searched(at: Department, number: int) -> None:
    """Every second given name has patients with CT: a dozen studies of 1,000, more than a page of more studies."""
    name = GIVEN_NAMES[number % len(GIVEN_NAMES) // 2 * 2].lower()
    expect(studies_on(at.page(f"/worklist?view=studies&q={name}+ct")) >= 12, name)


def page_of_studies_of_none(at: Department, number: int) -> None:
    """The other given names: as many patients, none of whom was examined so."""
    name = GIVEN_NAMES[number % len(GIVEN_NAMES) // 2 * 2 + 1].lower()
    expect(studies_on(at.page(f"/worklist?view=studies&q={name}+ct")) == 0, name)


def page_of_studies_by_first_letter(at: Department, number: int) -> None:
    """Of the smallest hospital, too, more studies than a page shows."""
    expect(studies_on(at.page("/worklist?view=studies&q=s+ct")) == PAGE, "not a page of studies")


def studies_on(page: Response) -> int:
    """How many studies a page lists."""
    return len(set(re.findall(rb"/studies/[0-9.]+", page.content())))


def page_of_patients_searched(at: Department, number: int) -> None:
    rare = at.study(number).patient_name.split(" ")[-1]
    expect(at.study(number).patient_id.encode() in at.page(f"/patients?q={rare.lower()}").body, rare)


def page_of_orders(at: Department, number: int) -> None:
    at.page("/orders")


def page_of_study(at: Department, number: int) -> None:
    study = at.study(number)
    expect(study.accession_number.encode() in at.page(f"/studies/{study.study_instance_uid}").body, study)


QUESTIONS: dict[str, Callable[[Department, int], None]] = {
    "C-FIND by patient ID": find_by_patient_id,
    "C-FIND by accession number": find_by_accession_number,
    "C-FIND by a rare word of the name": find_by_name,
    "C-FIND of a day, 200 studies": find_by_day,
    "QIDO by patient ID": qido_by_patient_id,
    "QIDO of a day, 100 studies, all fields": qido_by_day,
    "QIDO by a common word of the name, 20 studies": qido_by_common_name,
    "QIDO by modality, 25 studies": qido_by_modality,
    "/api/v1/studies by accession number": rest_by_accession_number,
    "/api/v1/patients by number": rest_patient,
    "Page /worklist": page_of_studies,
    "Page /worklist, a name and a modality": page_of_studies_searched,
    "Page /worklist, a name and a modality that none has": page_of_studies_of_none,
    "Page /worklist, a first letter and a modality, 50 studies": page_of_studies_by_first_letter,
    "Page /patients, a rare word": page_of_patients_searched,
    "Page /orders": page_of_orders,
    "Page of a study": page_of_study,
}
