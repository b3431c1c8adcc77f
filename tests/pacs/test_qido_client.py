"""QIDO-RS through dicomweb-client, over HTTP, as it comes."""

import pytest
from dicomweb_client.api import DICOMwebClient

from tests.daemons import Daemon
from tests.factories import make_patient, make_study, make_token


@pytest.mark.usefixtures("committed_db")
def test_dicomweb_client_searches_at_every_level(web_server: Daemon) -> None:
    study = make_study(make_patient("7", "WIBOWO^BUDI"), series=2, instances=3)
    for _ in range(3):
        make_study(make_patient(patient_name="SITI^AMINAH"))
    _, token = make_token()
    client = DICOMwebClient(f"{web_server.url}/dicom-web", headers={"Authorization": f"Bearer {token}"})
    assert len(client.search_for_studies()) == 4
    assert len(client.search_for_studies(limit=2)) == 2
    assert len(client.search_for_studies(limit=2, get_remaining=True)) == 4
    (found,) = client.search_for_studies(search_filters={"PatientID": "7"}, fields=["StudyDescription"])
    assert found["00081030"]["Value"] == ["CT Thorax"]
    assert client.search_for_studies(search_filters={"PatientName": "nobody*"}) == []
    (fuzzy,) = client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "budi"})
    assert fuzzy["0020000D"]["Value"] == [study.study_instance_uid]
    assert len(client.search_for_series(study.study_instance_uid)) == 2
    assert len(client.search_for_series(search_filters={"Modality": "CT"})) == 2
    assert len(client.search_for_instances(study.study_instance_uid)) == 6
    assert len(client.search_for_instances()) == 6
