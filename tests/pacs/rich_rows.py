"""Studies with whatever a row may hold: corrections, identifiers, names in three scripts, texts that need escapes."""

from typing import Any

from django.utils import timezone

from pacs.models import Instance
from radiology.models import Patient, PatientIdentifier
from tests.factories import make_instance, make_patient, make_series, make_study

# Quotes, a control character, a line separator, a character beyond the first plane.
AWKWARD = 'Say "AAA", {x}: [y] / \\ \t \u2028 é 山 😀 </script>'
CODE = {"00080100": {"vr": "SH", "Value": ["CT\tX"]}, "00080104": {"vr": "LO", "Value": [AWKWARD]}}
OTHERS: dict[str, Any] = {
    "00080051": {"vr": "SQ", "Value": [{"00400031": {"vr": "UT", "Value": ["RIS"]}}]},
    "00081032": {"vr": "SQ", "Value": [CODE, {}, {"00081110": {"vr": "SQ"}}]},
    "00081048": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}, {"Ideographic": "山田^太郎", "Phonetic": "やまだ"}]},
    "00081080": {"vr": "LO"},
    "00091001": {"vr": "LO", "Value": ["private"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "RECEIVED"}]},
    "00101000": {"vr": "LO", "Value": ["OLD-1", "OLD-2"]},
    "00101002": {"vr": "SQ", "Value": [{"00100020": {"vr": "LO", "Value": ["OLD-1"]}}]},
    "00101010": {"vr": "AS", "Value": ["053Y"]},
    "00101020": {"vr": "DS", "Value": [1.72]},
    "00101030": {"vr": "DS", "Value": [70, None]},
    "001021B0": {"vr": "LT", "Value": [AWKWARD]},
    "001021C0": {"vr": "US", "Value": [4]},
    "00104000": {"vr": "LT", "Value": ["of the study"]},
    "00321032": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jürgen"}]},
}
OVERLAY = {
    "at": "2026-11-23T08:30:00",
    "attributes": {
        "00081080": {"vr": "LO", "Value": ["corrected"]},
        "00101010": None,
        "00101002": None,
        "00104000": {"vr": "LT", "Value": ["of the correction"]},
    },
}


def make_rich_rows() -> None:
    """Five studies of four patients, two to three series each, two images each."""
    plain = make_patient("R-1", "WIBOWO^BUDI")
    rich = make_patient(
        "R-2\\ODD",
        "Yamada^Tarou==やまだ^たろう",
        identifiers=[("NIK", "3201"), ("BPJS", "OLD-1")],
        patient_sex="",
        issuer_of_patient_id="RSUD",
        attributes={
            "00104000": {"vr": "LT", "Value": ["of the patient"]},
            "00102160": {"vr": "SH", "Value": [AWKWARD[:16]]},
            "00101000": {"vr": "LO", "Value": ["3201", "KEPT"]},
        },
    )
    PatientIdentifier.objects.filter(value="3201").update(issuer="DUKCAPIL")
    nobody = make_patient("", "", patient_birth_date="", patient_sex="")
    ideographic = make_patient("R-3", "=山田^太郎", attributes={})
    merged = make_patient("R-9", "OLD^NAME")
    Patient.objects.filter(pk=merged.pk).update(merged_into=plain, merged_at=timezone.now())
    request = {"requested_procedure_id": "RP1", "accession_number": "A\\B", "study_instance_uid": "1.2.3"}
    studies = [
        make_study(plain, attributes=OTHERS),
        make_study(rich, attributes=OTHERS, overlay=OVERLAY, issuer_of_accession_number="RIS"),
        make_study(
            rich,
            attributes={**OTHERS, "00102180": None},
            study_description=AWKWARD,
            study_id="1\\2\\",
            referring_physician_name="A^B\\C^D=山^田",
            timezone_offset_from_utc="+0700",
        ),
        make_study(
            nobody, referring_physician_name="^^", study_id="", study_date="", study_time="", study_description=""
        ),
        make_study(ideographic, attributes={}, overlay={"attributes": {}}, modalities_in_study=["MR", "SR"]),
    ]
    for study in studies:
        make_series(
            study,
            instances=2,
            request_attributes=[request, {"scheduled_procedure_step_id": "S"}],
            attributes={"00080070": {"vr": "LO", "Value": [AWKWARD]}, "00081070": None, "0008103F": OTHERS["00081032"]},
            overlay=OVERLAY if study is studies[1] else {},
            protocol_name="A\\B",
        )
        make_series(study, modality="", series_number=None, series_description="", body_part_examined="")
    series = make_series(studies[0], instances=0, laterality="L")
    make_instance(series, rows=None, columns=None, bits_allocated=None, instance_number=None, number_of_frames=12)
    assert Instance.objects.count() == 11
