"""One dead target delays nobody: while it is down, what waits for it waits without taking a worker's time.

Whoever finds a target down lets it rest, the longer the oftener. After the rest one delivery tries again, and the
others move on behind it; when it gets through, all of them may go.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from integrations.models import Webhook
from radiology.models import Job, JobState
from radiology.services.jobs import Postponed

# So many refusals in a row that may be about one event only (5xx, 429) mean that the target is down.
MOST_REFUSALS = 3
FIRST_REST = timedelta(seconds=10)
LONGEST_REST = timedelta(minutes=10)
LONGEST_ASKED = timedelta(hours=1)
PAUSE = timedelta(minutes=10)
# One trial has ended by then, its time limits included.
TRIAL = timedelta(seconds=20)
# An outage of so many failures in a row was no hiccup: afterwards all go at once, those that had failed too.
LONG_OUTAGE = 5
NOTED_EVERY = timedelta(minutes=1)


def begin(webhook: Webhook) -> None:
    """Let the caller try to deliver, or raise Postponed."""
    now = timezone.now()
    if not webhook.is_at_work:
        hold(webhook, now + PAUSE)
        raise Postponed(now + PAUSE, "The webhook is not active.")
    if webhook.down_until is None:
        return
    if webhook.down_until > now:
        raise Postponed(webhook.down_until, webhook.last_error)
    resting = Webhook.objects.filter(pk=webhook.pk, down_until=webhook.down_until)
    if not resting.update(down_until=now + TRIAL):
        raise Postponed(now + TRIAL, webhook.last_error)  # somebody else tries already
    hold(webhook, now + TRIAL)


def succeeded(webhook: Webhook, *, took: timedelta) -> None:
    """It answered. What waited for it may go; of a slow one, the others wait as long as this one took."""
    now = timezone.now()
    was = Webhook.objects.get(pk=webhook.pk)
    if was.failures or was.down_until is not None:
        Webhook.objects.filter(pk=webhook.pk).update(failures=0, down_until=None, last_success_at=now)
        release(webhook, all_of_them=was.failures >= LONG_OUTAGE)
    elif _is_news(was, now):
        Webhook.objects.filter(pk=webhook.pk).update(last_success_at=now)
    if took > timedelta(seconds=1):
        hold(webhook, now + took)


def _is_news(was: Webhook, now: datetime) -> bool:
    """Whether a success is worth writing: the row is everybody's, and most are as the one before."""
    success, failure = was.last_success_at, was.last_failure_at
    return success is None or now - success > NOTED_EVERY or (failure is not None and failure > success)


def failed(webhook: Webhook, *, error: str, is_silent: bool, asked: timedelta | None = None) -> None:
    """It did not take a delivery. `is_silent`: there was no answer at all; `asked`: how long it wants to rest."""
    now = timezone.now()
    mine = Webhook.objects.filter(pk=webhook.pk)
    mine.update(failures=F("failures") + 1, last_failure_at=now, last_error=error[:500])
    count = mine.values_list("failures", flat=True).get()
    if not is_silent and asked is None and count < MOST_REFUSALS:
        if webhook.down_until is not None:
            mine.update(down_until=None)
            release(webhook, all_of_them=False)
        return
    rest = min(FIRST_REST * 2 ** min(count - 1, 12), LONGEST_REST)
    until = now + max(rest, min(asked or rest, LONGEST_ASKED))
    mine.update(down_until=until)
    hold(webhook, until)


def refused(webhook: Webhook, *, error: str) -> None:
    """It answered, and will not have this delivery: the others may go."""
    Webhook.objects.filter(pk=webhook.pk).update(last_failure_at=timezone.now(), last_error=error[:500])
    if webhook.failures or webhook.down_until is not None:
        Webhook.objects.filter(pk=webhook.pk).update(failures=0, down_until=None)
        release(webhook, all_of_them=False)


def hold(webhook: Webhook, until: datetime) -> None:
    """Put off whatever waits for this webhook and would be due before."""
    _move(webhook, _waiting(webhook).filter(next_attempt_at__lt=until), until)


def release(webhook: Webhook, *, all_of_them: bool = True) -> None:
    """Let what waits go now; otherwise only what was never tried."""
    now = timezone.now()
    found = _waiting(webhook).filter(next_attempt_at__gt=now)
    _move(webhook, found if all_of_them else found.filter(attempts=0), now)


def _waiting(webhook: Webhook) -> QuerySet[Job]:
    """By the index of ordering keys, which holds unfinished jobs only."""
    keys = Job.objects.filter(ordering_key__startswith=webhook.ordering_prefix).exclude(ordering_key="")
    return keys.filter(state=JobState.PENDING)


@transaction.atomic
def _move(webhook: Webhook, rows: QuerySet[Any], to: datetime) -> None:
    """One at a time a webhook, so that two workers do not lock each other's rows; who records events need not wait."""
    Webhook.objects.select_for_update(no_key=True).filter(pk=webhook.pk).values_list("pk").get()
    rows.update(next_attempt_at=to)
