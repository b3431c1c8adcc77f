"""Patients are found by what people say of them, however it is spelled, and as cheaply among many."""

from datetime import date
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from radiology.birth_dates import parse_birth_date
from radiology.models import Patient, User
from radiology.phonetics import sound_key
from radiology.services.merges import merge_patients
from radiology.services.patient_search import find_patients, understand_patient
from tests.factories import make_patient, make_site, make_user
from tests.many_rows import FIRST, fill
from tests.radiology.test_admin_lists import touched_rows

pytestmark = pytest.mark.database

ALIKE = [
    "soekarno sukarno", "djoko joko", "tjahjono cahyono", "sjarif syarif", "soerja surya", "jogja yogya",
    "njoman nyoman", "chairil khairil", "achmad ahmad akhmad ahmat", "muhammad mochamad moh muhamad mohammad",
    "jusuf yusup", "eva efa", "zulfikar dzulfikar sulfikar", "ridho rido", "thamrin tamrin", "dahlia dalia",
    "riyadi riadi", "yuwono yuono", "andri andry", "christina kristina", "fitri pitri vitri", "soetjipto sucipto",
    "hassan hasan", "taufiq taufik", "aisyah aisah", "titiek titik",
]  # fmt: skip
UNLIKE = ["siti sri", "agus bagus", "dewi dwi", "sari sri", "rina rini", "budi beni", "adi andi"]


@pytest.mark.parametrize("names", ALIKE)
def test_spellings_of_one_name_sound_alike(names: str) -> None:
    assert len({sound_key(name) for name in names.split()}) == 1


@pytest.mark.parametrize("names", UNLIKE)
def test_other_names_do_not(names: str) -> None:
    assert len({sound_key(name) for name in names.split()}) == 2


@pytest.mark.parametrize(
    "text",
    ["1970-01-31", "19700131", "31/1/1970", "31-01-1970", "31.01.1970", "31011970", "31 Januari 1970", "31 jan 1970",
     "January 31, 1970"],
)  # fmt: skip
def test_birth_dates_are_read_as_people_write_them(text: str) -> None:
    assert parse_birth_date(text) == date(1970, 1, 31)


@pytest.mark.parametrize("text", ["", "31/02/1970", "1970", "32 Januari 1970", "budi", "99999999", "٣١/٠١/١٩٧٠"])
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_birth_date(text) is None


def test_a_text_is_words_numbers_and_a_birth_date() -> None:
    asked = understand_patient("Budi, 31 Januari 1970 mrn RM-7")
    assert (asked.words, asked.numbers, asked.born) == (["budi"], ["RM-7"], date(1970, 1, 31))
    assert understand_patient("siti 1980").year == 1980
    assert understand_patient("  \x00 ^ , ").is_empty


@pytest.fixture
def who(db: None) -> User:
    return make_user(role="radiographer")


def names(who: Any, text: str) -> list[str]:
    return [each.patient.patient_name for each in find_patients(who=who, text=text)]


def test_by_name_number_birth_date_and_sound(who: User) -> None:
    make_patient("RM-1", "SOEKARNO^DJOKO", patient_birth_date="19700131", identifiers=[("NIK", "3171000000000001")])
    make_patient("RM-2", "SUKARNI^SITI", patient_birth_date="19800101")
    make_patient("RM-3", "ДОСТОЕВСКИЙ^ФЁДОР", patient_birth_date="18811111")
    make_patient("RM-4", "WANG^XIAODONG=王^小东", patient_birth_date="")
    for text in (
        "soekarno djoko", "djoko soekarno", "DJOK soek", "sukarno", "Joko Sukarno", "rm-1", "RM-1", "mrn rm-1",
        "3171000000000001", "317100000000", "31/01/1970", "19700131", "31 januari 1970", "joko 31-1-1970", "joko 1970",
    ):  # fmt: skip
        assert names(who, text) == ["SOEKARNO^DJOKO"], text
    assert names(who, "достоевский") == names(who, "Фёдор досто") == ["ДОСТОЕВСКИЙ^ФЁДОР"]
    assert names(who, "小东") == ["WANG^XIAODONG=王^小东"]
    assert set(names(who, "suk")) == {"SUKARNI^SITI", "SOEKARNO^DJOKO"}
    for text in ("", " ", "%", "_", "joko 1980", "nobody", "\\", "x" * 5000):
        assert names(who, text) == []


def test_what_is_exact_comes_before_what_sounds_alike(who: User) -> None:
    for name in ("YUSUP", "JUSUF^A", "YUSUF^B", "YUSUFINA^C"):
        make_patient(None, name)
    assert names(who, "yusuf") == ["YUSUF^B", "YUSUFINA^C", "JUSUF^A", "YUSUP"]


def test_merged_patients_are_found_as_whom_they_are_now(who: User) -> None:
    merged, survivor = make_patient("RM-1", "OLD^NAME"), make_patient("RM-2", "NEW^PERSON")
    merge_patients(who=who, survivor=survivor, merged=merged)
    for text in ("RM-1", "old name", "RM-2"):
        (found,) = find_patients(who=who, text=text)
        assert found.patient == survivor
        assert found.formerly == (None if text == "RM-2" else merged)


def test_other_sites_are_not_found(who: User) -> None:
    make_patient("RM-1", "BUDI", site=make_site())
    assert names(who, "budi") == names(who, "RM-1") == []


@pytest.mark.parametrize(
    "text", ["sari", "sari dewi", "sary dewy", "rm-17", "3171-17", "nobody here", "01/01/1970", "17", "sari 1970"]
)
def test_a_search_costs_the_same_among_many(db: None, text: str) -> None:
    rows = fill(times=3000)
    who = make_user(role="radiographer")
    with CaptureQueriesContext(connection) as captured:
        find_patients(who=who, text=text)
    queries = [query["sql"] for query in captured.captured_queries if "radiology_patient" in query["sql"]]
    assert len(queries) <= 10
    assert rows[Patient].pk < FIRST
    for sql in queries:
        assert "LIMIT" in sql or " IN (" in sql
        if "01/01/1970" not in text and "sari" not in text:  # everybody in these rows has that name and that day
            assert touched_rows(sql) <= 400, sql
