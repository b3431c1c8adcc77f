"""Where a report contradicts its order: side and sex."""

import pytest

from radiology.models import RequestedProcedure
from radiology.services.report_warnings import warnings_of
from tests.factories import make_order, make_patient

pytestmark = pytest.mark.django_db


def examination(laterality: str = "", description: str = "Foto Genu", sex: str = "F") -> RequestedProcedure:
    order = make_order(make_patient(patient_sex=sex), procedures=1)
    procedure = order.requested_procedures.get()
    procedure.laterality, procedure.requested_procedure_description = laterality, description
    procedure.save()
    return procedure


@pytest.mark.parametrize(
    ("laterality", "description", "text", "warned"),
    [
        ("R", "Foto Genu", "Fraktur os tibia kiri.", "kiri"),
        ("L", "Foto Genu", "Fracture of the RIGHT tibia.", "RIGHT"),
        ("R", "Foto Genu", "Fraktur genu dextra, dibandingkan dengan kiri.", ""),
        ("B", "Foto Genu", "Fraktur os tibia kiri.", ""),
        ("", "Foto Genu sinistra", "Fraktur genu kanan.", "kanan"),
        ("", "Foto Genu dextra et sinistra", "Fraktur genu kanan.", ""),
        ("", "Foto Genu", "Fraktur genu kanan.", ""),
        ("L", "Foto Genu", "Brightness was leftover.", ""),
        ("R", "Foto Genu", "", ""),
    ],
)
def test_the_side_of_the_order(laterality: str, description: str, text: str, warned: str) -> None:
    told = warnings_of(procedure=examination(laterality, description), sections={"findings": text})
    assert [f"“{warned}”" in each for each in told] == ([True] if warned else [])


@pytest.mark.parametrize(
    ("sex", "text", "warned"),
    [
        ("F", "Prostat membesar.", "Prostat"),
        ("M", "Uterus antefleksi, ovarium normal.", "Uterus"),
        ("M", "Tidak tampak uterus.", ""),
        ("M", "Tidak tampak massa. Uterus normal.", "Uterus"),
        ("F", "Uterus normal.", ""),
        ("M", "Prostat normal.", ""),
        ("O", "Prostat dan uterus.", ""),
    ],
)
def test_the_sex_of_the_patient(sex: str, text: str, warned: str) -> None:
    told = warnings_of(procedure=examination(sex=sex), sections={"impression": text})
    assert [f"“{warned}”" in each for each in told] == ([True] if warned else [])


def test_another_side_in_the_comparison_is_no_contradiction() -> None:
    sections = {"comparison": "Foto genu kiri 2024.", "indication": "Nyeri lutut kiri", "findings": "Normal."}
    assert warnings_of(procedure=examination("R"), sections=sections) == []


def test_blanks_that_are_left_are_counted() -> None:
    sections = {"technique": "[ml] contrast.", "findings": "Nodule [mm] on the [left|right].", "impression": "Normal."}
    assert warnings_of(procedure=examination(), sections=sections) == ["3 blanks are not filled in: [ml]"]
    assert warnings_of(procedure=examination(), sections={"findings": "Array a[0] and [x"}) == [
        "1 blank is not filled in: [0]"
    ]
