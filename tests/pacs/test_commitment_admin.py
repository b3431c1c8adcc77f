"""Storage commitments in the administration: what was asked, what failed, and sending a report again."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pydicom.uid import CTImageStorage

from pacs.models import ApplicationEntity, CommitmentState, StorageCommitment
from pacs.services.commitment import report_again, request_commitment
from radiology.errors import Conflict, NotAllowed
from radiology.models import AuditEvent, Job, JobState, User
from tests.factories import make_node, make_site, make_user, uid
from tests.radiology.admin_client import signed_in, superuser

pytestmark = pytest.mark.django_db


@pytest.fixture
def chief() -> Client:
    return signed_in(superuser())


def failed_report() -> StorageCommitment:
    """A request whose check found damage, and whose report nobody took."""
    row = request_commitment(
        node=make_node("CT1"), transaction_uid=uid(), references=[(str(CTImageStorage), uid()) for _ in range(3)]
    )
    Job.objects.update(state=JobState.DEAD, error="CT1 does not answer at 127.0.0.1 port 11113.")
    sop_class, sop_instance = row.requested[0]
    row.failures = [[sop_class, sop_instance, 0x0110, "Its SHA-256 is <another>."]]
    row.number_of_failed, row.state = 1, CommitmentState.CHECKED
    row.save()
    return row


def test_a_list_finds_a_request_by_its_transaction_and_state(chief: Client, django_assert_max_num_queries: Any) -> None:
    row = failed_report()
    other = request_commitment(node=make_node("CT2"), transaction_uid=uid(), references=[(str(CTImageStorage), uid())])
    address = reverse("admin:pacs_storagecommitment_changelist")
    with django_assert_max_num_queries(15):
        page = chief.get(address, {"q": row.transaction_uid}).content.decode()
    assert "CT1" in page and "Failed" in page and "does not answer at 127.0.0.1" in page
    page = chief.get(address, {"state": CommitmentState.REQUESTED}).content.decode()
    assert f"/{other.pk}/change/" in page and f"/{row.pk}/change/" not in page
    page = chief.get(address, {"node__id__exact": other.node_id}).content.decode()
    assert f"/{other.pk}/change/" in page and f"/{row.pk}/change/" not in page


def test_a_page_names_what_was_not_committed_and_why(chief: Client, django_assert_max_num_queries: Any) -> None:
    row = failed_report()
    with django_assert_max_num_queries(15):
        page = chief.get(reverse("admin:pacs_storagecommitment_change", args=[row.pk])).content.decode()
    assert row.failures[0][1] in page and "0110" in page and "Its SHA-256 is &lt;another&gt;." in page


def test_the_button_sends_a_report_again(chief: Client) -> None:
    row = failed_report()
    address = reverse("admin:pacs_storagecommitment_report_this", args=[row.pk])
    answer = chief.get(address, follow=True)
    assert "The report goes out again." in answer.content.decode()
    row.refresh_from_db()
    assert row.job is not None and row.job.kind == "pacs.report_commitment" and row.job.state == JobState.PENDING
    assert AuditEvent.objects.filter(event="commitment.reported-again").count() == 1
    assert "It is under way" in chief.get(address, follow=True).content.decode()


def test_only_who_may_sends_a_report_again() -> None:
    row = failed_report()
    with pytest.raises(NotAllowed):
        report_again(who=make_user("reader"), commitment=row)
    far = make_user("far", site=make_site(), role="administrator")
    with pytest.raises(NotAllowed):
        report_again(who=far, commitment=row)
    near = User.objects.get(pk=make_user("near", role="administrator").pk)
    report_again(who=near, commitment=row)
    with pytest.raises(Conflict):
        report_again(who=near, commitment=row)


def test_a_nodes_form_says_what_it_may_ask_and_what_it_is_told(chief: Client) -> None:
    node = make_node("CT1")
    page = chief.get(reverse("admin:pacs_applicationentity_change", args=[node.pk])).content.decode()
    for text in ("may ask for storage commitment", "takes availability notifications", "are checked on disk"):
        assert text in page.replace("May ask", "may ask").replace("Takes avail", "takes avail")
    assert ApplicationEntity.objects.get().may_commit and not ApplicationEntity.objects.get().takes_availability
