"""Subscribing to events and what follows: secrets, ending, sending again."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from integrations.models import Webhook, WebhookDelivery, WebhookEvent
from integrations.models.webhook import SCOPES_OF
from integrations.webhooks import circuit
from integrations.webhooks.signing import new_secret
from pacs.models.secrets import encrypt
from radiology.errors import Conflict, InvalidValue, NotAllowed
from radiology.models import ApiClient, ApiToken, AuditAction, Job, JobState
from radiology.services import audit, jobs

OLD_SECRET_VALID = timedelta(hours=24)
MOST_OF_CLIENT = 20


@transaction.atomic
def subscribe(
    *, who: Any, name: str, url: str, events: Sequence[str], base_url: str, address: str | None = None
) -> tuple[Webhook, str]:
    """A webhook of the calling program (of the site, when a person calls), and its secret, shown this once.

    Raises InvalidValue, NotAllowed for events of what the caller may not read, Conflict for a name that is taken.
    """
    client = who.client if isinstance(who, ApiToken) else None
    unknown = [str(each) for each in events if each not in WebhookEvent.values]
    if unknown or not events:
        raise InvalidValue(
            _("%(events)s is not an event: choose from %(known)s.")
            % {"events": ", ".join(unknown)[:100] or _("No event"), "known": ", ".join(WebhookEvent.values)},
            field="events",
        )
    for each in events:
        if not any(who.may(scope) for scope in SCOPES_OF[WebhookEvent(each)]):
            raise NotAllowed(_("Without a scope to read it you cannot be told of %(event)s.") % {"event": each})
    if client is not None:
        ApiClient.objects.select_for_update(no_key=True).get(pk=client.pk)
        if client.webhooks.filter(ended_at=None).count() >= MOST_OF_CLIENT:
            raise Conflict(_("A client may have %(most)d webhooks: delete one first.") % {"most": MOST_OF_CLIENT})
    secret = new_secret()
    webhook = Webhook(
        site_id=who.site_id,
        client=client,
        name=name,
        url=url,
        events=sorted(set(events)),
        base_url=base_url,
        secret_encrypted=encrypt(secret),
    )
    if Webhook.objects.filter(site=who.site_id, name=name).exists():
        raise Conflict(_("There is a webhook of this name already."), field="name")
    try:
        webhook.full_clean()
    except ValidationError as error:
        field, texts = next(iter(error.message_dict.items()))
        raise InvalidValue(" ".join(texts), field=field) from error
    webhook.save()
    _record(webhook, AuditAction.CREATE, who, address)
    return webhook, secret


@transaction.atomic
def rotate_secret(*, webhook: Webhook, who: Any = None, address: str | None = None) -> str:
    """A new secret, shown this once; for a day the old one signs too, so that the receiver can follow in peace."""
    locked = Webhook.objects.select_for_update(no_key=True).get(pk=webhook.pk)
    secret = new_secret()
    locked.old_secret_encrypted = locked.secret_encrypted
    locked.old_secret_until = timezone.now() + OLD_SECRET_VALID if locked.secret_encrypted else None
    locked.secret_encrypted = encrypt(secret)
    locked.save(update_fields=["old_secret_encrypted", "old_secret_until", "secret_encrypted"])
    webhook.refresh_from_db()
    _record(webhook, AuditAction.UPDATE, who, address, changed=["secret"])
    return secret


@transaction.atomic
def end(*, webhook: Webhook, who: Any = None, address: str | None = None) -> None:
    """Nothing more is recorded or sent; what waits is called off. The name becomes free."""
    now = timezone.now()
    name = f"{webhook.name[:60]} ({webhook.public_id})"
    Webhook.objects.filter(pk=webhook.pk, ended_at=None).update(is_active=False, ended_at=now, name=name)
    waiting = Job.objects.filter(webhook_delivery__webhook=webhook.pk, state__in=[JobState.PENDING, JobState.RUNNING])
    Job.objects.filter(pk__in=waiting.values("pk")).update(state=JobState.CANCELLED, finished_at=now, lease_until=None)
    _record(webhook, AuditAction.DELETE, who, address)


@transaction.atomic
def send_again(*, deliveries: QuerySet[WebhookDelivery], who: Any = None, address: str | None = None) -> int:
    """Put finished deliveries back, those that got through included, under the same ids; how many."""
    finished = [JobState.DONE, JobState.DEAD, JobState.CANCELLED]
    rows = deliveries.filter(job__state__in=finished, webhook__ended_at=None)
    keys = list(rows.values_list("pk", "job", "site"))
    WebhookDelivery.objects.filter(pk__in=[each[0] for each in keys]).update(delivered_at=None)
    count = jobs.run_again(jobs=Job.objects.filter(pk__in=[each[1] for each in keys]))
    if count:
        audit.record(
            event="webhook.sent_again",
            action=AuditAction.EXECUTE,
            who=who,
            address=address,
            site_id=keys[0][2],
            detail={"deliveries": count, "first": min(each[0] for each in keys), "last": max(each[0] for each in keys)},
        )
    return count


def resume(*, webhook: Webhook) -> None:
    """Let what waits go now: somebody says that the target is well again."""
    Webhook.objects.filter(pk=webhook.pk).update(failures=0, down_until=None)
    circuit.release(webhook)


def _record(webhook: Webhook, action: AuditAction, who: Any, address: str | None, **detail: Any) -> None:
    audit.record(
        event="webhook",
        action=action,
        who=who,
        address=address,
        site_id=webhook.site_id,
        detail={"webhook": str(webhook.public_id), "events": webhook.events, **detail},
    )
