"""Anonymized and modified objects of a real Orthanc and of ours, attribute by attribute; `pyorthanc` on both."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pyorthanc
import pytest
import requests
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2023 as table
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.tag import Tag

from pacs.services.coercion import OF_THE_OTHER_PERSON
from radiology.models import Scope, Site
from radiology.services.access import issue_token
from tests.daemons import Daemon, free_port, web_daemon
from tests.integrations.orthanc_server import real_orthanc
from tests.pacs.objects import ct, part10

STUDY = "1.2.826.0.1.44"
# By VR, a value that can be told from none.
VALUES: dict[str, Any] = {
    "AE": "NODE", "AS": "034Y", "CS": "YES", "DA": "20260102", "DS": "1.5", "DT": "20260102101112", "FD": 1.5,
    "FL": 1.5, "IS": "7", "LO": "SECRET", "LT": "SECRET", "OB": b"SECRET", "OW": b"SECRET", "PN": "SECRET^NAME",
    "SH": "SECRET", "SL": 7, "SS": 7, "ST": "SECRET", "TM": "101112", "UC": "SECRET", "UI": "1.2.3.4", "UL": 7,
    "UR": "http://secret", "US": 7, "UT": "SECRET", "OF": b"SECRETSE", "OD": b"SECRETSE", "UN": b"SECRET",
}  # fmt: skip
# Where the later edition of the table does something else with what the earlier one named too.
ELSEWISE = {
    "2021b": {"TreatmentSite"},
    "2017c": {"DigitalSignatureUID", "VerifyingOrganization"},
    "2008": set(),
}
# Left as it was by Orthanc 1.10 in every edition, and not by us: names within sequences, and who retrieves.
ALWAYS_STRICTER = {"RealWorldValueMappingSequence.PatientName", "RetrieveAETitle"}


@pytest.fixture(scope="module")
def real_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        yield url


@pytest.fixture(scope="module")
def orthanc_server(django_db_setup: None) -> Iterator[Daemon]:
    daemon = web_daemon(SINAR_ORTHANC_PORT=str(free_port())).start()
    yield daemon
    daemon.stop()


@pytest.fixture
def both(orthanc_server: Daemon, real_one: str, committed_db: None, job_worker: Daemon) -> dict[str, pyorthanc.Orthanc]:
    token = issue_token(name="programs", scopes=list(Scope.values), site=Site.objects.default())[1]
    ours = f"http://127.0.0.1:{orthanc_server.environment['SINAR_ORTHANC_PORT']}"
    for patient in requests.get(f"{real_one}/patients", timeout=30).json():
        requests.delete(f"{real_one}/patients/{patient}", timeout=30)
    return {
        "theirs": pyorthanc.Orthanc(real_one, timeout=60),
        "ours": pyorthanc.Orthanc(ours, "any", token, timeout=60),
    }


def everything() -> bytes:
    """An object with all that the table names, and once more within a sequence, and much that it does not name."""
    named = {tag for tags in (getattr(table, name) for name in dir(table) if name.endswith("_TAGS")) for tag in tags}
    own = ct(StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.1", SOPInstanceUID=f"{STUDY}.1.1")
    inner = Dataset()
    others = [Tag(name) for name in ("SliceThickness", "KVP", "BodyPartExamined", "ImageType", "ContentLabel")]
    for tag in [*(Tag(each) for each in named if len(each) == 2), *others]:
        vr = dictionary_VR(tag)
        if tag in own or tag.group < 8 or vr not in VALUES or tag > 0x7FE00000:
            continue
        own.add_new(tag, vr, VALUES[vr])
        inner.add_new(tag, vr, VALUES[vr])
    inner.PatientName, inner.PatientID, inner.StudyInstanceUID = "SECRET^NAME", "MRN-1001", STUDY
    own.RealWorldValueMappingSequence = [inner]
    own.add_new(0x60003000, "OW", b"SECRET")
    own.add_new(0x50003000, "OW", b"SECRET")
    return part10(own)


def outcomes(before: Dataset, after: Dataset, path: str = "") -> Iterator[tuple[str, str]]:
    """What became of each attribute: kept, emptied, changed, removed, or added."""
    for tag in sorted({*before.keys(), *after.keys()}):
        name = path + (keyword_for_tag(tag) or str(tag))
        if tag not in after or tag not in before:
            yield name, "added" if tag in after else "removed"
        elif before[tag].VR == "SQ" and before[tag].value and after[tag].value:
            yield from outcomes(before[tag].value[0], after[tag].value[0], f"{name}.")
        elif before[tag].value == after[tag].value:
            yield name, "kept"
        else:
            yield name, "changed" if after[tag].value else "emptied"


def anonymized(both: dict[str, pyorthanc.Orthanc], given: dict[str, Any]) -> dict[str, dict[str, str]]:
    file = everything()
    before = pydicom.dcmread(io.BytesIO(file))
    found = {}
    for name, client in both.items():
        stored = client.post_instances(file)
        after = pydicom.dcmread(io.BytesIO(client.post_instances_id_anonymize(stored["ID"], json=given)))
        found[name] = dict(outcomes(before, after))
    return found


@pytest.mark.parametrize("version", ["2021b", "2017c", "2008"])
def test_what_becomes_of_each_attribute(both: dict[str, pyorthanc.Orthanc], version: str) -> None:
    found = anonymized(both, {"DicomVersion": version})
    names = {*found["theirs"], *found["ours"]}
    assert len(names) > 800
    other = {
        name: (found["theirs"].get(name), found["ours"].get(name))
        for name in names
        if found["theirs"].get(name) != found["ours"].get(name)
    }
    assert other.pop("SpecificCharacterSet") == ("kept", "removed")  # it is written in UTF-8, where it needs any
    stricter = {name for name, (theirs, ours) in other.items() if theirs == "kept" and ours != "kept"}
    elsewise = {name.rpartition(".")[2] for name in other.keys() - stricter}
    assert elsewise == ELSEWISE[version], {name: other[name] for name in other.keys() - stricter}
    assert len(stricter) == len(ALWAYS_STRICTER) if version == "2008" else 250 < len(stricter) < 700
    assert stricter >= ALWAYS_STRICTER


def test_pyorthanc_makes_copies_on_both(both: dict[str, pyorthanc.Orthanc]) -> None:
    told = {}
    for name, client in both.items():
        files = [part10(ct(StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.1", SOPInstanceUID=f"{STUDY}.1.{number}",
                           InstanceNumber=number, StudyDescription="Thorax", PatientComments="x"))
                 for number in (1, 2)]  # fmt: skip
        for file in files:
            client.post_instances(file)
        (study,) = pyorthanc.find_studies(client, {"StudyInstanceUID": STUDY})
        new = study.anonymize(keep=["StudyDescription"], replace={"PatientName": "TEACHING^CASE"})
        job = study.anonymize_as_job()
        job.wait_until_completion(0.1)
        changed = study.modify(replace={"StudyDescription": "changed"}, remove=["PatientComments"])
        moved = study.modify(replace={"StudyInstanceUID": f"{STUDY}.9"}, force=True)
        (series,) = study.series
        hidden = series.anonymize()
        renamed = series.modify(replace={"SeriesDescription": "axial"})
        patient = study.parent_patient
        other = patient.modify(replace={"PatientID": "R-1", "PatientName": "OTHER"}, force=True)
        nobody = patient.anonymize(dicom_version="2008")
        one = pydicom.dcmread(io.BytesIO(series.instances[0].anonymize(replace={"StudyID": "7"})))
        bulk = client.post_tools_bulk_anonymize({"Resources": [study.id_]})
        found = client.get_studies_id(new.id_)
        told[name] = {
            "anonymized": (new.description, new.patient_information["PatientName"]),
            "from": (found["AnonymizedFrom"] == study.id_, client.get_studies_id(changed.id_)["ModifiedFrom"]),
            "images": sorted(image.simplified_tags["InstanceNumber"] for image in new.series[0].instances),
            "job": (str(job.state), str(job.type), sorted({*job.content} - {"ParentResources"})),
            "changed": (changed.description, changed.parent_patient.id_),
            "moved": (moved.uid, moved.id_),
            "series": (hidden.parent_patient.id_ != patient.id_, renamed.description, renamed.parent_study.id_),
            "patients": (other.patient_id, other.name, len(other.studies), nobody.patient_id != patient.patient_id),
            "dates": [each.date.year for each in nobody.studies],
            "one": (one.StudyID, one.PatientIdentityRemoved, one.PatientBirthDate),
            "bulk": [[*sorted(each), each["Type"]] for each in bulk["Resources"]],
            "source": (study.description, len(series.instances)),
        }  # fmt: skip
    assert told["ours"] == told["theirs"]


@pytest.mark.parametrize(
    ("level", "what", "given"),
    [
        ("studies", "anonymize", {"Keep": ["PatientID"]}),
        ("studies", "anonymize", {"DicomVersion": "1999"}),
        ("studies", "anonymize", {"Remove": ["SOPInstanceUID"], "Force": True}),
        ("studies", "anonymize", {"Replace": {"NoSuch": "1"}}),
        ("studies", "modify", {"Replace": {"PatientID": "7"}, "Force": True}),
        ("studies", "modify", {"Replace": {"PatientID": "7"}}),
        ("patients", "modify", {"Replace": {"PatientName": "7"}}),
        ("series", "modify", {"Replace": {"StudyInstanceUID": "1.2"}, "Force": True}),
        ("instances", "anonymize", {"Replace": []}),
        ("instances", "modify", {"Remove": "StudyID"}),
        ("studies", "merge", {"Resources": ["nobody"]}),
        ("studies", "merge", {"KeepSource": True}),
        ("studies", "split", {"Series": []}),
        ("studies", "split", {"Instances": ["nobody"]}),
        ("studies", "split", {"Series": ["nobody"], "Replace": {"SeriesNumber": "7"}}),
    ],
)
def test_both_refuse(both: dict[str, pyorthanc.Orthanc], level: str, what: str, given: dict[str, Any]) -> None:
    for client in both.values():
        stored = client.post_instances(part10(ct(StudyInstanceUID=STUDY)))
        keys = {"patients": "ParentPatient", "studies": "ParentStudy", "series": "ParentSeries", "instances": "ID"}
        answer = client.post(f"{client.url}/{level}/{stored[keys[level]]}/{what}", json=given)
        # Orthanc calls an unknown attribute an error of its own.
        assert 400 <= answer.status_code < 500 or "Unknown DICOM tag" in answer.text, answer.text


def objects(study: str, *numbers: tuple[int, int], **attributes: Any) -> list[bytes]:
    """Images of a study, by the numbers of their series and their own."""
    return [
        part10(ct(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.{series}", InstanceNumber=number,
                  SOPInstanceUID=f"{study}.{series}.{number}", **attributes))
        for series, number in numbers
    ]  # fmt: skip


def test_what_merging_and_splitting_makes_of_each_attribute(both: dict[str, pyorthanc.Orthanc]) -> None:
    file = everything()
    before = pydicom.dcmread(io.BytesIO(file))
    found: dict[str, list[dict[str, str]]] = {}
    told = {}
    for name, client in both.items():
        stored = client.post_instances(file)
        (other,) = [
            client.post_instances(each) for each in objects(f"{STUDY}.8", (1, 1), PatientID="R-8", PatientName="R^8")
        ]
        given = {"Resources": [stored["ParentSeries"]], "KeepSource": True}
        merged = client.post_studies_id_merge(other["ParentStudy"], json=given)
        given = {
            "Series": [stored["ParentSeries"]],
            "KeepSource": True,
            "Replace": {"StudyDescription": "off", "PatientName": "SPLIT^OFF"},
            "Remove": ["StudyID", "OtherPatientNames"],
        }
        split = client.post_studies_id_split(stored["ParentStudy"], json=given)
        one = client.post_studies_id_split(
            stored["ParentStudy"], json={"Instances": [stored["ID"]], "KeepSource": True, "Asynchronous": True}
        )
        job = pyorthanc.Job(one["ID"], client)
        job.wait_until_completion(0.1)
        made = [
            each["ID"]
            for study in (other["ParentStudy"], split["TargetStudy"])
            for each in client.get_studies_id_instances(study)
            if each["ID"] != other["ID"]
        ]
        files = [pydicom.dcmread(io.BytesIO(client.get_instances_id_file(each))) for each in made]
        found[name] = [dict(outcomes(before, each)) for each in files]
        told[name] = {
            "merged": (merged["TargetStudy"] == other["ParentStudy"], merged["InstancesCount"], sorted(merged)),
            "split": (split["TargetStudyUID"] == files[1].StudyInstanceUID, split["InstancesCount"], sorted(split)),
            "job": (str(job.state), str(job.type), sorted(job.content)),
            "metadata": [sorted({"ModifiedFrom"} & client.get_instances_id_metadata(each, {"expand": 1}).keys())
                         for each in made],
            "patients": [(str(each.PatientName), each.PatientID, each.StudyDescription if "StudyDescription" in each
                          else None) for each in files],
            "source": len(client.get_studies_id_instances(stored["ParentStudy"])),
        }  # fmt: skip
    assert told["ours"] == told["theirs"]
    differences = [
        {
            keyword: (theirs.get(keyword), ours.get(keyword))
            for keyword in {*theirs, *ours}
            if theirs.get(keyword) != ours.get(keyword) and keyword not in {"SpecificCharacterSet", "RetrieveAETitle"}
        }
        for theirs, ours in zip(found["theirs"], found["ours"], strict=True)
    ]
    # Of the person that they came under, merged objects say nothing here.
    assert set(differences[0].values()) == {("kept", "removed")} and differences[1] == {}, differences
    assert set(differences[0]) <= {keyword_for_tag(tag) for tag in OF_THE_OTHER_PERSON}


def test_what_is_deleted_and_what_copies_take_the_place_of(both: dict[str, pyorthanc.Orthanc]) -> None:
    told = {}
    for name, client in both.items():
        for file in objects(STUDY, (1, 1), (1, 2), (2, 1), (3, 1), (4, 1), (4, 2)):
            client.post_instances(file)
        (study,) = pyorthanc.find_studies(client, {"StudyInstanceUID": STUDY})
        series, owner = {each.uid[-1]: each for each in study.series}, study.parent_patient.id_
        first = series["1"].instances[0].id_
        gone = client.delete_instances_id(first)
        last = client.delete_instances_id(series["2"].instances[0].id_)
        whole = client.delete_series_id(series["3"].id_)
        bulk = client.post_tools_bulk_delete({"Resources": [series["4"].instances[0].id_]})
        counts = [client.get_studies_id_statistics(study.id_)["CountInstances"]]
        new = client.post_series_id_modify(
            series["1"].id_, json={"Replace": {"ProtocolName": "new"}, "KeepSource": False}
        )
        counts.append(client.get_studies_id_statistics(study.id_)["CountInstances"])
        hidden = client.post_series_id_anonymize(series["4"].id_, json={"KeepSource": False})
        counts.append(client.get_studies_id_statistics(study.id_)["CountSeries"])
        given = {"Remove": ["StudyID"], "Replace": {"InstitutionName": "RS"}, "KeepSource": False}
        changed = client.post_studies_id_modify(study.id_, json=given)
        given = {"Replace": {"PatientID": "R-9", "PatientName": "R^9"}, "Force": True, "KeepSource": False}
        patient = client.post_patients_id_modify(owner, json=given)
        patients = [client.get_patients_id(each)["MainDicomTags"]["PatientID"] for each in client.get_patients()]
        told[name] = {
            "ancestors": [gone, last, whole, bulk],
            "counts": counts,
            "series": (new["Type"], new["InstancesCount"], hidden["InstancesCount"]),
            "changed": (changed["Type"], changed["InstancesCount"], changed["PatientID"]),
            "patient": (patient["ID"], patient["InstancesCount"]),
            "patients": ("R-9" in patients, len(patients), len(client.get_studies())),
        }
    assert told["ours"] == told["theirs"]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "nonsense"])
def test_transcoded_copies(both: dict[str, pyorthanc.Orthanc], syntax: str) -> None:
    told = {}
    for name, client in both.items():
        stored = client.post_instances(Path(get_testdata_file("MR_small_RLE.dcm")).read_bytes())
        answers = [
            client.post(f"{client.url}/{path}/modify", json={"Replace": {"StudyID": "7"}, "Transcode": syntax})
            for path in (f"instances/{stored['ID']}", f"studies/{stored['ParentStudy']}")
        ]
        told[name] = [each.status_code for each in answers]
        if syntax != "nonsense":
            (made,) = client.get_studies_id_instances(answers[1].json()["ID"])
            for content in (answers[0].content, client.get_instances_id_file(made["ID"])):
                file = pydicom.dcmread(io.BytesIO(content))
                told[name] += [file.file_meta.TransferSyntaxUID, file.PhotometricInterpretation, file.StudyID]
                told[name].append(file.pixel_array.tobytes())
            told[name].append(answers[1].json()["Transcode"])
    assert told["ours"] == told["theirs"]
