"""Accession numbers: by the site's pattern, rising, never twice, whoever else brings numbers along."""

import re
from datetime import date
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from radiology.accession_pattern import fill, period, require_pattern
from radiology.errors import Conflict, InvalidValue
from radiology.models import AccessionCounter, Order, RequestedProcedure, Site
from radiology.services.accession import next_accession_number, requested_procedure_id, require_free, study_uid
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.orders import place_order
from tests.factories import default_site, make_order, make_patient, make_procedure, make_site, make_study
from tests.parallel import at_once

DAY = date(2026, 3, 9)


@pytest.mark.parametrize(
    ("pattern", "number", "within"),
    [
        ("{yy}{mm}{dd}{n:05}", "26030900007", "20260309"),
        ("RS{yyyy}{mm}-{n:4}", "RS202603-0007", "202603"),
        ("{yy}R{n:010}", "26R0000000007", "2026"),
        ("X{n}", "X7", ""),
    ],
)
def test_a_pattern_gives_numbers(pattern: str, number: str, within: str) -> None:
    require_pattern(pattern)
    assert fill(pattern, day=DAY, number=7) == number
    assert period(pattern, day=DAY) == within


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("{yy}{site}{n:05}", "{site} is not known"),
        ("{n:x}", "{n:x} is not known"),
        ("{yy}{mm}{dd}", "must stand in it once"),
        ("{n:3}{n:3}", "must stand in it once"),
        ("{yyyy}{mm}{dd}{n:09}", "has 17 characters"),
        ("ABCDEFGHIJKL{n}", "has 17 characters"),
        ("{yy}{dd}{n:05}", "come back"),
        ("{mm}{n:05}", "come back"),
        ("A\\{n:05}", "simple signs"),
        ("A B{n:05}", "simple signs"),
        ("É{n:05}", "simple signs"),
        ("{n:05", "partner"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused_in_the_admin_and_says_why(pattern: str, told: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(told)):
        require_pattern(pattern)
    with pytest.raises(ValidationError) as refused:
        Site(code="a", name="A", accession_pattern=pattern).clean()
    assert list(refused.value.message_dict) == ["accession_pattern"]


@pytest.mark.django_db
def test_numbers_rise_within_a_day_and_begin_again_with_the_next_each_site_by_itself() -> None:
    site, other = default_site(), make_site()
    assert [next_accession_number(site=site, day=DAY) for _ in range(2)] == ["26030900001", "26030900002"]
    assert next_accession_number(site=other, day=DAY) == "26030900001"
    assert next_accession_number(site=site, day=date(2026, 3, 10)) == "26031000001"


@pytest.mark.django_db
def test_numbers_that_orders_or_images_brought_along_are_stepped_over() -> None:
    site = default_site()
    make_order(accession_number="26030900001")
    make_order(accession_number="26030900002", issuer_of_accession_number="SIMRS")
    make_study(accession_number="26030900003")
    assert next_accession_number(site=site, day=DAY) == "26030900004"


@pytest.mark.django_db
def test_a_pattern_without_numbers_left_says_so() -> None:
    site = default_site()
    site.accession_pattern = "ABCDEFGHIJKLMN{n:02}"
    AccessionCounter.objects.create(site=site, period="", last=98)
    assert next_accession_number(site=site) == "ABCDEFGHIJKLMN99"
    with pytest.raises(Conflict, match="none left"):
        next_accession_number(site=site)


def test_of_many_at_once_each_gets_its_own_and_none_is_left_out(committed_db: None) -> None:
    site = default_site()

    def take(_: int) -> list[str]:
        return [next_accession_number(site=site, day=DAY) for _ in range(25)]

    taken = at_once(take, threads=8)
    for numbers in taken:
        assert numbers == sorted(numbers)
    assert sorted(number for numbers in taken for number in numbers) == [
        f"260309{number:05d}" for number in range(1, 201)
    ]


@pytest.mark.django_db
def test_an_order_that_is_not_made_after_all_leaves_no_gap() -> None:
    site = default_site()
    with pytest.raises(RuntimeError), transaction.atomic():
        next_accession_number(site=site, day=DAY)
        raise RuntimeError
    assert next_accession_number(site=site, day=DAY) == "26030900001"


@pytest.mark.django_db
def test_a_number_given_by_another_system_must_fit_and_be_free() -> None:
    site = default_site()
    order = make_order(make_patient(), accession_number="S1", issuer_of_accession_number="SIMRS")
    with pytest.raises(Conflict) as refused:
        require_free(site=site, accession_number="S1")
    assert refused.value.facts["order"] == order and refused.value.field == "accession_number"
    with pytest.raises(Conflict):
        require_free(site=site, accession_number="S1", issuer="SIMRS")
    require_free(site=site, accession_number="S1", issuer="another")
    require_free(site=site, accession_number="s1")
    require_free(site=make_site(), accession_number="S1")
    for bad, told in (("12345678901234567", "this one has 17"), ("A\\B", "backslash"), ("A\tB", "control")):
        with pytest.raises(InvalidValue, match=told):
            require_free(site=site, accession_number=bad)


@pytest.mark.django_db
def test_ids_and_uids_follow_from_the_number() -> None:
    site, other = default_site(), make_site()
    assert requested_procedure_id(accession_number="26030900001", position=2) == "26030900001-2"
    assert requested_procedure_id(accession_number="1234567890123456", position=12) == "12"
    common: dict[str, Any] = {"issuer": "", "accession_number": "A", "requested_procedure_id": "A-1"}
    uid = study_uid(site=site, **common)
    assert re.fullmatch(r"2\.25\.[1-9]\d*", uid) and len(uid) <= 64
    assert uid == study_uid(site=site, **common)
    others = {
        study_uid(site=other, **common),
        *(study_uid(site=site, **{**common, name: "B"}) for name in common),
    }
    assert len(others | {uid}) == 5


def test_of_many_with_one_key_or_one_number_at_once_one_makes_the_order(committed_db: None) -> None:
    make_procedure("DXTHX", modality="DX")
    patient = make_patient()

    def place(**more: Any) -> Order:
        wanted = [ProcedureRequest(code="DXTHX")]
        return place_order(site=patient.site, patient=patient, procedures=wanted, **more)

    orders = at_once(lambda _: place(client_key="same").pk, threads=6)
    assert len(set(orders)) == 1 and RequestedProcedure.objects.count() == 1

    def with_number(_: int) -> str:
        try:
            return str(place(accession_number="S1", accept_warnings=True).pk)
        except Conflict as error:
            return f"conflict with {error.facts['order'].pk}"

    answers = at_once(with_number, threads=6)
    (made,) = Order.objects.filter(accession_number="S1")
    assert sorted(answers) == sorted([str(made.pk)] + 5 * [f"conflict with {made.pk}"])
