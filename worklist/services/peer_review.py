"""Peer reviews are scored or declined by who reviews, answered by who wrote, and overseen by who leads.

Who reviews is told neither whose report it is nor what others said before they have said something themselves; who
wrote it is never told who reviewed. What the text itself says of its writer is covered (`blinded`).
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import Series, Study
from radiology.dicom import PersonName, clean
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import SIGNED, AuditAction, ReportSection, ReportVersion, User
from radiology.services import audit
from worklist.models import PeerReview, PeerReviewScore, PeerReviewState, RadpeerScore
from worklist.services.peer_review_draw import Reviewers, lock_reports
from worklist.services.procedure_images import studies_of

RIGHT = "reports.sign"
MANAGE = "peer_review.manage"
COVER = "▮▮▮"
LONGEST_COMMENT, LONGEST_REASON = 1000, 200
# So many fit into the address of the viewer (pacs.links.PASSED_ON).
MOST_SERIES = 100
_GAP = r"[\s.,^]+"
_WORD = re.compile(r"[^\W\d_]+(?:['’`-][^\W\d_]+)*")
_TITLES = {"dr", "drg", "prof", "sp", "rad"}
RELATED = (
    "site",
    "report_version__report_ref__requested_procedure_ref__order_ref__patient_ref",
)


def queue_of(who: Any) -> Any:
    """What somebody is to review, the oldest first; of withdrawn reports nothing is left to review."""
    found = PeerReview.objects.of_reviewer(who).filter(state=PeerReviewState.WAITING)
    return found.filter(report_version__report_ref__status__in=SIGNED).select_related(*RELATED).order_by("pk")


def overseen_by(who: Any) -> Any:
    """All that who leads may see: of a report that they are still to review themselves, nothing yet."""
    mine = PeerReview.objects.filter(reviewer_id=who.pk, state=PeerReviewState.WAITING)
    mine = mine.filter(report_version=OuterRef("report_version"), report_version__report_ref__status__in=SIGNED)
    return PeerReview.objects.managed_by(who).exclude(Exists(mine))


def wanting_a_reviewer(found: Any) -> Any:
    """Of reviews those that nobody can do: one for each report, with how many it wants (`wanted`)."""
    nobody = {"reviewer": None, "state": PeerReviewState.UNASSIGNED}
    same = PeerReview.objects.filter(report_version=OuterRef("report_version"), **nobody)
    count = same.order_by().values("report_version").annotate(count=Count("pk")).values("count")
    found = found.filter(**nobody).exclude(Exists(same.filter(pk__gt=OuterRef("pk"))))
    return found.annotate(wanted=Subquery(count))


def review_of(*, who: Any, public_id: uuid.UUID) -> PeerReview:
    """The review of that public id that `who` does. Raises NotFound."""
    found = PeerReview.objects.of_reviewer(who).exclude(state=PeerReviewState.DECLINED)
    review = found.select_related(*RELATED, "report_version__author").filter(public_id=public_id).first()
    if review is None:
        raise NotFound(_("There is no such review, or it is not yours."), field="review")
    return review


@transaction.atomic
def score(*, review: PeerReview, who: User, score: str, comment: str = "", address: str | None = None) -> PeerReview:
    """Say how far one agrees. Another score later stands beside the first one, and counts from then on.

    Raises NotAllowed, NotFound, InvalidValue for an unknown score or a discrepancy without a comment, Conflict.
    """
    found = _claim(review, who)
    if score not in RadpeerScore.values:
        raise InvalidValue(_("Choose a score."), field="score")
    said = _text(comment, LONGEST_COMMENT, "comment")
    if score != RadpeerScore.CONCUR and not said:
        raise InvalidValue(_("Say what you see differently."), field="comment")
    last = found.scores.first()
    if last is not None and (last.score, last.comment) == (score, said):
        return found
    row = PeerReviewScore.objects.create(review=found, score=score, comment=said)
    found.state, found.score, found.scored_at = PeerReviewState.SCORED, score, row.at
    found.author_seen_at = None
    found.save(update_fields=["state", "score", "scored_at", "author_seen_at"])
    _record("peer_review.scored", AuditAction.UPDATE, found, who, address, score=score)
    return found


@transaction.atomic
def decline(*, review: PeerReview, who: User, reason: str, address: str | None = None) -> PeerReview | None:
    """Say that somebody else should review it: who knows whose it is, above all. Who that is; None when nobody can.

    Raises NotAllowed, NotFound, InvalidValue without a reason, Conflict for what is scored already.
    """
    found = _claim(review, who)
    said = _text(reason, LONGEST_REASON, "reason")
    if not said:
        raise InvalidValue(_("Say why you decline it."), field="reason")
    if found.state != PeerReviewState.WAITING:
        raise Conflict(_("You have reviewed this one already."), field="review")
    found.state, found.declined_reason = PeerReviewState.DECLINED, said
    found.save(update_fields=["state", "declined_reason"])
    _record("peer_review.declined", AuditAction.UPDATE, found, who, address)
    lock_reports([found.report_version_id])
    other = Reviewers(found.site, [found.report_version]).next_for(found.report_version)
    again = PeerReview.objects.create(
        site_id=found.site_id,
        draw_id=found.draw_id,
        report_version_id=found.report_version_id,
        modality=found.modality,
        author_id=found.author_id,
        reviewer=other,
        state=PeerReviewState.WAITING if other else PeerReviewState.UNASSIGNED,
    )
    return again if other else None


@transaction.atomic
def answer(*, review: PeerReview, who: User, text: str = "", address: str | None = None) -> PeerReview:
    """The author has seen a discrepancy, and may say something to who leads. Raises NotFound, InvalidValue."""
    found = PeerReview.objects.about(who).select_for_update(of=("self",)).filter(pk=review.pk).first()
    if found is None:
        raise NotFound(_("There is no such review, or it is not about a report of yours."), field="review")
    said = _text(text, LONGEST_COMMENT, "answer")
    found.author_seen_at = found.author_seen_at or timezone.now()
    found.author_answer = said or found.author_answer
    found.save(update_fields=["author_seen_at", "author_answer"])
    audit.record(
        event="peer_review.seen",
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        site_id=found.site_id,
        detail={"review": str(found.public_id)},
    )
    return found


def note_opened(*, review: PeerReview, who: User, address: str | None = None) -> None:
    _record("peer_review.opened", AuditAction.READ, review, who, address)


def note_read(*, what: str, who: User, address: str | None = None, **detail: str) -> None:
    """That somebody saw the list of all reviews, or figures of them."""
    detail = {"what": what, **detail}
    audit.record(event="peer_review.read", action=AuditAction.READ, who=who, address=address, detail=detail)


def scores_of_others(review: PeerReview) -> list[PeerReviewScore]:
    """What others said of the same report, once its reviewer has said something; in no order that tells who."""
    if review.state != PeerReviewState.SCORED:
        return []
    others = review.report_version.peer_reviews.filter(state=PeerReviewState.SCORED).exclude(pk=review.pk)
    found = [each.scores.first() for each in others]
    return sorted((each for each in found if each is not None), key=lambda each: (each.score, each.comment))


@dataclass(frozen=True)
class BlindReport:
    """What a reviewer sees of a report."""

    sections: list[tuple[ReportSection, str]]
    has_text: bool


def blinded(version: ReportVersion) -> BlindReport:
    """Its text as it was signed, without markup, the names of those who wrote it covered."""
    names = _names(version)
    sections = [(section, _covered(text, names)) for section, text in version.texts]
    return BlindReport(sections, bool(sections))


def images_of(*, who: Any, review: PeerReview) -> tuple[Study | None, list[str]]:
    """The study, and the UIDs of its series of images: what is written of them may name an author."""
    procedure = review.report_version.report_ref.requested_procedure_ref
    study = studies_of(procedure, who).first()
    if study is None:
        return None, []
    series = Series.objects.visible_to(who).filter(study_ref=study).images()
    return study, list(series.order_by("series_number", "pk").values_list("series_instance_uid", flat=True))


def _names(version: ReportVersion) -> tuple[list[str], set[str]]:
    """As whom the writers of a report may stand in its text, and the words of their names."""
    found: set[str] = set()
    words: set[str] = set()
    for each in version.report_ref.versions.select_related("author"):
        written = _words(each.author_name)
        found |= {PersonName(each.author_name).display, each.author_name.replace("^", " ").strip(), " ".join(written)}
        words |= set(written)
        if each.author is not None:
            first, last = each.author.first_name.strip(), each.author.last_name.strip()
            found |= {f"{first} {last}".strip(), f"{last} {first}".strip(), each.author.username}
            parts = _words(first), _words(last)
            found |= {" ".join((*parts[0], *parts[1])), " ".join((*parts[1], *parts[0]))}
            words |= {*parts[0], *parts[1]}
    names = sorted((name for name in found if len(name) > 2), key=len, reverse=True)
    return names, {word for word in words if len(word) > 1}


def _words(name: str) -> list[str]:
    """The words of a name, without titles."""
    return [word for word in _WORD.findall(name) if word.casefold() not in _TITLES]


def _covered(text: str, names: tuple[Sequence[str], set[str]]) -> str:
    whole, words = names
    patterns = [_GAP.join(re.escape(word) for word in name.split()) for name in whole]
    if words:
        # Of one word of a name only what follows a title is surely a name: it may be a word of the language.
        word = "|".join(re.escape(each) for each in sorted(words, key=len, reverse=True))
        some = rf"(?:(?:{word}|[^\W\d_]){_GAP})*(?:{word})"
        patterns.insert(0, rf"(?:(?:dr|drg|prof){_GAP})+{some}")
    for pattern in patterns:
        text = re.sub(rf"(?<!\w){pattern}(?!\w)", COVER, text, flags=re.IGNORECASE)
    return text


def _claim(review: PeerReview, who: User) -> PeerReview:
    if not who.may(RIGHT):
        raise NotAllowed(_("Reviews are done by those who sign reports."))
    found = PeerReview.objects.of_reviewer(who).select_for_update(of=("self",)).filter(pk=review.pk).first()
    if found is None:
        raise NotFound(_("There is no such review, or it is not yours."), field="review")
    if found.state == PeerReviewState.DECLINED:
        raise Conflict(_("You have declined this one."), field="review")
    return found


def _text(text: Any, most: int, field: str) -> str:
    if not isinstance(text, str):
        raise InvalidValue(_("This must be a text."), field=field)
    said = "\n".join(" ".join(clean(line).split()) for line in text.splitlines()).strip()
    if len(said) > most:
        raise InvalidValue(_("This may have %(most)d characters.") % {"most": most}, field=field)
    return said


def _record(event: str, action: AuditAction, review: PeerReview, who: Any, address: str | None, **detail: str) -> None:
    """What a reviewer did, by the review's number in the database.

    Not with the study or the patient, whose history is read by those who wrote the report; and not with the public id,
    which stands in the addresses of the author's answer.
    """
    audit.record(
        event=event,
        action=action,
        who=who,
        address=address,
        site_id=review.site_id,
        detail={"number": str(review.pk), **detail},
    )
