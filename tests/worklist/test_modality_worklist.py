"""The modality worklist as a service: matching by every key of PS3.4 Table K.6-1, and what a station may see."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from radiology.dicom import parse_offset
from radiology.errors import InvalidValue
from radiology.models import OrderStatus
from tests.factories import (
    default_site,
    make_device,
    make_node,
    make_order,
    make_patient,
    make_requested_procedure,
    make_room,
    make_site,
    make_step,
)
from worklist.models import ScheduledProcedureStep, StepStatus, WorklistReach
from worklist.services.modality_worklist import WorklistSearch
from worklist.services.worklist_attributes import ATTRIBUTES, STEP
from worklist.services.worklist_rules import Rule, RuleName, Station, station_of

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 10, 3, 0, tzinfo=UTC)  # 10:00 in Jakarta
WIB = timedelta(hours=7)


def at(text: str) -> datetime:
    """A local time of Jakarta, `2026-03-10 09:30`, as an instant."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC) - WIB


def search(
    step_keys: dict[str, Any] | None = None, *, station: Station | None = None, zone: Any = None, **keys: Any
) -> WorklistSearch:
    if step_keys is not None:
        keys["ScheduledProcedureStepSequence"] = step_keys
    return WorklistSearch(station=station or Station(default_site(), "XX"), keys=keys, zone=zone, now=NOW)


def ids(found: WorklistSearch) -> list[str]:
    steps = list(ScheduledProcedureStep.objects.all())
    matched = [step.scheduled_procedure_step_id for step in found.rows(ScheduledProcedureStep.objects.all())]
    # SQL and Python must be of one mind, whichever of the two refuses.
    candidates = found.candidates(ScheduledProcedureStep.objects.order_by("scheduled_start", "pk"))
    assert [step.scheduled_procedure_step_id for step in candidates if found.matches(step)] == matched
    assert len(steps) >= len(matched)
    return matched


# By keyword: a text that matches the step above, and one that does not.
STEP_KEYS = {
    "ScheduledStationAETitle": ("CT?", "CT2"),
    "ScheduledProcedureStepStartDate": ("20260310", "20260311"),
    "ScheduledProcedureStepStartTime": ("0930", "0931"),
    "ScheduledProcedureStepEndDate": ("20260310", "20260309"),
    "ScheduledProcedureStepEndTime": ("0900-1000", "0900"),
    "Modality": ("CT", "MR"),
    "ScheduledPerformingPhysicianName": ("rahman*", "rahma"),
    "ScheduledProcedureStepDescription": ("CT*", "ct*"),
    "ScheduledStationName": ("CTSTATION", "CT"),
    "ScheduledProcedureStepLocation": ("CT room", "CT"),
    "PreMedication": ("*pan", "x"),
    "ScheduledProcedureStepID": ("S1", "S"),
    "RequestedContrastAgent": ("Iohexol", "x"),
    "ScheduledProcedureStepStatus": ("ARRIVED", "SCHEDULED"),
    "CommentsOnTheScheduledProcedureStep": ("Second*", "First*"),
}
KEYS = {
    "RequestedProcedureID": ("RP1", "RP2"),
    "RequestedProcedureDescription": ("CT Thorax", "CT"),
    "StudyInstanceUID": ("1.2.3\\1.2.3.4", "1.2.3"),
    "RequestedProcedurePriority": ("HIGH", "STAT"),
    "PatientTransportArrangements": ("Wheel*", "Bed"),
    "ReasonForTheRequestedProcedure": ("Cough", "cough"),
    "RequestedProcedureComments": ("*hurry", "x"),
    "RequestedProcedureLocation": ("CT room", "MR room"),
    "NamesOfIntendedRecipientsOfResults": ("SARI*", "x"),
    "AccessionNumber": ("ACC1", "ACC"),
    "RequestingPhysician": ("Hadi^*", "x"),
    "ReferringPhysicianName": ("sari^dewi", "dewi"),
    "RequestingService": ("Pulmo*", "x"),
    "PlacerOrderNumberImagingServiceRequest": ("P1", "P"),
    "FillerOrderNumberImagingServiceRequest": ("F1", "F"),
    "IssueDateOfImagingServiceRequest": ("-20260309", "20260310-"),
    "IssueTimeOfImagingServiceRequest": ("14", "15"),
    "OrderEnteredBy": ("putri^rina", "x"),
    "AdmissionID": ("V1", "V2"),
    "CurrentPatientLocation": ("Ward*", "x"),
    "InstitutionName": ("*", "Elsewhere"),
    "PatientName": ("WIBOWO^B*", "BUDI"),
    "PatientID": ("RM-1", "rm-1"),
    "IssuerOfPatientID": ("RSUD", "RS"),
    "PatientBirthDate": ("19800101-19801231", "19810101-"),
    "PatientSex": ("M", "F"),
    "PatientAge": ("046Y", "045Y"),
    "PatientWeight": ("72.5", "72"),
    "PatientSize": ("1.70", "1.80"),
    "ConfidentialityConstraintOnPatientDataDescription": ("VIP", "x"),
    "PatientState": ("Isolation", "x"),
    "PregnancyStatus": ("4", "1"),
    "SpecialNeeds": ("Interpreter", "x"),
    "MedicalAlerts": ("Metformin", "x"),
    "Allergies": ("Iodine", "x"),
    "LastMenstrualDate": ("20260220", "20260221"),
    "AdditionalPatientHistory": ("*TB*", "x"),
    "PatientComments": ("Deaf", "x"),
    "PatientAddress": ("*Merdeka*", "x"),
    "PatientTelephoneNumbers": ("0812-345", "x"),
    "PatientMotherBirthName": ("siti", "x"),
}
ITEMS: dict[str, tuple[Any, Any]] = {
    "RequestedProcedureCodeSequence": (
        {"CodeValue": "CTTHX", "CodeMeaning": "CT*"},
        {"CodeValue": "CTTHX", "CodingSchemeDesignator": "LN"},
    ),
    "ReferencedStudySequence": ({"ReferencedSOPInstanceUID": "1.2.3.4"}, {"ReferencedSOPInstanceUID": "1.2.3"}),
    "IssuerOfAccessionNumberSequence": ({"LocalNamespaceEntityID": "RSUD*"}, {"LocalNamespaceEntityID": "X"}),
    "OtherPatientIDsSequence": ({"PatientID": "3171"}, {"PatientID": "RM-1"}),
}


def test_every_attribute_that_is_answered_is_matched(full: ScheduledProcedureStep) -> None:
    assert {each.keyword for each in STEP.items.values()} - set(STEP_KEYS) == {"ScheduledProtocolCodeSequence"}
    assert {each.keyword for each in ATTRIBUTES.values()} - set(KEYS) - set(ITEMS) == {
        "ScheduledProcedureStepSequence",
        "ReferencedPatientSequence",
        "TimezoneOffsetFromUTC",
    }


def test_keys_of_the_step_match(full: ScheduledProcedureStep) -> None:
    for keyword, (right, wrong) in STEP_KEYS.items():
        for universal in ("",) if keyword.endswith(("Date", "Time")) else ("", "*"):
            assert ids(search({keyword: universal})) == ["S1"], keyword
        assert ids(search({keyword: right})) == ["S1"], keyword
        assert ids(search({keyword: wrong})) == [], keyword


def test_keys_of_order_visit_and_patient_match(full: ScheduledProcedureStep) -> None:
    for keyword, (right, wrong) in KEYS.items():
        assert ids(search(**{keyword: ""})) == ids(search(**{keyword: right})) == ["S1"], keyword
        assert ids(search(**{keyword: wrong})) == [], keyword


def test_keys_within_an_item_match_one_item_together(full: ScheduledProcedureStep) -> None:
    for keyword, (right, wrong) in ITEMS.items():
        assert ids(search(**{keyword: {}})) == ids(search(**{keyword: right})) == ["S1"], keyword
        assert ids(search(**{keyword: wrong})) == [], keyword


def test_protocol_codes_match_within_one_item(full: ScheduledProcedureStep) -> None:
    ScheduledProcedureStep.objects.update(scheduled_protocol_codes=[["A", "X", "one"], ["B", "Y", "two"]])
    for item, found in (
        ({"CodeValue": "B", "CodingSchemeDesignator": "Y"}, ["S1"]),
        ({"CodeValue": "A", "CodingSchemeDesignator": "Y"}, []),
    ):
        assert ids(search({"ScheduledProtocolCodeSequence": item})) == found


def test_an_empty_stored_value_fails_any_key_but_an_empty_one_and_a_lone_asterisk() -> None:
    """PS3.4 K.2.2.1.1.1. The values of type 1 are never empty."""
    patient = make_patient("RM-2", "X", patient_birth_date="", patient_sex="")
    step = make_step(make_requested_procedure(make_order(patient), requested_procedure_description=""))
    empty = 0
    for keyword in (*STEP_KEYS, *KEYS):
        found = search({keyword: ""}) if keyword in STEP_KEYS else search(**{keyword: ""})
        answer = found.answer(step)
        (element,) = (answer["00400100"]["Value"][0] if keyword in STEP_KEYS else answer).values()
        if "Value" in element:
            continue
        empty += 1
        for key, expected in _keys_for_nothing(keyword):
            asked = search({keyword: key}) if keyword in STEP_KEYS else search(**{keyword: key})
            assert len(ids(asked)) == expected, (keyword, key)
    assert empty > 25


def _keys_for_nothing(keyword: str) -> list[tuple[str, int]]:
    """Keys of that attribute, and whether they match an empty value."""
    if keyword.endswith(("Date", "Time")):
        return [("", 1), ("20260101-" if keyword.endswith("Date") else "10-", 0)]
    if keyword == "PregnancyStatus":
        return [("", 1), ("1", 0)]
    return [("", 1), ("*", 1), ("?*", 0), ("*a*", 0), ("1", 0)]


INTERVALS = [
    ("20260310", "", ["B", "C", "D"]),
    ("20260309-20260310", "", ["A", "B", "C", "D"]),
    ("20260310-", "", ["B", "C", "D", "E"]),
    ("-20260310", "", ["A", "B", "C", "D"]),
    ("", "0930", ["C"]),
    ("", "09", ["C"]),
    ("", "0000-0100", ["B", "E"]),
    ("", "2300-0100", ["A", "B", "D", "E"]),
    ("", "-0930", ["B", "C", "E"]),
    # From the first date's time to the last date's: one interval (Table K.6-1).
    ("20260309-20260310", "2300-0930", ["A", "B", "C"]),
    ("20260309-20260310", "2331-0929", ["B"]),
    ("20260309-20260311", "1000-0000", ["A", "B", "C", "D"]),
    ("20260310-", "0930-", ["C", "D", "E"]),
    ("-20260310", "-0930", ["A", "B", "C"]),
    ("20260309-", "-0030", ["A", "B", "C", "D", "E"]),
    ("20260310", "0930-2329", ["C"]),
    # A range that ends before it begins goes on into the next day.
    ("20260310", "2300-0100", ["D", "E"]),
    # A time that is no range holds on each of the days.
    ("20260309-20260311", "2330", ["A", "D"]),
    ("20260310\\20260311", "", ["B", "C", "D", "E"]),
]


def test_start_date_and_time_are_one_interval() -> None:
    for name, start in (
        ("A", "2026-03-09 23:30"),
        ("B", "2026-03-10 00:00"),
        ("C", "2026-03-10 09:30"),
        ("D", "2026-03-10 23:30"),
        ("E", "2026-03-11 00:30"),
    ):
        make_step(scheduled_procedure_step_id=name, scheduled_start=at(start))
    for dates, times, expected in INTERVALS:
        keys = {"ScheduledProcedureStepStartDate": dates, "ScheduledProcedureStepStartTime": times}
        assert ids(search(keys)) == expected, (dates, times)


def test_dates_are_meant_and_answered_in_the_zone_of_the_site_or_of_the_query(full: ScheduledProcedureStep) -> None:
    keys = {"ScheduledProcedureStepStartDate": "20260310", "ScheduledProcedureStepStartTime": "0230"}
    assert ids(search(keys)) == []
    found = search(keys, zone=parse_offset("+0000"), TimezoneOffsetFromUTC="")
    assert ids(found) == ["S1"]
    (answer,) = found.answers(ScheduledProcedureStep.objects.all())
    assert answer["00080201"]["Value"] == ["+0000"]
    assert answer["00400100"]["Value"][0]["00400003"]["Value"] == ["023000"]
    (answer,) = search(TimezoneOffsetFromUTC="").answers(ScheduledProcedureStep.objects.all())
    assert answer["00080201"]["Value"] == ["+0700"]


@pytest.mark.parametrize(
    ("step_keys", "keys", "field"),
    [
        ({"ScheduledProcedureStepStartDate": "2026"}, {}, "ScheduledProcedureStepStartDate"),
        ({"ScheduledProcedureStepStartDate": "20260311-20260310"}, {}, "ScheduledProcedureStepStartDate"),
        ({"ScheduledProcedureStepStartTime": "25"}, {}, "ScheduledProcedureStepStartTime"),
        ({}, {"PatientBirthDate": "x"}, "PatientBirthDate"),
        ({}, {"StudyInstanceUID": "1.2.x"}, "StudyInstanceUID"),
        ({}, {"PregnancyStatus": "yes"}, "PregnancyStatus"),
    ],
)
def test_malformed_values_are_refused_by_name(step_keys: Any, keys: Any, field: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        search(step_keys, **keys)
    assert refused.value.field == field and field in refused.value.message


def test_what_is_not_known_is_named_as_unsupported() -> None:
    found = search({"ScheduledSpecimenSequence": {}}, ImageComments="x", PatientID="", **{"00091001": "private"})
    assert sorted(found.unsupported) == ["00091001", "ImageComments", "ScheduledSpecimenSequence"]


def refused_by(step: ScheduledProcedureStep, station: Station) -> list[str]:
    """The rules that keep a step from a station; SQL must agree."""
    found = search(station=station)
    names = [rule.name.value for rule in found.refusals(step) if isinstance(rule, Rule)]
    assert bool(names) is (step not in list(found.rows(ScheduledProcedureStep.objects.all())))
    return names


def test_only_open_steps_that_are_on_the_calendar_of_people_with_a_name_are_told() -> None:
    station = Station(default_site(), "XX")
    for status in StepStatus:
        hidden = status in {StepStatus.COMPLETED, StepStatus.DISCONTINUED, StepStatus.CANCELLED, StepStatus.NO_SHOW}
        assert refused_by(make_step(status=status), station) == ([RuleName.STATUS] if hidden else [])
    assert refused_by(make_step(scheduled_start=None), station) == [RuleName.TIME]
    for order_status in OrderStatus:
        step = make_step(make_requested_procedure(make_order(status=order_status)))
        told = order_status in {OrderStatus.ACTIVE, OrderStatus.COMPLETED}
        assert refused_by(step, station) == ([] if told else [RuleName.ORDER])
    for patient in (make_patient("", "X"), make_patient("7", "")):
        step = make_step(make_requested_procedure(make_order(patient)))
        assert refused_by(step, Station(default_site(), "XX")) == [RuleName.IDENTITY]


def test_a_device_sees_as_far_as_its_worklist_reaches() -> None:
    room, elsewhere = make_room("HERE"), make_room("THERE")
    one, two = make_device("CT1", room=room), make_device("MR1", room=room, modality="MR")
    far = make_device("CT2", room=elsewhere)
    start = iter(NOW + timedelta(hours=n) for n in range(9))
    steps = {
        name: make_step(modality=modality, scheduled_start=next(start), **fields)
        for name, modality, fields in (
            ("mine", "CT", {"device": one}),
            ("room", "MR", {"device": two}),
            ("modality", "CT", {"device": far}),
            ("site", "US", {}),
        )
    }
    other = make_site("other")
    make_step(make_requested_procedure(make_order(make_patient(site=other))), site=other, scheduled_start=next(start))
    reach = {
        WorklistReach.STATION: {"mine"},
        WorklistReach.ROOM: {"mine", "room"},
        WorklistReach.MODALITY: {"mine", "modality"},
        WorklistReach.SITE: {"mine", "room", "modality", "site"},
    }
    for choice, expected in reach.items():
        one.worklist_reach = choice
        station = Station(default_site(), "CT1", one)
        assert {name for name, step in steps.items() if not refused_by(step, station)} == expected
        assert len(ids(search(station=station))) == len(expected)
    assert len(ids(search(station=Station(other, "XX")))) == 1
    assert len(ids(search())) == 4
    one.is_active = False
    assert RuleName.IN_USE in refused_by(steps["mine"], Station(default_site(), "CT1", one))


def test_a_device_sees_the_days_around_today_in_the_site_zone() -> None:
    device = make_device("CT1", worklist_days_back=1, worklist_days_ahead=2)
    station = Station(default_site(), "CT1", device)
    for start, told in (
        ("2026-03-08 23:59", False),
        ("2026-03-09 00:00", True),
        ("2026-03-12 23:59", True),
        ("2026-03-13 00:00", False),
    ):
        step = make_step(scheduled_start=at(start))
        assert refused_by(step, station) == ([] if told else [RuleName.DAYS]), start
    far = make_step(scheduled_start=at("2027-01-01 00:00"))
    assert refused_by(far, Station(default_site(), "XX")) == []


def test_the_station_that_calls_is_found_by_its_title_then_by_its_node() -> None:
    node = make_node("GATE")
    one, two = make_device("CT1"), make_device("CT2", node=node)
    assert station_of(node=node, title="CT1").device == one
    assert station_of(node=node, title="GATE").device == two
    make_device("CT3", node=node)
    assert station_of(node=node, title="GATE").device is None
    assert station_of(node=node, title="CT2").device == two
    foreign = make_node("CT1", site=make_site("other"))
    assert station_of(node=foreign, title="CT1").device is None


def test_a_step_for_no_device_in_particular_is_answered_with_the_title_that_asks() -> None:
    make_step(scheduled_procedure_step_id="S1", scheduled_start=NOW)
    station = Station(default_site(), "CT9")
    assert ids(search({"ScheduledStationAETitle": "CT9"}, station=station)) == ["S1"]
    assert ids(search({"ScheduledStationAETitle": "CT8"}, station=station)) == []
    (answer,) = search({"ScheduledStationAETitle": ""}, station=station).answers(ScheduledProcedureStep.objects.all())
    assert answer["00400100"]["Value"] == [{"00400001": {"vr": "AE", "Value": ["CT9"]}}]


def test_answers_hold_what_was_asked_and_nothing_else(full: ScheduledProcedureStep) -> None:
    found = search(
        {"Modality": "CT", "ScheduledProtocolCodeSequence": {"CodeValue": ""}},
        PatientName="",
        ReferencedPatientSequence={},
    )
    step = {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00400008": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["P17"]}}]},
    }
    assert list(found.answers(ScheduledProcedureStep.objects.all())) == [
        {
            "00081120": {"vr": "SQ"},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Wibowo^Budi"}]},
            "00400100": {"vr": "SQ", "Value": [step]},
        }
    ]


def everything() -> dict[str, Any]:
    return {each.keyword: {} if each.vr == "SQ" else "" for each in ATTRIBUTES.values()}


def test_a_query_costs_the_same_number_of_queries_however_much_is_answered(
    django_assert_max_num_queries: Any, full: ScheduledProcedureStep
) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            found = search(**everything())
            list(found.answers(ScheduledProcedureStep.objects.all()))
        return len(captured)

    before = cost()
    for n in range(40):
        patient = make_patient(identifiers=[("NIK", f"31{n}")])
        make_step(make_requested_procedure(make_order(patient)), scheduled_start=NOW + timedelta(hours=n))
    assert cost() == before <= 6
    found = search({"Modality": "CT"}, PatientName="")
    with django_assert_max_num_queries(1):
        assert len(list(found.answers(ScheduledProcedureStep.objects.all()))) == 41


def test_many_answers_come_in_pages_in_the_order_of_their_start() -> None:
    procedure = make_requested_procedure()
    for n in range(130):
        make_step(procedure, scheduled_procedure_step_id=f"S{n:03d}", scheduled_start=NOW - timedelta(minutes=n % 7))
    found = ids(search())
    assert len(set(found)) == len(found) == 130
    starts = [step.scheduled_start or NOW for step in search().rows(ScheduledProcedureStep.objects.all())]
    assert starts == sorted(starts)
