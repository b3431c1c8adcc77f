"""What the search box understands, phrase by phrase, in English and Indonesian."""

from datetime import date

import pytest

from pacs.services.search_days import Days, days_of
from pacs.services.search_words import Meaning, understand

MONDAY = date(2026, 11, 23)


def days(start: str, end: str = "") -> Days:
    first = date.fromisoformat(start)
    return Days(first, date.fromisoformat(end) if end else first)


@pytest.mark.parametrize(
    ("phrase", "meant"),
    [
        ("today", days("2026-11-23")),
        ("hari ini", days("2026-11-23")),
        ("yesterday", days("2026-11-22")),
        ("kemarin", days("2026-11-22")),
        ("kemarin lusa", days("2026-11-21")),
        ("3 days ago", days("2026-11-20")),
        ("3 hari yang lalu", days("2026-11-20")),
        ("this week", days("2026-11-23", "2026-11-29")),
        ("last week", days("2026-11-16", "2026-11-22")),
        ("minggu lalu", days("2026-11-16", "2026-11-22")),
        ("hari minggu", days("2026-11-22")),
        ("last month", days("2026-10-01", "2026-10-31")),
        ("bulan ini", days("2026-11-01", "2026-11-30")),
        ("tahun lalu", days("2025-01-01", "2025-12-31")),
        ("last 7 days", days("2026-11-17", "2026-11-23")),
        ("2 minggu terakhir", days("2026-11-10", "2026-11-23")),
        ("monday", days("2026-11-23")),
        ("jumat", days("2026-11-20")),
        ("hari senin", days("2026-11-23")),
        ("2026-11-03", days("2026-11-03")),
        ("2026-11", days("2026-11-01", "2026-11-30")),
        ("11/2026", days("2026-11-01", "2026-11-30")),
        ("nov 2026", days("2026-11-01", "2026-11-30")),
        ("agustus 2026", days("2026-08-01", "2026-08-31")),
        ("01/11/2026", days("2026-11-01")),
        ("1.11.2026", days("2026-11-01")),
        ("1-11-26", days("2026-11-01")),
        ("1/11", days("2026-11-01")),
        ("3 nov", days("2026-11-03")),
        ("3rd nov", days("2026-11-03")),
        ("nov 3 2025", days("2025-11-03")),
        ("3 desember", days("2025-12-03")),
        ("29 feb", days("2024-02-29")),
        ("1-5 nov", days("2026-11-01", "2026-11-05")),
        ("1 - 5 nov 2025", days("2025-11-01", "2025-11-05")),
        ("nov 1-5", days("2026-11-01", "2026-11-05")),
        ("28 oct - 3 nov", days("2026-10-28", "2026-11-03")),
        ("28 dec - 3 jan", days("2025-12-28", "2026-01-03")),
        ("1 nov s/d 5 nov", days("2026-11-01", "2026-11-05")),
        ("1 nov sampai 5 nov 2025", days("2025-11-01", "2025-11-05")),
        ("05/11/2026 - 01/11/2026", days("2026-11-01", "2026-11-05")),
        ("2026-11-01..2026-11-05", days("2026-11-01", "2026-11-05")),
        ("20261101-20261105", days("2026-11-01", "2026-11-05")),
        ("dec-jan 2026", days("2025-12-01", "2026-01-31")),
        ("since 1 nov", Days(date(2026, 11, 1), None)),
        ("sejak kemarin", Days(date(2026, 11, 22), None)),
    ],
)
def test_days_as_people_say_them(phrase: str, meant: Days) -> None:
    assert days_of(phrase, MONDAY) == meant


@pytest.mark.parametrize(
    "phrase",
    [
        "siti", "nov", "novi", "agus", "mar", "30 feb", "31/04/2026", "0001-01-01", "9999-12-31", "2026-13", "00/12",
        "1-5", "12345678", "99999999999 days ago", "", "-", "..", "٣ nov", "1-5 nov - 7 dec", "x" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_day_stays_a_word(phrase: str) -> None:
    assert days_of(phrase, MONDAY) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("siti ct thorax yesterday", "name:siti modality:ct name:thorax days:yesterday"),
        ("kemarin CT-scan nurhaliza", "days:kemarin modality:CT-scan name:nurhaliza"),
        ("ct scan 3 nov 2026 budi", "modality:ct scan|days:3 nov 2026|name:budi"),
        ("usg minggu lalu", "modality:usg|days:minggu lalu"),
        ("rontgen 1-5 nov", "modality:rontgen|days:1-5 nov"),
        ("3276001122334455", "number:3276001122334455"),
        ("RAD26-0007", "number:RAD26-0007"),
        ('"jumat" senin', 'name:"jumat"|days:senin'),
        ("sari,siti;budi", "name:sari|name:siti|name:budi"),
        ("mr", "modality:mr"),
        ("  ", ""),
    ],
)
def test_a_box_is_understood_term_by_term(text: str, meant: str) -> None:
    understood = understand(text, MONDAY)
    told = [f"{term.meaning}:{term.text}" for term in understood.terms]
    assert told == [part for part in meant.split("|" if "|" in meant else " ") if part]


@pytest.mark.parametrize("text", ["rm 00123", "mrn:00123", "No.RM 00123"])
def test_the_name_of_a_number_is_not_looked_for(text: str) -> None:
    (term,) = understand(text, MONDAY).terms
    assert (term.meaning, term.value) == (Meaning.NUMBER, "00123")


def test_each_term_can_be_taken_away() -> None:
    rests = [term.rest for term in understand("siti ct 3 nov", MONDAY).terms]
    assert rests == ["ct 3 nov", "siti 3 nov", "siti ct"]


def test_x_ray_is_two_modalities_and_several_are_any_of_them() -> None:
    assert understand("x-ray ct", MONDAY).modalities == ["CR", "DX", "CT"]


def test_more_words_than_can_be_looked_for_are_told() -> None:
    understood = understand(" ".join(["budi"] * 20), MONDAY)
    assert len(understood.terms) == 12
    assert understood.ignored == " ".join(["budi"] * 8)
