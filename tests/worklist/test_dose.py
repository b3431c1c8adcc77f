"""Dose and exposure: read from what devices send, given by REST, N-GET and on pages."""

from typing import Any

import pytest
from django.template.loader import render_to_string
from django.utils import translation
from pydicom import Dataset

from tests.factories import make_node, make_performed, make_site, make_step, make_user
from tests.pacs.api_client import ApiProgram
from tests.worklist.mpps import begun, ended, of
from worklist.models import PerformedProcedureStep, PerformedWarning
from worklist.services.dose import Dose, dose_of
from worklist.services.performed import create_performed, set_performed

pytestmark = pytest.mark.django_db

EXPOSURES = [
    of(RadiationMode="PULSED", KVP="81.5", XRayTubeCurrentInuA="250500", ExposureTime="100", FilterMaterial="COPPER"),
    of(KVP="", XRayTubeCurrent="320", ExposureTime="12", FilterType="NONE"),
]
REPORTED = {
    "TotalTimeOfFluoroscopy": 95,
    "TotalNumberOfExposures": 2,
    "ImageAndFluoroscopyAreaDoseProduct": "12.75",
    "EntranceDose": 3,
    "EntranceDoseInmGy": "310.4",
    "ExposedArea": [240, 180],
    "DistanceSourceToDetector": "1100",
    "DistanceSourceToEntrance": "700",
    "CommentsOnRadiationDose": "<b>table side</b>",
    "AnatomicStructureSpaceOrRegionSequence": [
        of(CodeValue="T-D3000", CodingSchemeDesignator="SRT", CodeMeaning="Chest")
    ],
    "ExposureDoseSequence": EXPOSURES,
}


def json_of(data_set: Dataset) -> Any:
    return data_set.to_json_dict()


@pytest.fixture
def performed() -> PerformedProcedureStep:
    node = make_node("XA1")
    made = create_performed(node=node, sop_instance_uid="", attributes=json_of(begun(make_step())))
    changes = json_of(ended(images=["1.2.3", "1.2.4"], **REPORTED))
    return set_performed(node=node, sop_instance_uid=made.sop_instance_uid, attributes=changes)


def test_what_the_device_said_is_read(performed: PerformedProcedureStep) -> None:
    dose = dose_of(performed=performed)
    assert (dose.total_time_of_fluoroscopy, dose.total_number_of_exposures) == (95, 2)
    assert (dose.image_and_fluoroscopy_area_dose_product, dose.entrance_dose_in_mgy) == (12.75, 310.4)
    assert (dose.distance_source_to_detector, dose.distance_source_to_entrance) == (1100, 700)
    assert (dose.exposed_area, dose.anatomic_structure) == ((240, 180), "Chest")
    first, second = dose.exposures
    assert (first.kvp, first.x_ray_tube_current, first.exposure_time, first.exposure) == (81.5, 250.5, 100, 25.05)
    assert (second.kvp, second.exposure, second.filter_type) == (None, 3.84, "NONE")


def test_what_makes_no_sense_is_left_out() -> None:
    nonsense = {
        "00400300": {"vr": "LO", "Value": ["soon"]},
        "0018115E": {"vr": "DS", "Value": ["1e400"]},
        "00400302": {"vr": "US", "Value": [-4]},
        "0040030E": {"vr": "LO", "Value": ["x"]},
        "00400303": {"vr": "SQ", "Value": [{}]},
        "00082229": {"vr": "SQ", "Value": [None, "x"]},
    }
    assert dose_of(performed=PerformedProcedureStep(attributes=nonsense)) == Dose()
    assert not dose_of(performed=PerformedProcedureStep(attributes={}))


def test_a_page_shows_it_as_text(performed: PerformedProcedureStep) -> None:
    shown = render_to_string("worklist/_dose.html", {"performed": performed})
    assert "12.75 dGy·cm²" in shown and "310.4 mGy" in shown and "25.05" in shown and "95 s" in shown
    assert "&lt;b&gt;table side" in shown and "<b>" not in shown
    with translation.override("id"):
        assert "12,75 dGy·cm²" in render_to_string("worklist/_dose.html", {"performed": performed})
    assert render_to_string("worklist/_dose.html", {"performed": PerformedProcedureStep()}).strip() == ""
    performed.warnings = [PerformedWarning.STEP_TAKEN]
    warned = render_to_string("worklist/_performed_warnings.html", {"performed": performed})
    assert "Another device was at work on the same examination." in warned


def test_programs_get_it(performed: PerformedProcedureStep, django_assert_max_num_queries: Any) -> None:
    program = ApiProgram()
    reference = performed.references.get()
    found = program.get(f"performed-procedure-steps/{performed.sop_instance_uid}").json()
    assert found["performed_procedure_step_status"] == "COMPLETED" and found["warnings"] == []
    assert found["dose"]["image_and_fluoroscopy_area_dose_product"] == 12.75
    assert [each["exposure"] for each in found["dose"]["exposures"]] == [25.05, 3.84]
    assert [each["number_of_instances"] for each in found["series"]] == [2]
    assert found["references"][0]["accession_number"] == reference.accession_number
    assert found["references"][0]["scheduled_step_status"] == "COMPLETED"
    assert found["references"][0]["scheduled_step_is_inferred"] is False
    others = [make_performed() for _ in range(30)]
    make_performed(make_step(), site=make_site(), sop_instance_uid="1.2.99")
    with django_assert_max_num_queries(8):
        page = program.get("performed-procedure-steps", limit="20").json()
    assert [each["sop_instance_uid"] for each in page["data"]] == [
        each.sop_instance_uid for each in reversed(others[10:])
    ]
    assert "1.2.99" not in [
        each["sop_instance_uid"] for each in program.get("performed-procedure-steps").json()["data"]
    ]
    assert program.get("performed-procedure-steps/1.2.99").status_code == 404
    patient = str(performed.patient_ref.public_id) if performed.patient_ref else ""
    for asked in (
        {"study": performed.study_instance_uid},
        {"accession": reference.accession_number},
        {"patient": patient},
        {"status": "COMPLETED"},
    ):
        listed = program.get("performed-procedure-steps", **asked).json()["data"]
        assert [each["sop_instance_uid"] for each in listed] == [performed.sop_instance_uid], asked
    since = others[28].updated_at.isoformat()
    listed = program.get("performed-procedure-steps", updated_since=since).json()["data"]
    assert [each["sop_instance_uid"] for each in listed] == [each.sop_instance_uid for each in others[28:]]
    for wrong in ({"patient": "x"}, {"updated_since": "yesterday"}, {"status": "DONE"}, {"study": "x"}):
        assert program.get("performed-procedure-steps", **wrong).status_code == 400, wrong
    assert ApiProgram(scopes=("steps.write",)).get("performed-procedure-steps").status_code == 403
    assert PerformedProcedureStep.objects.visible_to(make_user(role="doctor")).count() == 31
