"""Critical results that several people raise or acknowledge in the same moment."""

from radiology.errors import Conflict
from radiology.models import CriticalResult
from radiology.services.critical_results import acknowledge
from tests.factories import make_user
from tests.parallel import at_once
from tests.radiology.critical import READ, examination, log_of, people, raised


def test_many_who_acknowledge_or_raise_at_once_are_one(committed_db: None) -> None:
    radiologist, doctor = people()
    procedure = examination(doctor)
    others = [make_user(f"d{number}") for number in range(4)]
    made = at_once(lambda _number: raised(procedure, radiologist).pk, threads=4)
    assert len(set(made)) == CriticalResult.objects.count() == 1
    result = CriticalResult.objects.get()

    def try_it(number: int) -> str:
        try:
            return acknowledge(result=result, how=READ, who=others[number]).acknowledged_name
        except Conflict:
            return ""

    names = [name for name in at_once(try_it, threads=4) if name]
    result.refresh_from_db()
    assert names == [result.acknowledged_name]
    assert [kind for kind, *_ in log_of(result)].count("acknowledged") == 1
