"""Taking over the modalities of an Orthanc's configuration, and what is told of the rest."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from pacs.models import ApplicationEntity
from radiology.models import AuditEvent
from tests.factories import make_node, make_site
from tests.integrations.imported_orthanc import importorthanc
from tests.integrations.orthanc_client import OrthancProgram

MAIN = """
/* The hospital's Orthanc.
   "DicomModalities": { "none": ["NONE", "h", 1] } */
{
  "Name" : "RSUD", // with "quotes"
  "DicomAet" : "PACS_RSUD",
  "DicomPort" : 4242,
  "HttpPort" : 8042,
  "DicomAlwaysAllowStore" : true,
  "StorageDirectory" : "/var/lib/orthanc/db-v6",
  "MaximumStorageSize" : 500000,
  "Worklists" : { "Enable" : true, "Database" : "/var/lib/orthanc/worklists" },
  "DicomWeb" : { "Servers" : { "cloud" : [ "https://pacs.example/", "alice", "s3cret" ] } },
  "RegisteredUsers" : { "khanza" : "s3cret" },
  "Dictionary" : { "0014,1020" : [ "DA", "http://example.org//x", 1, 1, ], },
}
"""
MODALITIES = """
{
  "DicomModalities" : {
    "ct scan" : [ "CT1", "10.0.0.5", 104, "GE" ],
    "mr" : [ "MR1", "10.0.0.6", "11112" ],
    "ruang baca" : {
      "AET" : "WS1", "Host" : "10.0.0.7", "Port" : 11112, "Manufacturer" : "Generic",
      "AllowEcho" : false, "AllowFind" : false, "AllowFindWorklist" : false, "AllowMove" : false, "AllowGet" : true,
      "AllowStore" : false, "AllowStorageCommitment" : false, "UseDicomTls" : true, "Timeout" : 60
    },
    "again" : [ "CT1", "10.0.0.5", 104 ],
    "moved" : [ "US1", "10.0.0.99", 104 ],
    "xa" : [ "XA1", "10.0.0.8", 104 ],
    "broken" : [ "X" ],
    "too long" : [ "A_TITLE_OF_SEVENTEEN", "10.0.0.9", 104 ],
  },
  "OrthancPeers" : { "branch" : [ "http://10.1.0.1:8042/", "alice", "s3cret" ] },
  "Name" : "other"
}
"""
pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "orthanc.json").write_text(MAIN)
    (tmp_path / "modalities.json").write_text(MODALITIES)
    (tmp_path / "readme.txt").write_text("{")
    return tmp_path


def taken_over(*arguments: Any) -> tuple[int, dict[str, list[str]]]:
    code, report = importorthanc(*arguments)
    return code, report["configuration"]


def test_a_folder_of_files_with_comments_becomes_nodes_and_a_list_of_what_to_do(folder: Path) -> None:
    make_node("US1", host="10.0.0.4", port=104)
    kept = make_node("XA1", host="10.0.0.8", port=104, description="Cathlab", may_query=False)
    code, told = taken_over("--configuration", folder)
    assert code == 3
    assert told["new"] == ["CT1 (10.0.0.5:104)", "MR1 (10.0.0.6:11112)", "WS1 (10.0.0.7:11112)"]
    assert told["there"] == []
    moved, xa, too_long = sorted(told["conflicts"], key=lambda line: ("US1" not in line, "XA1" not in line))
    assert "US1 (10.0.0.99:104)" in moved and "US1 (10.0.0.4:104)" in moved
    assert "stays as it is" in xa and "may_query False here, True there" in xa and "'Cathlab' here, 'xa' there" in xa
    assert "too long" in too_long
    kept.refresh_from_db()
    assert (kept.description, kept.may_query) == ("Cathlab", False)
    assert not ApplicationEntity.objects.filter(host="10.0.0.99").exists()

    ct = ApplicationEntity.objects.get(title="CT1")
    assert (ct.description, ct.may_store, ct.may_ask_worklist, ct.tls) == ("ct scan", True, True, False)
    ws = ApplicationEntity.objects.get(title="WS1")
    assert (ws.may_store, ws.may_query, ws.may_ask_worklist, ws.may_commit, ws.may_retrieve, ws.tls) == (
        False, False, False, False, True, True,
    )  # fmt: skip
    left_out = "\n".join(told["left_out"])
    for said in ("again: the same device as ct scan", "broken: neither", "AllowEcho, Timeout", "Name stands in"):
        assert said in left_out
    to_do = "\n".join(told["to_do"])
    for said in ("SINAR_AE_TITLE=PACS_RSUD", "SINAR_DICOM_PORT=11112,4242", "DicomAlwaysAllowStore", "branch", "khanza",
                 "MaximumStorageSize", "worklist is made of orders", "cloud",
                 "importorthanc imports them", "/var/lib/orthanc/db-v6"):  # fmt: skip
        assert said in to_do
    assert "s3cret" not in json.dumps(told)
    assert AuditEvent.objects.get(event="configuration.imported").detail["changes"]


def test_names_go_on_working_and_a_second_time_nothing_is_new(folder: Path, capsys: Any) -> None:
    (folder / "orthanc.json").unlink()
    assert taken_over("--configuration", folder / "modalities.json")[0] == 3
    program = OrthancProgram()
    for name, title in (("ct scan", "CT1"), ("ruang baca", "WS1"), ("mr", "MR1"), ("US1", "US1")):
        assert program.json(f"modalities/{name}/configuration")["AET"] == title
    before = list(ApplicationEntity.objects.order_by("id").values())
    with pytest.raises(SystemExit):
        call_command("importorthanc", "--configuration", str(folder))
    said = capsys.readouterr().out
    assert "New nodes" not in said
    assert "Nodes that were here already:\n  CT1 (10.0.0.5:104)\n" in said
    assert list(ApplicationEntity.objects.order_by("id").values()) == before


def test_a_name_that_leads_to_another_node_is_told(folder: Path) -> None:
    make_node("MR9", description="mr")
    code, told = taken_over("--configuration", folder)
    assert code == 3
    assert any("its name mr leads to MR9" in line for line in told["conflicts"])
    crossed = {"CT9": ["CT8", "10.0.0.8", 104], "room 9": ["CT9", "10.0.0.9", 104]}
    (folder / "crossed.json").write_text(json.dumps({"DicomModalities": crossed}))
    code, told = taken_over("--configuration", folder / "crossed.json")
    assert (code, len(told["new"])) == (3, 2)
    assert told["conflicts"] == ["CT8 (10.0.0.8:104): its name CT9 leads to CT9 (10.0.0.9:104) here. Use its title."]
    assert ApplicationEntity.objects.filter(title="MR1").exists()


def test_nodes_go_to_the_site_that_is_named_and_all_is_well_where_nothing_contradicts(tmp_path: Path) -> None:
    site = make_site("cabang")
    (tmp_path / "o.json").write_text(
        '{"DicomModalities": {"ct": ["CT1", "h", 104]}, "DicomCheckModalityHost": true, "DicomAlwaysAllowStore": false,'
        ' "DicomAet": "MINIPACS", "DicomPort": 11112}'
    )
    code, told = taken_over("--configuration", tmp_path / "o.json", "--site", "cabang")
    assert (code, told["to_do"]) == (0, [])
    node = ApplicationEntity.objects.get()
    assert (node.site, node.check_address) == (site, True)


@pytest.mark.parametrize("text", ["{", "[]", "\xff", '{"DicomModalities": {"a": ["A", "h", 1]}'])
def test_what_is_no_configuration_changes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "o.json").write_bytes(text.encode("latin-1"))
    for path in (tmp_path / "o.json", tmp_path, tmp_path / "nowhere", Path("/dev")):
        with pytest.raises(CommandError, match=r"o\.json|nowhere|/dev"):
            call_command("importorthanc", "--configuration", str(path))
    assert not ApplicationEntity.objects.exists()
