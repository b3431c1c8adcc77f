"""Changes in the department reach what shows images."""

from pacs.models import Study
from radiology.services.patients import save_patient
from tests.factories import make_patient, make_study


def test_a_renamed_patient_raises_the_version_of_own_studies_only(
    db: None, django_capture_on_commit_callbacks: object
) -> None:
    patient, other = make_patient(), make_patient()
    mine, theirs = (make_study(patient=each) for each in (patient, other))
    patient.patient_name = "SANTOSO^BUDI^^dr."
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        save_patient(patient=patient)
    assert Study.objects.get(pk=mine.pk).version == mine.version + 1
    assert Study.objects.get(pk=mine.pk).updated_at > mine.updated_at
    assert Study.objects.get(pk=theirs.pk).version == theirs.version
