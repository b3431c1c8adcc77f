"""Reviewers who do something with the same report at the same time."""

from contextlib import suppress
from functools import partial
from threading import Barrier, BrokenBarrierError

import pytest

from radiology.models import ReportVersion, Site, User
from tests.threads import run_all
from tests.worklist.peer_reviews import make_radiologist, make_signed, policy, this_month
from worklist.models import PeerReview, PeerReviewState
from worklist.services.peer_review import decline
from worklist.services.peer_review_draw import Reviewers, draw


def test_two_who_decline_at_once_have_successors_of_their_own(
    committed_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    author, first, second = (make_radiologist(name) for name in ("rahmat", "sri", "agus"))
    policy(number=9, reviewers=2)
    make_signed(author)
    drawn = draw(site=Site.objects.default(), month=this_month())
    assert {each.reviewer for each in drawn} == {first, second}
    third = make_radiologist("ratna")
    both, choose = Barrier(2), Reviewers.next_for

    def choose_at_once(reviewers: Reviewers, version: ReportVersion) -> User | None:
        chosen = choose(reviewers, version)
        with suppress(BrokenBarrierError):
            both.wait(2)
        return chosen

    monkeypatch.setattr(Reviewers, "next_for", choose_at_once)
    done = run_all([partial(decline, review=each, who=each.reviewer, reason="I know it") for each in drawn])
    assert sorted(each is None for each in done) == [False, True]
    assert [each.reviewer for each in done if each is not None] == [third]
    assert PeerReview.objects.filter(state=PeerReviewState.UNASSIGNED).count() == 1
