"""A request that comes again makes nothing twice, also when it comes many times at once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from radiology.errors import Conflict, InvalidValue
from radiology.models import IdempotencyKey, Patient
from radiology.services import upkeep
from radiology.services.idempotency import Outcome, make_once
from tests.factories import make_patient, make_token, make_user
from tests.parallel import at_once

pytestmark = pytest.mark.database


class Maker:
    """Makes a patient each time it is called."""

    def __call__(self) -> str:
        return str(make_patient().public_id)


def once(who: object, key: str, body: dict[str, object], operation: str = "patient") -> Outcome:
    return make_once(who=who, site_id=1, key=key, operation=operation, request=body, make=Maker())


@pytest.mark.django_db
def test_the_same_request_again_is_answered_with_what_the_first_one_made() -> None:
    who = make_user()
    first = once(who, "k-1", {"patient_name": "A", "patient_id": "1"})
    again = once(who, "k-1", {"patient_id": "1", "patient_name": "A"})
    assert again == Outcome(first.reference, is_repeated=True)
    assert Patient.objects.count() == 1


@pytest.mark.django_db
def test_another_request_under_the_same_key_is_refused() -> None:
    who = make_user()
    once(who, "k-1", {"patient_name": "A"})
    for body, operation in (({"patient_name": "B"}, "patient"), ({"patient_name": "A"}, "order")):
        with pytest.raises(Conflict) as refused:
            once(who, "k-1", body, operation)
        assert refused.value.field == "Idempotency-Key"
    assert Patient.objects.count() == 1


@pytest.mark.django_db
def test_keys_belong_to_a_caller_and_outlive_a_token() -> None:
    token, _ = make_token("simrs")
    renewed, _ = make_token("simrs")
    other, _ = make_token("other")
    first = once(token, "k-1", {})
    assert once(renewed, "k-1", {}) == Outcome(first.reference, is_repeated=True)
    assert not once(other, "k-1", {}).is_repeated
    assert not once(make_user(), "k-1", {}).is_repeated


@pytest.mark.django_db
def test_without_a_key_each_request_makes_something() -> None:
    who = make_user()
    assert once(who, "", {}).reference != once(who, "", {}).reference
    assert not IdempotencyKey.objects.exists()


@pytest.mark.django_db
def test_a_request_that_failed_leaves_no_key_behind() -> None:
    who = make_user()

    def fail() -> str:
        make_patient()
        raise InvalidValue("no")

    with pytest.raises(InvalidValue):
        make_once(who=who, site_id=1, key="k-1", operation="patient", request={}, make=fail)
    assert not Patient.objects.exists()
    assert not once(who, "k-1", {"put": "right"}).is_repeated


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["k" * 256, "k\x00", "k\n", "ключ"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        once(make_user(), key, {})
    assert refused.value.field == "Idempotency-Key"


@pytest.mark.usefixtures("committed_db")
def test_of_many_requests_at_once_one_makes_it() -> None:
    who = make_user()
    made = at_once(lambda number: once(who, "k-1", {"n": 1}), threads=12)
    assert len({each.reference for each in made}) == 1
    assert sum(not each.is_repeated for each in made) == 1
    assert Patient.objects.count() == 1


@pytest.mark.django_db
def test_old_keys_are_forgotten() -> None:
    who = make_user()
    once(who, "old", {})
    once(who, "new", {})
    IdempotencyKey.objects.filter(key="old").update(created_at=timezone.now() - timedelta(days=91))
    upkeep.forget_idempotency_keys()
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["new"]
