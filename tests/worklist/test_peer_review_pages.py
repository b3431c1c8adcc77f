"""Peer review as pages and over the API: blind, for those who may, at a fixed cost."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from radiology.models import AuditEvent, ReportVersion, Role, Site, User
from tests.factories import make_series, make_token, make_user
from tests.pacs.dicomweb import body
from tests.worklist.peer_reviews import make_radiologist, make_signed, policy, this_month
from worklist.models import PeerReview, PeerReviewState
from worklist.services import peer_review as services
from worklist.services.peer_review import answer, score
from worklist.services.peer_review_draw import draw

pytestmark = pytest.mark.django_db
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def author() -> User:
    return make_radiologist("zulkarnain", "Zulkarnain", "Kumalasari")


@pytest.fixture
def reviewer() -> User:
    return make_radiologist("sri", "Sri", "Wahyuni")


@pytest.fixture
def review(author: User, reviewer: User) -> PeerReview:
    policy(number=9)
    make_signed(author, text="Paru normal. dr. Zulkarnain Kumalasari, Sp.Rad")
    (made,) = draw(site=Site.objects.default(), month=this_month())
    return made


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user, backend=MODEL_BACKEND)
    return client


def everything(response: Any) -> str:
    return (body(response).decode() + str(response.headers)).lower()


def test_nothing_on_the_way_to_a_score_says_whose_report_it_is(
    review: PeerReview, reviewer: User, author: User
) -> None:
    client, path = as_(reviewer), f"/peer-review/{review.public_id}"
    api = f"/api/v1/peer-reviews/{review.public_id}"
    answers = [client.get(each) for each in ("/peer-review", path, "/api/v1/peer-reviews", api)]
    answers += [client.get(answers[1].context["viewer"])]
    answers += [client.post(path, {"score": "3a", "comment": "Nodule"}, follow=True)]
    answers += [client.get(each) for each in ("/peer-review", path, api, "/peer-review/figures")]
    for response in answers:
        assert response.status_code in {200, 302}
        said = everything(response)
        assert "zulkarnain" not in said and "kumalasari" not in said
        assert str(author.public_id) not in said
        assert str(review.report_version.report_ref.public_id) not in said
    assert "paru normal" in everything(answers[1])
    series = review.report_version.report_ref.requested_procedure_ref.studies.get().series.get().series_instance_uid
    assert f"SeriesInstanceUIDs={series}" in answers[1].context["viewer"]
    review.refresh_from_db()
    assert review.score == "3a"


def test_the_author_hears_of_a_discrepancy_and_not_who_saw_it(review: PeerReview, reviewer: User, author: User) -> None:
    score(review=review, who=reviewer, score="3b", comment="Fracture of the sixth rib.")
    client = as_(author)
    for path in ("/peer-review", "/peer-review/figures", "/api/v1/peer-reviews", "/api/v1/peer-reviews/figures"):
        said = everything(client.get(path))
        assert "wahyuni" not in said and str(reviewer.public_id) not in said
    page = client.get("/peer-review").content.decode()
    assert "Fracture of the sixth rib." in page
    assert "sees 1 of your reports differently" in page
    assert client.get(f"/peer-review/{review.public_id}").status_code == 404
    assert client.post(f"/peer-review/{review.public_id}/answer", {"answer": "Agreed"}).status_code == 302
    review.refresh_from_db()
    assert review.author_answer == "Agreed"
    assert "differently" not in client.get("/peer-review").content.decode()


def test_a_score_without_a_comment_says_what_is_missing_and_keeps_the_choice(
    review: PeerReview, reviewer: User
) -> None:
    response = as_(reviewer).post(f"/peer-review/{review.public_id}", {"score": "2a"})
    assert response.status_code == 400
    page = response.content.decode()
    assert "Say what you see differently." in page
    assert 'value="2a" checked' in page


def test_declining_leads_on_to_the_next_one(review: PeerReview, reviewer: User, author: User) -> None:
    client = as_(reviewer)
    response = client.post(f"/peer-review/{review.public_id}/decline", {"reason": "I know it"})
    assert response["Location"] == "/peer-review"
    assert client.get(f"/peer-review/{review.public_id}").status_code == 404


def test_who_leads_sees_all_but_not_who_reviewed_their_own(review: PeerReview, reviewer: User, author: User) -> None:
    score(review=review, who=reviewer, score="3b", comment="Fracture")
    answer(review=review, who=author, text="I agree")
    chief = make_user("chief", role=Role.ADMINISTRATOR)
    page = as_(chief).get("/peer-review/all").content.decode()
    for text in ("Zulkarnain Kumalasari", "Sri Wahyuni", "Fracture", "I agree"):
        assert text in page
    score(review=review, who=reviewer, score="2b", comment="Effusion")
    assert "Effusion" in as_(chief).get("/peer-review/all").content.decode()
    score(review=review, who=reviewer, score="3b", comment="Fracture after all")
    figures = as_(chief).get("/api/v1/peer-reviews/figures").json()
    assert [each["name"] for each in figures["tables"]] == ["by-modality", "by-radiologist"]
    row = figures["tables"][1]["rows"][0]
    assert (row["name"], row["score_3b"], row["discrepancies"]) == ("Zulkarnain Kumalasari", 1, 1)
    author.groups.add(chief.groups.get())
    page = as_(author).get("/peer-review/all").content.decode()
    assert "Sri Wahyuni" not in page


def test_who_leads_sees_nothing_of_what_they_still_review_themselves(author: User, reviewer: User) -> None:
    policy(number=9, reviewers=2)
    chief = make_radiologist("chief", "Ratna", "Dewi")
    chief.groups.add(make_user("a", role=Role.ADMINISTRATOR).groups.get())
    make_signed(author)
    drawn = {each.reviewer_id: each for each in draw(site=Site.objects.default(), month=this_month())}
    score(review=drawn[reviewer.pk], who=reviewer, score="3b", comment="Fracture")
    mine, client = drawn[chief.pk], as_(chief)
    addresses = [f"/peer-review/all?shown={each}" for each in ("discrepancies", "all", "declined", "unassigned")]
    for path in addresses:
        said = everything(client.get(path))
        assert "fracture" not in said and "zulkarnain" not in said, path
    score(review=mine, who=chief, score="1")
    assert "fracture" in everything(client.get("/peer-review/all"))


def test_who_leads_sees_one_line_of_how_many_reviewers_a_report_wants(author: User) -> None:
    policy(number=9, reviewers=3)
    first, second = make_signed(author), make_signed(author)
    drawn = draw(site=Site.objects.default(), month=this_month())
    assert {each.state for each in drawn} == {PeerReviewState.UNASSIGNED}
    PeerReview.objects.filter(pk__in=[each.pk for each in drawn if each.report_version == second][:2]).delete()
    page = as_(make_user("chief", role=Role.ADMINISTRATOR)).get("/peer-review/all?shown=unassigned")
    assert {each.report_version: each.wanted for each in page.context["rows"]} == {first: 3, second: 1}
    assert len(page.context["rows"]) == 2
    assert "Waits for 3 reviewers." in page.content.decode()
    assert "Waits for 1 reviewer." in page.content.decode()


def test_it_says_how_many_series_are_not_shown(
    review: PeerReview, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = review.report_version.report_ref.requested_procedure_ref.studies.get()
    for _ in range(24):
        make_series(study)
    client, path = as_(reviewer), f"/peer-review/{review.public_id}"
    page = client.get(path)
    assert page.context["viewer"].count(",") == 24
    assert "Series not shown" not in page.content.decode()
    monkeypatch.setattr(services, "MOST_SERIES", 20)
    page = client.get(path)
    assert page.context["viewer"].count(",") == 19
    assert "Series not shown: 5, behind the first 20." in page.content.decode()
    assert len(client.get(f"/api/v1/peer-reviews/{review.public_id}").json()["series_instance_uids"]) == 25


def test_two_of_the_same_name_have_figures_of_their_own(author: User, reviewer: User) -> None:
    policy(number=9)
    other = make_radiologist("zul2", "Zulkarnain", "Kumalasari")
    User.objects.exclude(pk__in=[author.pk, other.pk, reviewer.pk]).update(is_active=False)
    make_signed(author)
    make_signed(other)
    for each in draw(site=Site.objects.default(), month=this_month()):
        assert each.reviewer is not None
        score(review=each, who=each.reviewer, score="1")
    figures = as_(make_user("chief", role=Role.ADMINISTRATOR)).get("/api/v1/peer-reviews/figures").json()
    assert [(row["name"], row["count"]) for row in figures["tables"][1]["rows"]] == [
        ("Zulkarnain Kumalasari (zul2)", 1),
        ("Zulkarnain Kumalasari (zulkarnain)", 1),
    ]


def test_figures_leave_the_same_trace_as_a_page_and_over_the_api(review: PeerReview) -> None:
    chief = make_user("chief", role=Role.ADMINISTRATOR)
    for path in ("/peer-review/figures", "/api/v1/peer-reviews/figures",
                 "/api/v1/peer-reviews/figures?table=by-radiologist&format=csv"):  # fmt: skip
        assert as_(chief).get(path).status_code == 200
    told = AuditEvent.objects.filter(event="peer_review.read", user=chief)
    assert [each.detail for each in told] == [{"what": "figures"}] * 3


def test_the_day_of_signing_is_that_of_the_site(review: PeerReview, reviewer: User) -> None:
    site = Site.objects.default()
    site.time_zone = "Asia/Jakarta"
    site.save()
    ReportVersion.objects.update(at=datetime(2026, 3, 1, 20, 0, tzinfo=UTC))
    client = as_(reviewer)
    assert client.get("/api/v1/peer-reviews").json()["data"][0]["signed_on"] == "2026-03-02"
    assert "2 Mar 2026" in client.get(f"/peer-review/{review.public_id}").content.decode()


def test_ones_own_figures_are_ones_own(review: PeerReview, reviewer: User, author: User) -> None:
    score(review=review, who=reviewer, score="1")
    mine = as_(author).get("/api/v1/peer-reviews/figures").json()["tables"]
    assert [each["name"] for each in mine] == ["by-modality"]
    assert [(row["name"], row["count"]) for row in mine[0]["rows"]] == [("CT", 1)]
    assert as_(reviewer).get("/api/v1/peer-reviews/figures").json()["tables"][0]["rows"] == []
    assert as_(author).get("/api/v1/peer-reviews/figures?table=by-radiologist").status_code == 403
    assert as_(author).get("/peer-review/all").status_code == 403
    csv = as_(author).get("/peer-review/figures?table=by-modality")
    assert csv["Content-Type"].startswith("text/csv")
    assert "CT,1,1,0,0,0,0,0.0" in csv.content.decode()


@pytest.mark.parametrize("role", [Role.DOCTOR, Role.RADIOGRAPHER, Role.DESK])
def test_it_is_for_those_who_sign(review: PeerReview, role: str) -> None:
    client = as_(make_user("other", role=role))
    for path in ("/peer-review", "/peer-review/all", "/peer-review/figures", "/api/v1/peer-reviews"):
        assert client.get(path).status_code == 403, path
    assert client.get(f"/peer-review/{review.public_id}").status_code == 404
    assert client.post(f"/peer-review/{review.public_id}", {"score": "1"}).status_code == 404
    _, text = make_token("t", scopes=["reports.write", "figures.read"])
    program = Client(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert program.get("/api/v1/peer-reviews").status_code == 403


def test_a_review_is_scored_and_declined_over_the_api(review: PeerReview, reviewer: User) -> None:
    client, path = as_(reviewer), f"/api/v1/peer-reviews/{review.public_id}"
    assert [each["review"] for each in client.get("/api/v1/peer-reviews").json()["data"]] == [str(review.public_id)]
    for given, status in (({"score": "4"}, 400), ({"score": "2b"}, 400), ({"score": "1"}, 200)):
        response = client.post(f"{path}/score", json.dumps(given), "application/json")
        assert response.status_code == status, response.content
    assert client.get("/api/v1/peer-reviews").json()["data"] == []
    assert len(client.get("/api/v1/peer-reviews?state=scored").json()["data"]) == 1
    assert client.post(f"{path}/decline", json.dumps({"reason": "x"}), "application/json").status_code == 409


def test_the_lists_cost_the_same_for_many(author: User, reviewer: User) -> None:
    policy(number=9)
    third = make_radiologist("agus")
    chief = make_user("chief", role=Role.ADMINISTRATOR)
    counted = []
    for month in (this_month(), this_month().replace(year=2020)):
        for writer in (author, reviewer, third):
            version = make_signed(writer)
            if month != this_month():
                version.report_ref.requested_procedure_ref.figures.__class__.objects.filter(
                    requested_procedure_ref=version.report_ref.requested_procedure_ref
                ).update(signed_on=month)
        for each in draw(site=Site.objects.default(), month=month):
            assert each.reviewer is not None
            if each.author == author:
                score(review=each, who=each.reviewer, score="3a", comment="x")
        costs = []
        for who, path in ((author, "/peer-review"), (chief, "/peer-review/all"), (reviewer, "/api/v1/peer-reviews")):
            client = as_(who)
            client.get(path)
            with CaptureQueriesContext(connection) as queries:
                assert client.get(path).status_code == 200
            costs.append(len(queries))
        counted.append(costs)
    assert counted[0] == counted[1]
    assert max(counted[0]) <= 16
