"""Who reviews what: drawn once, by chance, never one's own; scored for good; blind on both sides."""

from collections import Counter
from datetime import date
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from pacs.services import removal
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditEvent, Role, Site, User
from radiology.services.reports import sign_report, withdraw_report, write_draft
from tests.factories import make_report, make_series, make_site, make_user
from tests.worklist.peer_reviews import make_radiologist, make_signed, policy, this_month
from worklist.models import (
    ExaminationFigures,
    PeerReview,
    PeerReviewDraw,
    PeerReviewPolicy,
    PeerReviewScore,
    PeerReviewState,
)
from worklist.services import peer_review, peer_review_draw
from worklist.services.peer_review import blinded, decline, images_of, queue_of, score, scores_of_others
from worklist.services.peer_review_draw import assign_the_rest, draw, draw_last_month, size_of_sample

pytestmark = pytest.mark.django_db
LONG_AGO = date(2020, 1, 1)


@pytest.fixture
def site() -> Site:
    return Site.objects.default()


@pytest.fixture
def people() -> list[User]:
    return [make_radiologist(name, name.title(), "Hidayat") for name in ("rahmat", "sri", "agus")]


@pytest.mark.parametrize(
    ("values", "signed", "drawn"),
    [({"percent": 10}, 1, 1), ({"percent": 10}, 21, 3), ({"percent": 0}, 9, 0),
     ({"number": 5}, 3, 3), ({"number": 5}, 9, 5)],
)  # fmt: skip
def test_a_share_is_rounded_up_and_a_number_is_at_most_what_there_is(
    values: dict[str, Any], signed: int, drawn: int
) -> None:
    assert size_of_sample(PeerReviewPolicy(**values), signed) == drawn


def test_so_many_of_each_radiologist_and_modality_are_drawn_never_for_their_author(
    site: Site, people: list[User]
) -> None:
    policy(number=2)
    policy(modality="MR", number=1)
    for author in people[:2]:
        for modality in ("CT", "CT", "CT", "MR", "MR"):
            make_signed(author, modality=modality)
    drawn = draw(site=site, month=this_month())
    assert Counter((each.author_id, each.modality) for each in drawn) == {
        (author.pk, modality): count for author in people[:2] for modality, count in (("CT", 2), ("MR", 1))
    }
    assert all(each.reviewer_id not in {None, each.author_id} for each in drawn)
    assert max(Counter(each.reviewer_id for each in drawn).values()) <= 3


def test_who_has_many_waiting_gets_none_until_the_others_have_as_many(site: Site, people: list[User]) -> None:
    author, busy, idle = people
    policy(number=3)
    for _ in range(3):
        make_signed(author)
    ExaminationFigures.objects.update(signed_on=LONG_AGO)
    User.objects.filter(pk=idle.pk).update(is_active=False)
    assert Counter(each.reviewer_id for each in draw(site=site, month=LONG_AGO)) == {busy.pk: 3}
    User.objects.filter(pk=idle.pk).update(is_active=True)
    for _ in range(3):
        make_signed(author)
    assert Counter(each.reviewer_id for each in draw(site=site, month=this_month())) == {idle.pk: 3}


def test_finding_reviewers_asks_as_little_for_many_as_for_one(site: Site, people: list[User]) -> None:
    def asked(reports: int) -> int:
        User.objects.exclude(pk=people[0].pk).update(is_active=False)
        for _ in range(reports):
            make_signed(people[0])
        month = LONG_AGO.replace(month=reports)
        ExaminationFigures.objects.filter(signed_on__gte=this_month()).update(signed_on=month)
        draw(site=site, month=month)
        User.objects.update(is_active=True)
        with CaptureQueriesContext(connection) as queries:
            assert assign_the_rest(site) == reports
        return sum(each["sql"].startswith("SELECT") for each in queries)

    policy(number=50)
    assert asked(1) == asked(5)


def test_a_sample_is_drawn_once_and_would_be_the_same_again(site: Site, people: list[User]) -> None:
    policy(number=2)
    for _ in range(6):
        make_signed(people[0])
    first = {(each.report_version_id, each.reviewer_id) for each in draw(site=site, month=this_month())}
    assert draw(site=site, month=this_month()) == []
    assert PeerReview.objects.count() == 2
    PeerReview.objects.all().delete()
    PeerReviewDraw.objects.all().delete()
    assert {(each.report_version_id, each.reviewer_id) for each in draw(site=site, month=this_month())} == first


def test_another_secret_key_draws_another_sample(site: Site, people: list[User], settings: Any) -> None:
    policy(number=3)
    for _ in range(12):
        make_signed(people[0])
    first = {each.report_version_id for each in draw(site=site, month=this_month())}
    PeerReview.objects.all().delete()
    PeerReviewDraw.objects.all().delete()
    settings.SECRET_KEY = "another"
    assert {each.report_version_id for each in draw(site=site, month=this_month())} != first


def test_only_signed_reports_of_ours_with_images_are_drawn(site: Site, people: list[User]) -> None:
    policy(number=50)
    chief = make_user("chief", is_superuser=True)
    kept = make_signed(people[0])
    withdrawn = make_signed(people[0])
    withdraw_report(report=withdrawn.report_ref, version=None, reason="x", who=people[0])
    without = make_signed(people[0])
    study = without.report_ref.requested_procedure_ref.studies.get()
    removal.delete_study(who=chief, study=study, reason="by mistake")
    make_report()
    signed = make_signed(people[1]).report_ref
    procedure = signed.requested_procedure_ref
    draft = write_draft(procedure=procedure, sections={"impression": "x"}, version=signed.version, who=people[2])
    amended = sign_report(report=draft, version=draft.version, who=people[2], reason="more")
    drawn = draw(site=site, month=this_month())
    assert {each.report_version_id for each in drawn} == {
        kept.pk,
        amended.report_ref.versions.get(number=1).pk,
    }
    # Who amended it has seen it already.
    assert {each.reviewer for each in drawn if each.author == people[1]} == {people[0]}


def test_without_anybody_left_it_waits_for_somebody(site: Site, people: list[User]) -> None:
    User.objects.exclude(pk=people[0].pk).update(is_active=False)
    policy(number=1, reviewers=3)
    make_signed(people[0])
    drawn = draw(site=site, month=this_month())
    assert [(each.reviewer, each.state) for each in drawn] == [(None, PeerReviewState.UNASSIGNED)] * 3
    User.objects.filter(pk=people[1].pk).update(is_active=True)
    assert assign_the_rest(site) == 1
    assert [each.pk for each in queue_of(User.objects.get(pk=people[1].pk))] == [drawn[0].pk]
    assert assign_the_rest(site) == 0
    User.objects.filter(pk=people[2].pk).update(is_active=True)
    assert assign_the_rest(site) == 1
    assert PeerReview.objects.filter(state=PeerReviewState.UNASSIGNED).count() == 1


@pytest.mark.parametrize("change", ["inactive", "moved", "no right"])
def test_what_waits_for_somebody_who_left_goes_to_somebody_else(site: Site, people: list[User], change: str) -> None:
    (review,) = one(site, people[0])
    gone = review.reviewer
    assert gone is not None
    if change == "inactive":
        User.objects.filter(pk=gone.pk).update(is_active=False)
    elif change == "moved":
        User.objects.filter(pk=gone.pk).update(site=make_site("there"))
    else:
        gone.groups.clear()
    assert assign_the_rest(site) == 1
    review.refresh_from_db()
    assert review.state == PeerReviewState.WAITING
    assert review.reviewer not in {None, gone, people[0]}
    assert review.reviewer is not None
    score(review=review, who=review.reviewer, score="1")
    User.objects.filter(pk=review.reviewer.pk).update(is_active=False)
    assert assign_the_rest(site) == 0
    review.refresh_from_db()
    assert review.state == PeerReviewState.SCORED


def test_many_that_nobody_can_review_keep_no_other_waiting(
    site: Site, people: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_review_draw, "MOST_AT_ONCE", 2)
    User.objects.exclude(pk=people[0].pk).update(is_active=False)
    policy(number=9)
    for _ in range(3):
        make_signed(people[0])
    make_signed(people[1])
    drawn = draw(site=site, month=this_month())
    other = next(each for each in drawn if each.author == people[1])
    PeerReview.objects.filter(pk=other.pk).update(reviewer=None, state=PeerReviewState.UNASSIGNED)
    assert other == drawn[-1] and len(drawn) == 4
    assert assign_the_rest(site) == 1


def test_an_empty_sample_is_drawn_and_told_once(site: Site, people: list[User]) -> None:
    policy(number=1)
    assert draw(site=site, month=this_month()) == []
    make_signed(people[0])
    assert draw(site=site, month=this_month()) == []
    assert AuditEvent.objects.filter(event="peer_review.drawn").count() == 1
    assert not PeerReview.objects.exists()


def test_a_number_for_all_others_is_of_all_others_together(site: Site, people: list[User]) -> None:
    policy(number=2)
    policy(modality="MR", number=1)
    for modality in ("CT", "CT", "US", "DX", "MR", "MR"):
        make_signed(people[0], modality=modality)
    drawn = [each.modality for each in draw(site=site, month=this_month())]
    assert drawn.count("MR") == 1
    assert len(drawn) == 3


def test_the_job_draws_the_month_that_ended_where_there_is_a_policy(site: Site, people: list[User]) -> None:
    make_site("there")
    policy(number=1)
    draw_last_month()
    draw_last_month()
    row = PeerReviewDraw.objects.get()
    assert row.site == site
    assert row.month < this_month()


def one(site: Site, author: User, *, reviewers: int = 1, text: str = "Normal.") -> list[PeerReview]:
    policy(number=1, reviewers=reviewers)
    make_signed(author, text=text)
    return draw(site=site, month=this_month())


def test_scores_stand_for_good_and_the_newest_counts(site: Site, people: list[User]) -> None:
    (review,) = one(site, people[0])
    reviewer = review.reviewer
    assert reviewer is not None
    score(review=review, who=reviewer, score="1")
    score(review=review, who=reviewer, score="3b", comment="A nodule, right upper lobe.")
    score(review=review, who=reviewer, score="3b", comment="A nodule, right upper lobe.")
    review.refresh_from_db()
    assert (review.score, review.state) == ("3b", PeerReviewState.SCORED)
    assert [each.score for each in review.scores.all()] == ["3b", "1"]
    for act in (lambda: PeerReviewScore.objects.update(score="1"), lambda: PeerReviewScore.objects.all().delete()):
        with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
            act()


def test_only_its_reviewer_scores_and_a_discrepancy_needs_a_comment(site: Site, people: list[User]) -> None:
    (review,) = one(site, people[0])
    reviewer = review.reviewer
    assert reviewer is not None
    for who in (people[0], next(each for each in people[1:] if each != reviewer)):
        with pytest.raises(NotFound):
            score(review=review, who=who, score="1")
    with pytest.raises(NotAllowed):
        score(review=review, who=make_user("doctor", role=Role.DOCTOR), score="1")
    for value, comment in (("4", "x"), ("", ""), ("2a", "  ")):
        with pytest.raises(InvalidValue):
            score(review=review, who=reviewer, score=value, comment=comment)
    assert not PeerReviewScore.objects.exists()


def test_what_one_declines_somebody_else_reviews(site: Site, people: list[User]) -> None:
    (review,) = one(site, people[0])
    reviewer = review.reviewer
    assert reviewer is not None
    with pytest.raises(InvalidValue):
        decline(review=review, who=reviewer, reason=" ")
    again = decline(review=review, who=reviewer, reason="I took part")
    assert again is not None
    assert again.reviewer not in {people[0], reviewer}
    with pytest.raises(Conflict):
        decline(review=review, who=reviewer, reason="I took part")
    with pytest.raises(Conflict):
        score(review=review, who=reviewer, score="1")
    assert again.reviewer is not None
    assert decline(review=again, who=again.reviewer, reason="I too") is None
    assert PeerReview.objects.filter(state=PeerReviewState.UNASSIGNED).count() == 1


def test_the_database_lets_nobody_review_their_own(site: Site, people: list[User]) -> None:
    (review,) = one(site, people[0])
    with pytest.raises(IntegrityError), transaction.atomic():
        PeerReview.objects.filter(pk=review.pk).update(reviewer=people[0])


def test_what_others_said_is_told_after_ones_own_score(site: Site, people: list[User]) -> None:
    first, second = one(site, people[0], reviewers=2)
    assert first.reviewer is not None and second.reviewer is not None
    score(review=first, who=first.reviewer, score="2b", comment="Effusion")
    assert scores_of_others(second) == []
    second = score(review=second, who=second.reviewer, score="1")
    assert [(each.score, each.comment) for each in scores_of_others(second)] == [("2b", "Effusion")]


def test_the_text_does_not_say_who_wrote_it(site: Site, people: list[User]) -> None:
    text = "Rahmat Hidayat membaca.\nParu normal. dr. Hidayat, Sp.Rad; HIDAYAT RAHMAT (rahmat). Rahmatan tetap."
    (review,) = one(site, people[0], text=text)
    said = "\n".join(part for _section, part in blinded(review.report_version).sections)
    assert "Paru normal." in said and "Rahmatan tetap" in said
    for name in ("Rahmat Hidayat", "dr. Hidayat", "HIDAYAT RAHMAT", "(rahmat)"):
        assert name not in said


@pytest.mark.parametrize(
    "signature",
    ["dr. Kusuma", "dr Dewi", "Dr. Ratna Kusuma, Sp.Rad", "drg. Ayu", "Prof. Dr. dr. Kusuma", "dr. R. Kusuma",
     "dr. Ratna", "Ratna Dewi Li Kusuma Ayu", "dr. Li"],
)  # fmt: skip
def test_any_word_of_a_name_behind_a_title_is_covered(site: Site, people: list[User], signature: str) -> None:
    author = make_radiologist("rdk", "dr. Ratna Dewi", "Li Kusuma Ayu, Sp.Rad")
    (review,) = one(site, author, text=f"Paru normal, ayu dan dewi tetap. Salam, {signature}.")
    said = "\n".join(part for _section, part in blinded(review.report_version).sections)
    before, after = said.split("Salam,")
    assert before.strip() == "Paru normal, ayu dan dewi tetap."
    for word in ("ratna", "dewi", "kusuma", "ayu", "li"):
        assert word not in after.casefold()


def test_of_the_images_only_those_of_devices_are_opened(site: Site, people: list[User]) -> None:
    (review,) = one(site, people[0])
    study = review.report_version.report_ref.requested_procedure_ref.studies.get()
    for modality in ("SR", "DOC", "KO", "PR"):
        make_series(study, modality=modality, instances=1)
    assert review.reviewer is not None
    found, series = images_of(who=review.reviewer, review=review)
    assert found == study
    assert series == list(study.series.filter(modality="CT").values_list("series_instance_uid", flat=True))
    for _ in range(25):
        make_series(study)
    assert len(images_of(who=review.reviewer, review=review)[1]) == 26


def test_a_discrepancy_reaches_its_author_who_may_answer(site: Site, people: list[User]) -> None:
    (review,) = one(site, people[0])
    assert review.reviewer is not None
    score(review=review, who=review.reviewer, score="2b", comment="x")
    assert not PeerReview.objects.about(people[0]).exists()
    score(review=review, who=review.reviewer, score="3a", comment="Fracture")
    assert PeerReview.objects.about(people[0]).get() == review
    with pytest.raises(NotFound):
        peer_review.answer(review=review, who=review.reviewer)
    answered = peer_review.answer(review=review, who=people[0], text="I see it now.")
    assert answered.author_seen_at is not None
    assert answered.author_answer == "I see it now."


def test_the_audit_trail_tells_it_without_the_study(site: Site, people: list[User]) -> None:
    (review,) = one(site, people[0])
    assert review.reviewer is not None
    score(review=review, who=review.reviewer, score="1")
    event = AuditEvent.objects.get(event="peer_review.scored")
    assert (event.study_instance_uid, event.patient_ref_id) == ("", None)
    assert event.detail == {"number": str(review.pk), "score": "1"}
    score(review=review, who=review.reviewer, score="3a", comment="x")
    peer_review.note_opened(review=review, who=review.reviewer)
    peer_review.answer(review=review, who=people[0])
    told = AuditEvent.objects.filter(event__startswith="peer_review.")
    # The public id stands in the author's page: what the reviewer did is not told by it.
    assert {each.user for each in told if str(review.public_id) in str(each.detail)} == {people[0]}
    assert {each.user for each in told if each.detail.get("number") == str(review.pk)} == {review.reviewer}
    assert AuditEvent.objects.filter(event="peer_review.drawn").count() == 1


def test_a_policy_gives_a_share_or_a_number(site: Site) -> None:
    for values in ({"percent": None, "number": None}, {"percent": 5, "number": 5}):
        with pytest.raises(ValidationError):
            PeerReviewPolicy(site=site, **values).full_clean()


def test_a_withdrawn_report_waits_for_no_review(site: Site, people: list[User]) -> None:
    (review,) = one(site, people[0])
    assert review.reviewer is not None
    assert queue_of(review.reviewer).count() == 1
    withdraw_report(report=review.report_version.report_ref, version=None, reason="x", who=people[0])
    assert queue_of(review.reviewer).count() == 0
