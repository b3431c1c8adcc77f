"""A study's page: what it shows, what may be done there, by whom, and at what cost."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pacs.models import Correction, Instance, Removal, Series, Study
from radiology.models import Role, Site, User
from tests.factories import make_instance, make_patient, make_series, make_site, make_study, make_user, uid
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10

HTMX = {"HX-Request": "true"}
SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def user(site: Site) -> User:
    return make_user(language="en", role="radiographer")


@pytest.fixture
def client(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


def address(study: Study, rest: str = "") -> str:
    return f"/studies/{study.study_instance_uid}{rest}"


def stored(site: Site, **values: Any) -> Study:
    store(site, part10(ct(**values)))
    return Study.objects.latest("pk")


def post(client: Client, study: Study, rest: str, **values: Any) -> Any:
    study.refresh_from_db()
    return client.post(address(study, rest), {"version": study.version, **values}, follow=True)


def test_every_page_answers_and_hides_the_study_of_another_site(client: Client) -> None:
    mine = make_study(series=2, instances=2)
    other = make_study(make_patient(site=make_site()), series=1, instances=1)
    for study, status in ((mine, 200), (other, 404)):
        series = study.series.all()[0]
        for rest in (
            "", "/headers", "/history", "/correct", "/patient", "/split", "/merge", "/reject",
            f"/series/{series.pk}/images", f"/series/{series.pk}/correct",
        ):  # fmt: skip
            assert client.get(address(study, rest)).status_code == status, rest
    series = other.series.all()[0]
    assert client.get(address(mine, f"/series/{series.pk}/images")).status_code == 404
    assert client.get(address(mine, f"/series/{series.pk}/correct")).status_code == 404
    assert (
        client.get(address(mine, f"/headers?instance={series.instances.all()[0].sop_instance_uid}")).status_code == 404
    )
    for rest in ("/correct", "/patient", "/split", "/merge", "/reject"):
        assert client.post(address(other, rest), {"version": 1}).status_code == 404


def test_a_role_without_the_right_is_offered_nothing_and_refused(client: Client, user: User) -> None:
    study = make_study(series=2, instances=1)
    assert "/delete" not in text(client.get(address(study)))
    assert client.get(address(study, "/delete")).status_code == 403
    assert client.post(address(study, "/delete"), {"reason": "x"}).status_code == 403
    user.groups.add(Group.objects.get(name=Role.ADMINISTRATOR))
    assert "/delete" in text(client.get(address(study)))
    assert client.get(address(study, "/delete")).status_code == 200


def test_a_doctor_looks_and_corrects_nothing(client: Client) -> None:
    study = make_study(series=2, instances=1)
    client.force_login(make_user("doctor", role="doctor"))
    assert "/correct" not in text(client.get(address(study)))
    for action in ("/correct", "/patient", "/split", "/merge", "/reject"):
        assert client.get(address(study, action)).status_code == 403
        assert client.post(address(study, action), {"version": 1}).status_code == 403


def test_a_corrected_study_shows_its_new_values_and_undo_brings_the_first_back(client: Client, site: Site) -> None:
    study = stored(site, StudyDescription="CT Thoraks", AccessionNumber="A1")
    page = client.get(address(study, "/correct"))
    fields = {field.name: field.value for field in page.context["fields"]}
    assert (fields["StudyDate"], fields["StudyTime"], fields["Referring_family"]) == (
        "2026-01-02",
        "10:11:12",
        "HARTONO",
    )
    values = {**fields, "StudyDescription": "CT Thorax", "StudyDate": "2026-01-03", "Referring_prefix": "dr."}
    done = post(
        client, study, "/correct", reason="typing mistake", **values, **{f"was_{k}": v for k, v in fields.items()}
    )
    assert "CT Thorax" in text(done)
    assert "typing mistake" in text(done)
    assert "Accession Number" not in text(done)
    assert "Study Description: CT Thoraks → CT Thorax" in text(done)
    study.refresh_from_db()
    assert (study.study_date, study.accession_number) == ("20260103", "A1")
    assert study.referring_physician_name == "HARTONO^DEWI^^dr."
    header = text(client.get(address(study, "/headers")))
    assert "CT Thoraks" in header
    undo = re.findall(r'action="(/studies/[0-9.]+/corrections/[0-9a-f-]+/undo)"', text(done))
    assert undo
    assert "Taken back" in text(client.post(undo[0], follow=True))
    study.refresh_from_db()
    assert (study.study_description, study.study_date) == ("CT Thoraks", "20260102")


def test_errors_stand_beside_the_field_and_what_was_typed_stays(client: Client, site: Site) -> None:
    study = stored(site)
    answer = client.post(
        address(study, "/correct"),
        {"version": study.version, "AccessionNumber": "A\\B", "was_AccessionNumber": "ACC1", "reason": "because"},
    )
    assert answer.status_code == 400
    page = text(answer)
    assert 'id="error-AccessionNumber"' in page
    assert 'value="A\\B"' in page
    assert 'value="because"' in page
    assert post(client, study, "/correct").status_code == 400
    assert client.post(address(study, "/correct"), {"version": "x"}).status_code == 400


def test_the_second_of_two_people_sees_both_versions(client: Client, site: Site) -> None:
    study = stored(site, AccessionNumber="A1", StudyDescription="CT")
    mine = {"version": study.version, "AccessionNumber": "MINE", "was_AccessionNumber": "A1"}
    post(client, study, "/correct", AccessionNumber="THEIRS", was_AccessionNumber="A1")
    answer = client.post(address(study, "/correct"), mine)
    assert answer.status_code == 409
    page = text(answer)
    assert 'value="MINE"' in page
    assert "there now: THEIRS" in page
    assert "dewi" in page
    version = re.search(r'name="version" value="(\d+)"', page)
    assert version
    again = {"version": version[1], "AccessionNumber": "MINE", "was_AccessionNumber": "THEIRS"}
    assert client.post(address(study, "/correct"), again).status_code == 302
    study.refresh_from_db()
    assert study.accession_number == "MINE"


def test_what_a_service_refuses_is_said_in_the_language_of_the_person(client: Client, user: User, site: Site) -> None:
    User.objects.filter(pk=user.pk).update(language="id")
    study = stored(site, AccessionNumber="A1")
    seen = study.version
    post(client, study, "/correct", AccessionNumber="THEIRS", was_AccessionNumber="A1")
    answer = client.post(address(study, "/correct"), {"version": seen, "AccessionNumber": "MINE"})
    assert answer.status_code == 409
    page = text(answer)
    assert "Sementara itu orang lain telah mengoreksi studi ini: lihat sekali lagi, lalu ulangi koreksi Anda." in page
    assert "Somebody else" not in page
    answer = post(client, study, "/correct", AccessionNumber="A" * 17, was_AccessionNumber="THEIRS")
    assert answer.status_code == 400
    assert "AccessionNumber paling banyak 16 karakter." in text(answer)


def test_a_series_gets_its_side(client: Client, site: Site) -> None:
    study = stored(site, Laterality="L")
    series = study.series.get()
    done = post(
        client, study, f"/series/{series.pk}/correct", Laterality="R", was_Laterality="L", reason="wrong marker"
    )
    assert 'class="laterality">R' in text(done)
    series.refresh_from_db()
    assert series.laterality == "R"


def test_a_study_goes_to_the_patient_who_was_looked_for(client: Client, site: Site) -> None:
    study = stored(site)
    wanted = make_patient("MRN-77", "AMINAH^SITI", patient_sex="F")
    make_patient("MRN-78", "AMINAH^BUDI", site=make_site())
    found = post(client, study, "/patient", search="siti am")
    assert "SITI AMINAH" in text(found)
    assert "BUDI AMINAH" not in text(found)
    assert "1 image leaves BUDI SANTOSO" in text(found)
    post(client, study, "/patient", search="siti", patient=wanted.public_id)
    assert Study.objects.get().patient_ref != wanted  # a search gives nothing away
    done = post(client, study, "/patient", patient=wanted.public_id, do="yes")
    assert "SITI AMINAH" in text(done)
    assert Study.objects.get().patient_ref == wanted
    assert post(client, study, "/patient", patient="nonsense", do="yes").status_code == 400


def test_series_move_to_a_new_study_and_studies_merge(client: Client, site: Site) -> None:
    patient = make_patient()
    study = make_study(patient, series=3, instances=2)
    chosen = study.series.all()[0]
    assert post(client, study, "/split", into="new").status_code == 400
    done = post(client, study, "/split", series=[chosen.pk], into="new")
    assert "1 series moved" in text(done)
    other = Study.objects.exclude(pk=study.pk).get()
    assert other.series.get() == chosen
    merged = post(client, other, "/merge", into=study.study_instance_uid)
    assert merged.redirect_chain[-1][0] == address(study)
    chosen.refresh_from_db()
    assert chosen.study_ref == study
    third = make_study(make_patient(), series=1, instances=1, accession_number="OTHER1")
    assert post(client, third, "/merge", into="other", other="").status_code == 400
    assert post(client, third, "/merge", into="other", other="nothing").status_code == 400
    assert post(client, third, "/merge", into="other", other=study.accession_number).status_code == 200
    third.refresh_from_db()
    assert third.merged_into == study


def test_rejected_series_are_listed_and_restored(client: Client, site: Site) -> None:
    first = ct()
    for _ in range(2):
        store(site, part10(ct(StudyInstanceUID=first.StudyInstanceUID)))
    study = Study.objects.get()
    gone = study.series.all()[0]
    assert post(client, study, "/reject", what="series", code="113001").status_code == 400
    assert post(client, study, "/reject", what="series", series=[gone.pk]).status_code == 400
    done = post(client, study, "/reject", what="series", series=[gone.pk], code="113037", reason="wrong patient")
    page = text(done)
    assert "1 removal can be restored" in page
    assert "wrong patient" in page
    assert f'id="series-{gone.pk}"' not in page
    removal = Removal.objects.get()
    restored = client.post(address(study, f"/removals/{removal.public_id}/restore"), follow=True)
    assert f'id="series-{gone.pk}"' in text(restored)


def test_one_image_is_rejected_from_its_own_page(client: Client, site: Site) -> None:
    first = ct(InstanceNumber=1)
    store(site, part10(first))
    store(site, part10(ct(
        StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID, InstanceNumber=2,
    )))  # fmt: skip
    study = Study.objects.get()
    query = f"/reject?instance={first.SOPInstanceUID}"
    assert "Image 1" in text(client.get(address(study, query)))
    post(client, study, "/reject", instance=first.SOPInstanceUID, code="113001")
    images = client.get(address(study, f"/series/{study.series.get(modality='CT').pk}/images"))
    assert [each.instance_number for each in images.context["images"]] == [2]


def test_a_deleted_study_is_gone_and_comes_back(client: Client, user: User, site: Site) -> None:
    user.groups.add(Group.objects.get(name=Role.ADMINISTRATOR))
    study = stored(site)
    assert post(client, study, "/delete").status_code == 400
    done = post(client, study, "/delete", reason="test images")
    assert done.redirect_chain[-1][0] == "/worklist?q="
    assert client.get(address(study)).status_code == 404
    client.post(address(study, f"/removals/{Removal.objects.get().public_id}/restore"))
    assert client.get(address(study)).status_code == 200


def test_nobody_undoes_or_restores_at_another_site(client: Client, site: Site) -> None:
    study = stored(site)
    post(client, study, "/correct", AccessionNumber="B", was_AccessionNumber="ACC1")
    correction = Correction.objects.get()
    far = Client()
    far.force_login(make_user("far", site=make_site(), role="radiographer"))
    assert far.post(address(study, f"/corrections/{correction.public_id}/undo")).status_code == 404
    assert far.post(address(study, "/removals/00000000-0000-0000-0000-000000000000/restore")).status_code == 404
    assert client.get(address(study, f"/corrections/{correction.public_id}/undo")).status_code == 405


def test_images_of_a_series_come_in_pages_each_once(client: Client) -> None:
    series = make_series(instances=0)
    for number in range(130):
        make_instance(series, instance_number=None if number > 120 else number // 2)
    seen: list[int] = []
    place = ""
    while True:
        page = client.get(address(series.study_ref, f"/series/{series.pk}/images"), {"after": place}, headers=HTMX)
        assert len(page.context["images"]) <= 60
        seen += [each.pk for each in page.context["images"]]
        place = page.context["after"]
        if not place:
            break
    assert seen == list(Instance.objects.order_by("pk").values_list("pk", flat=True))
    for nonsense in ("x.y", "1", "..", "9" * 40 + ".1", "-.1"):
        page = client.get(address(series.study_ref, f"/series/{series.pk}/images"), {"after": nonsense})
        assert page.status_code == 200


def test_hostile_values_are_text_everywhere(client: Client, site: Site) -> None:
    study = stored(
        site, PatientName=SCRIPT[:60], StudyDescription=SCRIPT[:64], SeriesDescription=SCRIPT[:64],
        AccessionNumber="<b>x</b>", ImageComments=SCRIPT, StationName="'\"><svg>", ProtocolName=SCRIPT[:64],
    )  # fmt: skip
    post(client, study, "/correct", AccessionNumber="<i>y</i>", was_AccessionNumber="<b>x</b>", reason=SCRIPT)
    series = study.series.get()
    for rest in (
        "", "/headers", "/history", "/correct", "/patient", "/split", "/merge", "/reject",
        f"/series/{series.pk}/images", f"/series/{series.pk}/correct",
    ):  # fmt: skip
        page = text(client.get(address(study, rest)))
        assert "<img src=x" not in page, rest
        assert "<script>alert" not in page
        assert "<svg>" not in page
        assert "<i>y" not in page


def test_the_page_costs_the_same_however_large_the_study(client: Client) -> None:
    costs = []
    for series, instances in ((1, 1), (40, 5)):
        study = make_study(make_patient(), series=series, instances=instances)
        client.get(address(study))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(address(study)).status_code == 200
        costs.append(len(queries))
    assert costs[0] == costs[1] <= 11  # one of them for the patient's open critical results


def test_five_thousand_images_in_a_hundred_and_fifty_series_are_one_page_away(client: Client) -> None:
    study = make_study(make_patient())
    rows = Series.objects.bulk_create(
        Series(
            site=study.site, study_ref=study, series_instance_uid=uid(), modality="CT", series_number=number,
            number_of_series_related_instances=34,
        )
        for number in range(150)
    )  # fmt: skip
    Instance.objects.bulk_create(
        Instance(site=study.site, series_ref=rows[number % 150], sop_instance_uid=uid(), instance_number=number)
        for number in range(5100)
    )
    page = client.get(address(study))
    assert len(page.context["series"]) == 100
    assert len(client.get(address(study, "?series=100")).context["series"]) == 50


def test_an_unchanged_page_answers_304_and_a_correction_shows_at_once(client: Client, site: Site) -> None:
    study = stored(site)
    part = client.get(address(study), headers=HTMX)
    version = part.context["etag"]
    assert client.get(address(study), headers={**HTMX, "If-None-Match": version}).status_code == 304
    post(client, study, "/correct", AccessionNumber="NEW", was_AccessionNumber="ACC1")
    assert client.get(address(study), headers={**HTMX, "If-None-Match": version}).status_code == 200


def test_a_header_of_a_file_that_is_missing_says_so(client: Client) -> None:
    study = make_study(series=1)
    make_instance(study.series.get(), location=True)
    page = client.get(address(study, "/headers"))
    assert page.status_code == 200
    assert "missing" in text(page)
