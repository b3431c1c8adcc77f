"""What is done with marked studies: viewed, compared, downloaded as one ZIP, deleted, and that taken back."""

import re
import zipfile
from io import BytesIO
from typing import Any

import pydicom
import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pydicom.uid import generate_uid

from pacs.models import Location, Removal, Study
from radiology.models import AuditEvent, Site, User
from tests.factories import make_patient, make_site, make_study, make_user, uid
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10


@pytest.fixture
def user(site: Site) -> User:
    return make_user(language="en")


@pytest.fixture
def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def deleter(user: User, signed_in: Client) -> Client:
    user.user_permissions.add(Permission.objects.get(codename="delete_study"))
    return signed_in


def text(response: Any) -> str:
    return str(response.content.decode())


def marked(*studies: Study | str, **more: str) -> dict[str, Any]:
    return {
        "StudyInstanceUIDs": [study if isinstance(study, str) else study.study_instance_uid for study in studies],
        "next": "/worklist?q=ct",
        **more,
    }


def test_marked_studies_open_in_the_viewer_in_their_order(signed_in: Client) -> None:
    one, two, three = make_study(), make_study(), make_study()
    uids = [study.study_instance_uid for study in (two, one, three)]
    opened = signed_in.post("/studies/view", marked(two, one, three, two))
    assert opened["Location"] == f"/viewer?StudyInstanceUIDs={','.join(uids)}"
    assert "hangingprotocolid" not in signed_in.post("/studies/view", marked(one, two, three, compare="1"))["Location"]


def test_two_are_compared_side_by_side(signed_in: Client) -> None:
    opened = signed_in.post("/studies/view", marked(make_study(), make_study(), compare="1"))
    assert opened["Location"].endswith("&hangingprotocolid=@ohif/hpCompare")
    viewer = signed_in.get(opened["Location"])
    assert "hangingprotocolid=%40ohif%2FhpCompare" in viewer["Location"]


@pytest.mark.parametrize("address", ["/studies/view", "/studies/archive", "/studies/deletion"])
@pytest.mark.parametrize("uids", [[], ["x"], ["1.2.3"], ["../../etc"], ["1.2"] * 900, [f"1.2.{n}" for n in range(300)]])
def test_what_cannot_be_done_is_said_where_one_came_from(deleter: Client, address: str, uids: list[str]) -> None:
    response = deleter.post(address, marked(*uids), follow=True)
    assert response.redirect_chain[-1][0] == "/worklist?q=ct"
    assert "data-notice" in text(response)


def test_without_a_place_to_go_back_to_a_page_says_it(signed_in: Client) -> None:
    response = signed_in.post("/studies/archive", {"next": "//evil.example/"})
    assert response.status_code == 400
    assert "Mark at least one study" in text(response)


@pytest.mark.parametrize("address", ["/studies/view", "/studies/archive", "/studies/deletion"])
def test_studies_of_other_sites_are_not_there(deleter: Client, address: str) -> None:
    other = make_study(make_patient(site=make_site()))
    response = deleter.post(address, marked(other, reason="x"), follow=True)
    assert "not here any more" in text(response)
    assert not Removal.objects.exists()


def test_addresses_that_do_something_take_no_get(signed_in: Client) -> None:
    for address in ("/studies/view", "/studies/archive", "/studies/deletion", f"/studies/restoration/{'0' * 36}"):
        assert signed_in.get(address).status_code == 405


def test_many_studies_leave_as_one_zip_that_others_can_read(signed_in: Client, user: User, site: Site) -> None:
    uids = [generate_uid() for _ in range(3)]
    for number, study in enumerate(uids):
        for instance in range(2):
            store(site, part10(ct(StudyInstanceUID=study, PatientID=f"P{number}", InstanceNumber=instance)))
    response = signed_in.post("/studies/archive", marked(*uids[:2]))
    assert response.status_code == 200
    assert response["Content-Type"] == "application/zip"
    assert response["Content-Disposition"] == 'attachment; filename="studies-2.zip"'
    data = b"".join(response)
    assert len(data) == int(response["Content-Length"])
    with zipfile.ZipFile(BytesIO(data)) as opened:
        assert opened.testzip() is None
        files = [name for name in opened.namelist() if name.startswith("DICOM/")]
        found = {str(pydicom.dcmread(BytesIO(opened.read(name))).StudyInstanceUID) for name in files}
    assert len(files) == 4
    assert found == set(uids[:2])
    events = AuditEvent.objects.filter(event="study.downloaded", user_id=user.pk)
    assert set(events.values_list("study_instance_uid", flat=True)) == set(uids[:2])


def test_a_download_whose_first_file_is_gone_is_refused_before_it_begins(signed_in: Client, site: Site) -> None:
    study = generate_uid()
    store(site, part10(ct(StudyInstanceUID=study)))
    Location.objects.update(path="gone.dcm")
    response = signed_in.post("/studies/archive", marked(study), follow=True)
    assert response.redirect_chain[-1][0] == "/worklist?q=ct"
    assert "data-notice" in text(response)


def test_deleting_says_what_it_takes_away_asks_why_and_can_be_undone(deleter: Client) -> None:
    patient = make_patient("77", "SARI^SITI")
    one, two = make_study(patient, series=1, instances=3), make_study(patient, series=1, instances=4)
    asked = deleter.post("/studies/deletion", marked(one, two), headers={"HX-Request": "true"})
    for shown in ("Delete 2 studies?", "7 images disappear", "SITI SARI", "<dialog"):
        assert shown in text(asked)
    assert Study.objects.filter(deleted_at=None).count() == 2
    refused = deleter.post("/studies/deletion", marked(one, two, reason="  "))
    assert refused.status_code == 400
    assert "Say why" in text(refused)
    done = deleter.post("/studies/deletion", marked(one, two, reason="Wrong patient"), follow=True)
    assert done.redirect_chain[-1][0] == "/worklist?q=ct"
    assert "2 studies deleted." in text(done)
    assert set(Study.objects.values_list("deletion_reason", flat=True)) == {"Wrong patient"}
    undo = re.search(r'action="(/studies/restoration/[^"]+)"', text(done))
    assert undo
    back = deleter.post(undo[1], {"next": "/worklist"}, follow=True)
    assert "2 studies restored." in text(back)
    assert Study.objects.filter(deleted_at=None).count() == 2


def test_when_one_cannot_be_deleted_none_is(deleter: Client) -> None:
    one = make_study()
    deleter.post("/studies/deletion", marked(one, uid(), reason="x"))
    assert not Removal.objects.exists()


def test_only_who_may_delete_deletes_and_is_offered_it(signed_in: Client, user: User) -> None:
    study = make_study()
    assert "/studies/deletion" not in text(signed_in.get("/worklist"))
    response = signed_in.post("/studies/deletion", marked(study, reason="x"), follow=True)
    assert "does not delete" in text(response)
    assert not Removal.objects.exists()
    user.user_permissions.add(Permission.objects.get(codename="delete_study"))
    assert "/studies/deletion" in text(signed_in.get("/worklist"))


def test_nobody_restores_what_another_site_deleted(deleter: Client) -> None:
    study = make_study(make_patient(site=make_site()))
    removal = Removal.objects.create(site=study.site, study_ref=study, code="deleted")
    response = deleter.post(f"/studies/restoration/{removal.public_id}", {"next": "/worklist"}, follow=True)
    removal.refresh_from_db()
    assert removal.restored_at is None
    assert "urgent" in text(response)


@pytest.mark.parametrize("name", ["0" * 36, "a" * 36, ",".join(["0" * 36] * 3)])
def test_an_undo_that_names_nothing_is_explained(deleter: Client, name: str) -> None:
    response = deleter.post(f"/studies/restoration/{name}", {"next": "/worklist"}, follow=True)
    assert response.status_code == 200
    assert "data-notice" in text(response)


@pytest.mark.parametrize("studies", [1, 20])
def test_marking_more_costs_no_query_more_to_view_or_ask(deleter: Client, studies: int) -> None:
    made = [make_study(series=1) for _ in range(studies)]
    for address, most in (("/studies/view", 4), ("/studies/deletion", 6)):
        deleter.post(address, marked(*made))
        with CaptureQueriesContext(connection) as queries:
            deleter.post(address, marked(*made), headers={"HX-Request": "true"})
        assert len(queries) <= most, [query["sql"][:100] for query in queries]
