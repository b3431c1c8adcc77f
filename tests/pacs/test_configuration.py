"""The configuration as one file, and nodes out of an orthanc.json."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from pacs.models import ApplicationEntity, Volume
from pacs.services.orthanc_nodes import nodes_of
from radiology.admin.model_admin import ViewOnly
from radiology.errors import InvalidValue, NotAllowed
from radiology.models import ApiClient, AuditEvent, Procedure, ReportMacro, ReportTemplate, Site
from radiology.services import configuration
from tests.factories import make_node, make_procedure, make_report_template, make_site, make_token, make_user
from tests.radiology.admin_client import signed_in, superuser
from worklist.models import WorklistSettings

pytestmark = pytest.mark.django_db

ORTHANC = """
{
  // General
  "Name": "SA-RIS-PACS", /* a comment
     over two lines, with "DicomModalities": {} inside */
  "DicomCheckModalityHost": true,
  "Website": "http://example.org/a//b",
  "DicomModalities": {
    "sample": ["SAMPLE", "localhost", 2000],
    "ct": ["CT1", "10.0.0.5", 104, "GenericNoWildcardInDates"],
    "ws": {"AET": "WS1", "Host": "10.0.0.6", "Port": 11112, "AllowStore": false, "AllowFind": false,
           "AllowMove": false, "AllowGet": false, "UseDicomTls": true},
    "broken": ["X"]
  },
  "OrthancPeers": {"other": ["http://localhost:8043"]}
}
"""


def test_what_is_written_out_and_read_in_elsewhere_is_the_same(tmp_path: Path) -> None:
    site = make_site("rsud", issuer_of_patient_id="RSUD")
    make_node("CT1", site=site, may_query=False, transfer_syntaxes=["1.2.840.10008.1.2.1"])
    make_node("RIS1", may_commit=False, takes_availability=True)
    make_token("simrs", site=site)
    Volume.objects.create(name="spare", path="/srv/spare", is_active=False)
    text = configuration.export(who=None)
    assert configuration.plan(text=text) == []

    ApplicationEntity.objects.all().delete()
    ApiClient.objects.all().delete()
    Volume.objects.filter(name="spare").delete()
    Site.objects.filter(pk=site.pk).delete()
    planned = configuration.plan(text=text)
    assert [(each.is_new, each.name) for each in planned] == [
        (True, "RS Rsud"),
        (True, "simrs"),
        (True, f"CT1 (127.0.0.1:{11113})"),
        (True, f"RIS1 (127.0.0.1:{11113})"),
        (True, "spare"),
    ]
    assert not ApplicationEntity.objects.exists(), "a plan changes nothing"
    (tmp_path / "file.json").write_text(text)
    call_command("configuration", "import", str(tmp_path / "file.json"))
    ris = ApplicationEntity.objects.get(title="RIS1")
    assert ris.takes_availability and not ris.may_commit
    written = json.loads(configuration.export(who=None))
    assert {**written, "written_at": ""} == {**json.loads(text), "written_at": ""}


# What is entered in the administration and is no configuration: people and what is theirs, secrets, medical records.
NO_CONFIGURATION = {
    "radiology.User", "radiology.SavedFilter", "radiology.ApiToken", "account.EmailAddress", "mfa.Authenticator",
    "usersessions.UserSession", "radiology.Patient", "radiology.PatientIdentifier", "radiology.Order",
    "radiology.RequestedProcedure", "worklist.ReadingArea", "radiology.Resident",
}  # fmt: skip
# Values of configuration that are another installation's own affair.
LEFT_OUT = {"webhooks": {"client"}, "report_templates": {"owner"}, "report_macros": {"owner"}}


def test_whatever_is_configured_in_the_administration_stands_in_the_file() -> None:
    sections = {section.model._meta.label: section for section in configuration.SECTIONS}
    entered = {
        model._meta.label for model, shown in admin.site._registry.items() if not isinstance(shown, ViewOnly)
    } - NO_CONFIGURATION
    assert entered - set(sections) == {"auth.Group"}  # the roles, in a section of their own shape
    for section in configuration.SECTIONS:
        shown = {*section.key, *section.fields, *LEFT_OUT.get(section.name, ())}
        left = {field.name for field in section.model._meta.fields if field.editable and field.name != "id"} - shown
        assert left == set(), section.name


def test_the_catalogue_and_how_studies_are_matched_go_along(site: Site) -> None:
    procedure = make_procedure("CTTHX", "CT Thorax", asks_laterality=True, duration=25)
    procedure.codes.create(coding_scheme_designator="LN", code_value="24627-2", code_meaning="CT Chest")
    procedure.protocols.create(position=1, code_value="P1", code_meaning="Thorax")
    Site.objects.update(accession_pattern="{yyyy}{n:07}")
    WorklistSettings.objects.create(site=site, expects_orders=True)
    text = configuration.export(who=None)
    Procedure.objects.all().delete()
    WorklistSettings.objects.all().delete()
    Site.objects.update(accession_pattern="{n:05}")
    configuration.apply(text=text, who=None)
    assert configuration.plan(text=text) == []
    found = Procedure.objects.get()
    assert (found.duration, found.asks_laterality, found.codes.get().code_value) == (25, True, "24627-2")
    assert list(Procedure.objects.found_by(["thor"])) == [found]
    assert WorklistSettings.objects.get().expects_orders and Site.objects.get().accession_pattern == "{yyyy}{n:07}"


def test_no_secret_is_in_the_file() -> None:
    _, token = make_token("simrs")
    volume = Volume(name="far", kind="s3", bucket="images", access_key_id="AKIA", is_active=False)
    volume.secret = "very-secret-key"
    volume.save()
    text = configuration.export(who=None)
    assert "AKIA" in text
    for secret in (token, "very-secret-key", volume.secret_encrypted):
        assert secret not in text


def test_a_changed_row_is_changed_and_the_others_are_left() -> None:
    make_node("CT1")
    make_node("MR1", port=104)
    document = json.loads(configuration.export(who=None))
    document["nodes"] = [{"title": "CT1", "host": "127.0.0.1", "port": 11113, "description": "Room 2"}]
    (change,) = configuration.apply(who=superuser(), text=json.dumps(document))
    assert (change.is_new, change.values) == (False, {"description": ("", "Room 2")})
    assert ApplicationEntity.objects.get(title="CT1").description == "Room 2"
    assert ApplicationEntity.objects.filter(title="MR1").exists()
    assert AuditEvent.objects.get(event="configuration.imported").detail["changes"]


def test_a_new_volume_takes_nothing_until_somebody_says_so() -> None:
    document = {"sinar": 1, "volumes": [{"name": "new", "path": "/srv/new", "is_active": True}]}
    configuration.apply(who=None, text=json.dumps(document))
    assert Volume.objects.get(name="new").is_active is False


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "no JSON"),
        ("[]", "no configuration"),
        ('{"sinar": 2}', "no configuration"),
        ('{"sinar": 1, "doors": []}', "doors"),
        ('{"sinar": 1, "nodes": {}}', "list"),
        ('{"sinar": 1, "nodes": [3]}', "nodes 1"),
        ('{"sinar": 1, "nodes": [{"title": "A", "host": "h"}]}', "port is missing"),
        ('{"sinar": 1, "nodes": [{"title": "A", "host": "h", "port": "x"}]}', "malformed"),
        ('{"sinar": 1, "nodes": [{"title": "A", "host": "h", "port": 70000}]}', "port"),
        ('{"sinar": 1, "nodes": [{"title": "A", "host": "h", "port": 1, "colour": 1}]}', "colour"),
        ('{"sinar": 1, "nodes": [{"title": "A", "host": "h", "port": 1, "site": "nowhere"}]}', "nowhere"),
        ('{"sinar": 1, "roles": {"x": ["pacs.fly"]}}', "pacs.fly"),
        ('{"sinar": 1, "roles": [1]}', "roles"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing_and_is_told_where(document: str, said: str) -> None:
    good = {"title": "FIRST", "host": "h", "port": 104}
    if document.startswith('{"sinar": 1, "nodes": [{'):
        document = document.replace("[{", f"[{json.dumps(good)}, {{", 1)
    with pytest.raises(InvalidValue) as refusal:
        configuration.apply(who=None, text=document)
    assert said in refusal.value.message
    assert not ApplicationEntity.objects.exists()


def test_only_a_superuser_moves_it() -> None:
    with pytest.raises(NotAllowed):
        configuration.export(who=make_user())
    with pytest.raises(NotAllowed):
        configuration.apply(who=make_user("rina", is_staff=True), text='{"sinar": 1}')


def test_the_modalities_of_an_orthanc_become_nodes() -> None:
    found = nodes_of(text=ORTHANC, site_code="main")
    by_title = {each["title"]: each for each in found.nodes}
    assert set(by_title) == {"SAMPLE", "CT1", "WS1"}
    assert (by_title["SAMPLE"]["host"], by_title["SAMPLE"]["port"]) == ("localhost", 2000)
    assert all(each["check_address"] for each in found.nodes)
    rights = {name: by_title["WS1"][name] for name in ("may_store", "may_query", "may_retrieve", "tls")}
    assert rights == {"may_store": False, "may_query": False, "may_retrieve": False, "tls": True}
    assert [line.partition(":")[0] for line in found.left_out] == ["broken", "OrthancPeers"]


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"DicomModalities": []}'])
def test_what_is_no_orthanc_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        nodes_of(text=text, site_code="main")


def test_the_command_reads_an_orthanc_file(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "orthanc.json").write_text(ORTHANC)
    call_command("configuration", "import-orthanc", str(tmp_path / "orthanc.json"), "--dry-run")
    assert not ApplicationEntity.objects.exists()
    call_command("configuration", "import-orthanc", str(tmp_path / "orthanc.json"))
    assert ApplicationEntity.objects.filter(title__in=["SAMPLE", "CT1", "WS1"]).count() == 3
    call_command("configuration", "import-orthanc", str(tmp_path / "orthanc.json"))
    assert "0 changes made." in capsys.readouterr().out
    with pytest.raises(CommandError, match="nowhere"):
        call_command("configuration", "import-orthanc", str(tmp_path / "orthanc.json"), "--site", "nowhere")


def test_the_page_compares_first_and_then_reads_in() -> None:
    client = signed_in(superuser())
    page = client.get("/admin/configuration/?download")
    assert page["Content-Disposition"].startswith("attachment")
    assert json.loads(page.content)["sinar"] == 1
    file = SimpleUploadedFile("orthanc.json", ORTHANC.encode(), content_type="application/json")
    response = client.post("/admin/configuration/", {"file": file})
    assert response.status_code == 200
    shown = response.content.decode()
    assert "WS1 (10.0.0.6:11112)" in shown
    assert "broken" in shown
    assert not ApplicationEntity.objects.exists()
    response = client.post("/admin/configuration/", {"text": response.context["text"]}, follow=True)
    assert ApplicationEntity.objects.count() == 3
    assert "3 changes" in response.content.decode()


def test_the_page_tells_what_is_wrong_and_lets_nobody_else_in() -> None:
    client = signed_in(superuser())
    wrong = SimpleUploadedFile("x.json", b"\xff\xfe", content_type="application/json")
    response = client.post("/admin/configuration/", {"file": wrong})
    assert response.status_code == 400
    assert "UTF-8" in response.content.decode()
    staff = signed_in(make_user("rina", is_staff=True))
    assert staff.get("/admin/configuration/").status_code in {302, 403}
    assert staff.get("/admin/configuration/?download").status_code in {302, 403}


def test_the_sites_report_templates_go_along_with_their_procedures_and_personal_ones_stay(site: Site) -> None:
    entry = make_procedure("CTTHX")
    template = make_report_template("A", name="Toraks")
    template.procedures.add(entry)
    make_report_template("A", owner=make_user("rad", role="radiologist"), name="Own")
    ReportMacro.objects.create(site=site, abbreviation="nl", text="Normal.")
    text = configuration.export(who=None)
    assert "Own" not in text and configuration.plan(text=text) == []
    template.procedures.clear()
    ReportTemplate.objects.filter(pk=template.pk).update(name="Changed")
    ReportMacro.objects.all().delete()
    (changed, new) = configuration.plan(text=text)
    assert changed.values == {"name": ("Changed", "Toraks"), "procedures": ([], ["CTTHX"])} and new.is_new
    configuration.apply(text=text, who=None)
    template.refresh_from_db()
    assert (template.name, template.version, list(template.procedures.all())) == ("Toraks", 2, [entry])
    assert ReportTemplate.objects.filter(name="Own").count() == 1 and ReportMacro.objects.get().text == "Normal."
    assert configuration.plan(text=text) == []
    for wrong in (["NOWHERE"], "CTTHX", [1]):
        document = json.loads(text)
        document["report_templates"][0]["procedures"] = wrong
        with pytest.raises(InvalidValue, match="report_templates 1"):
            configuration.plan(text=json.dumps(document))
