"""Templates of IHE MRRT as templates of our own: what a file says, what it must not do, and importing twice.

The sample is written after files of RSNA's radreport.org and of an IHE Connectathon, with what is odd in them: coded
content in a comment with tags left open, a section never closed, bare signs in texts, labels before and after.
"""

import time
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from radiology.errors import Conflict, InvalidValue, RadiologyError, TooLarge
from radiology.models import AuditEvent, ReportTemplate
from radiology.services.mrrt import import_template, read_template
from radiology.services.report_templates import sections_of
from radiology.template_content import rendered
from tests.factories import default_site, make_user

SAMPLE = Path(__file__).parent / "mrrt" / "chest.html"


def document(body: str, head: str = "") -> bytes:
    return f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>".encode()


def fields(content: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return {each["field"]: each for section in content.values() for each in section if "field" in each}


def test_a_file_becomes_sections_and_fields() -> None:
    found = read_template(SAMPLE.read_bytes())
    assert (found.code, found.name) == ("MRRT-0000777", "CT Chest: follow-up of nodules")
    assert (found.language, found.modality, found.body_part_examined) == ("en", "CT", "CHEST")
    content, named = found.content, fields(found.content)
    assert content["technique"] == [{"text": "Helical acquisition, low dose."}]
    assert named["clinical_information"]["normal"] == "Known nodule. Follow-up."
    assert named["comparison"]["default"] == "[  ]" and "normal" not in named["comparison"]
    assert named["diameter"] == {
        "field": "diameter", "label": "Diameter", "kind": "number", "unit": "mm",
        "default": "[mm] (significant, > 6 mm)",
    }  # fmt: skip
    assert named["margin"]["choices"] == ["Smooth", "Spiculated/star (sic)"] and named["margin"]["normal"] == "Smooth"
    assert named["side"]["choices"] == ["Right", "Left"]
    assert named["lobe"]["label"] == "Location" and named["lobe"]["default"] == "[  ] lobe, slice [  ]"
    assert named["pleura"]["normal"] == "No effusion & no <thickening>."
    assert named["impression"]["normal"] == "Stable nodule."


def test_texts_that_the_parser_splits_stay_whole_and_labels_apart() -> None:
    raw = document(
        '<section data-section-name="Findings"><p><label>Area</label><input type="number" data-field-units="cm2"/>'
        "<label>cm2 (< 1.0 severe)</label><label>R&D</label></p></section>"
    )
    assert fields(read_template(raw).content)["area"]["default"] == "[cm2] (< 1.0 severe) R&D"


def test_sections_are_known_by_name_or_code_and_others_lie_under_the_findings_with_their_heading() -> None:
    content = read_template(SAMPLE.read_bytes()).content
    assert [each["field"] for each in content["impression"]] == ["impression"]  # by its RadLex code alone
    headings = [each["text"] for each in content["findings"] if each.get("text", "").endswith(":")]
    assert headings == ["Nodules:", "Left unclosed:", "Radiation dose:"]
    own = read_template(document('<section data-section-name="Kesan"><p>Normal.</p></section>')).content
    assert own["impression"] == [{"text": "Normal."}]


def test_nothing_in_a_file_is_run_or_reaches_a_page_as_markup() -> None:
    html = "".join(rendered(read_template(SAMPLE.read_bytes()).content, normal=True).values())
    for never in ("EVIL", "alert", "FRAME", "HIDDEN", "<thickening"):
        assert never not in html
    odd = document('<section data-section-name="Findings<script>"><p>&lt;img onerror=x&gt; [a [b]</p></section>')
    assert "<img" not in rendered(read_template(odd).content, normal=True)["findings"]


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", InvalidValue),
        (b"<p>just a page</p>", InvalidValue),
        (b"\xff\xfe\x00", InvalidValue),
        (document('<section data-section-name="Findings"></section>'), InvalidValue),
        (document('<section data-section-name="a">' * 30 + "x"), InvalidValue),
        (document(f'<section data-section-name="Findings">{"<p>x</p>" * 2000}'), InvalidValue),
        (b" " * (1 << 20) + b" ", TooLarge),
    ],
)
def test_what_is_no_template_is_refused_and_says_why(raw: bytes, error: type[RadiologyError]) -> None:
    with pytest.raises(error) as raised:
        read_template(raw)
    assert raised.value.message


@pytest.mark.parametrize(
    "piece",
    [
        "<!--", "<![", "<section ", "&", "<p a='", "</", "<textarea>", "<select><option>", "<p><input name=x>",
        "<input type=radio name=x{}>", "<input>", "[a|",
    ],
)  # fmt: skip
def test_a_hostile_file_takes_no_time(piece: str) -> None:
    pieces = "".join(piece.format(number) for number in range(900_000 // (len(piece) + 3)))
    raw = document(f'<section data-section-name="Findings"><p>x{pieces}')
    began = time.process_time()
    with suppress(RadiologyError):
        read_template(raw)
    assert time.process_time() - began < 20


@pytest.mark.django_db
def test_importing_again_changes_nothing_and_never_overwrites_what_was_edited() -> None:
    site, raw = default_site(), SAMPLE.read_bytes()
    made, is_changed = import_template(who=None, site=site, raw=raw)
    assert is_changed and (made.language, made.modality) == ("en", "CT")
    assert import_template(who=None, site=site, raw=raw) == (made, False)
    ReportTemplate.objects.update(name="Edited")
    with pytest.raises(Conflict):
        import_template(who=None, site=site, raw=raw)
    again, is_changed = import_template(who=None, site=site, raw=raw, replaces=True)
    assert is_changed and again.version == 2 and again.name.startswith("CT Chest")
    other, _ = import_template(who=None, site=site, raw=raw, language="id")
    assert other.pk != made.pk and ReportTemplate.objects.count() == 2
    assert AuditEvent.objects.filter(event="report.template").count() == 3


@pytest.mark.django_db
def test_a_file_that_tells_neither_language_nor_modality_asks_for_them() -> None:
    raw = document('<section data-section-name="Findings"><p>x</p></section>')
    with pytest.raises(InvalidValue) as raised:
        import_template(who=None, site=default_site(), raw=raw)
    assert raised.value.field == "language"
    with pytest.raises(InvalidValue) as raised:
        import_template(who=None, site=default_site(), raw=raw, language="en")
    assert raised.value.field == "modality"
    with pytest.raises(RadiologyError):
        import_template(who=make_user(role="desk"), site=default_site(), raw=raw, language="en", modality="CT")
    assert not ReportTemplate.objects.exists()


@pytest.mark.django_db
def test_the_command_reads_folders_and_tells_each_file_that_it_refuses(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "chest.HTML").write_bytes(SAMPLE.read_bytes())
    (tmp_path / "broken.html").write_text("nothing")
    (tmp_path / "note.txt").write_text("not looked at")
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="1 file was not imported"):
        call_command("importtemplates", tmp_path, stdout=out, stderr=err)
    assert "MRRT-0000777 (en, CT)" in out.getvalue() and "broken.html" in err.getvalue()
    assert "Clear" not in sections_of(ReportTemplate.objects.get(), normal=True)["findings"]
    with pytest.raises(CommandError):
        call_command("importtemplates", tmp_path / "nowhere.html", stdout=out, stderr=err)
