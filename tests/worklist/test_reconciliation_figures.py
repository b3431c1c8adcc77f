"""Two hundred generated mismatches: none linked wrongly by itself, and the right order proposed first."""

from collections import Counter

import pytest

from tests.worklist.mismatches import Department, mismatches
from worklist.models import CaseState, ReconciliationCase
from worklist.services.reconciliation import reconcile_study

pytestmark = pytest.mark.django_db
COUNT = 200


def test_no_generated_mismatch_is_linked_wrongly_and_the_right_order_stands_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    by_itself: Counter[str] = Counter()
    wrong, sound, sound_linked = [], 0, 0
    for made in mismatches(Department(20261128), COUNT):
        case = reconcile_study(study=made.study.pk)
        made.study.refresh_from_db()
        linked = made.study.requested_procedure_ref_id
        if linked is not None and linked != made.truth.pk:
            wrong.append(made)
        if not made.kind:
            sound += 1
            sound_linked += linked == made.truth.pk
            continue
        total[made.kind] += 1
        by_itself[made.kind] += linked is not None
        first = case.candidates[0]["procedure"] if case is not None and case.candidates else None
        right[made.kind] += linked == made.truth.pk or first == made.truth.pk
    with capsys.disabled():
        print()
        for kind, count in total.items():
            print(f"{right[kind]:3} of {count:2} first, {by_itself[kind]:2} by themselves: {kind}")
        print(f"{sum(right.values())} of {sum(total.values())} right first; {len(wrong)} linked wrongly")
        print(f"{sound_linked} of {sound} sound studies linked by themselves")
    assert wrong == []
    assert sum(total.values()) == COUNT
    assert sum(right.values()) >= 0.9 * COUNT
    assert sound_linked >= 0.95 * sound
    assert ReconciliationCase.objects.filter(state=CaseState.LINKED).exists()
