"""The procedure catalogue: found while typing, read in and written out as a table, strictly."""

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from radiology.errors import Conflict, InvalidValue, NotAllowed
from radiology.models import AuditEvent, Procedure
from radiology.services import catalogue, tables
from radiology.services.catalogue_csv import COLUMNS, export_csv, import_csv, plan, read_rows, usual_procedures
from tests.factories import default_site, make_site, make_user

pytestmark = pytest.mark.django_db

ONE = "code,name,modality\n"
_numbers = itertools.count()


def saved(code: str, name: str, modality: str = "CT", **fields: Any) -> Procedure:
    entry = Procedure(site=fields.pop("site", default_site()), code=code, name=name, modality=modality, **fields)
    catalogue.save_procedure(procedure=entry)
    return entry


def typed(text: str, **more: Any) -> list[str]:
    who = make_user(f"user-{next(_numbers)}")
    return [each.code for each in catalogue.find_procedures(who=who, text=text, **more)]


def test_three_letters_find_by_the_beginning_of_any_word(django_assert_num_queries: Any) -> None:
    saved("CTTHX", "CT Thorax polos", body_part_examined="CHEST")
    saved("DXTHX", "Foto Thorax PA", "DX")
    saved("OLD", "Foto Thorax lama", "DX", is_active=False)
    saved("CTHEAD", "CT Kepala – polos (Örtlich)", "CT")
    saved("CTTHX", "CT Thorax", site=make_site())
    assert typed("tho") == ["CTTHX", "DXTHX"]
    assert typed("THO ct") == ["CTTHX"]
    assert typed("rön") == ["DXTHX"]  # what people call it
    assert typed("ort") == ["CTHEAD"]
    assert typed("dxt") == ["DXTHX"] and typed("chest") == ["CTTHX"]
    assert typed("orax") == [] and typed("") == [] and typed("& | ! ' \\ :*") == []
    assert typed("", modality="DX") == ["DXTHX"]
    who = make_user("who")
    with django_assert_num_queries(1):
        catalogue.find_procedures(who=who, text="tho")


def test_an_index_answers_the_search() -> None:
    import_csv(site=default_site(), text=usual_procedures())
    found = Procedure.objects.found_by(["tho"]).order_by("name")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        sql, parameters = found.query.sql_with_params()
        cursor.execute(f"EXPLAIN {sql}", parameters)
        assert "procedure_words" in str(cursor.fetchall())


def test_an_edit_keeps_the_words_and_loses_nobody_elses() -> None:
    entry = saved("CTTHX", "CT Thorax")
    stale = Procedure.objects.get(pk=entry.pk)
    entry.name = "CT Dada"
    catalogue.save_procedure(procedure=entry)
    assert typed("dada") == ["CTTHX"] and typed("thorax") == []
    with pytest.raises(Conflict):
        catalogue.save_procedure(procedure=stale)


def test_the_usual_procedures_are_read_in_once_and_written_out_as_they_were() -> None:
    site, who = default_site(), make_user(is_superuser=True)
    changes = import_csv(site=site, text=usual_procedures(), who=who)
    assert len(changes) == Procedure.objects.count() >= 60
    assert import_csv(site=site, text=usual_procedures(), who=who) == []
    assert plan(site=site, text=export_csv(site=site)) == []
    other = make_site()
    import_csv(site=other, text=export_csv(site=site))
    assert export_csv(site=other) == export_csv(site=site)
    assert AuditEvent.objects.filter(event="catalogue.imported").count() == 2
    chest = Procedure.objects.get(site=site, code="DXTHXPA")
    assert chest.is_ionising and chest.codes.get(coding_scheme_designator="LN").code_value == "24648-8"


def test_codes_of_the_usual_procedures_carry_their_check_digits() -> None:
    """LOINC numbers end in a Mod 10 digit, SNOMED CT identifiers in a Verhoeff digit: no mistyped one gets in."""
    rows = list(csv.DictReader(io.StringIO(usual_procedures())))
    for row in rows:
        for code in row["loinc"].split():
            assert loinc_digit(code.partition("-")[0]) == code[-1], row
        for code in row["snomed"].split():
            assert verhoeff(code), row
        assert row["name"] and len(row["code"]) <= 16


def loinc_digit(number: str) -> str:
    digits = number[::-1]
    doubled = str(int(digits[::2]) * 2)
    total = sum(map(int, doubled)) + sum(map(int, digits[1::2]))
    return str(-total % 10)


def verhoeff(number: str) -> bool:
    multiply = [
        [
            (row + column) % 5 + 5 * (column >= 5) if row < 5 else (row - column) % 5 + 5 * (column < 5)
            for column in range(10)
        ]
        for row in range(10)
    ]
    permute = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    while len(permute) < 8:
        permute.append([permute[-1][permute[1][each]] for each in range(10)])
    check = 0
    for place, digit in enumerate(reversed(number)):
        check = multiply[check][permute[place % 8][int(digit)]]
    return check == 0


def test_identifiers_stay_texts_and_excels_ways_are_understood() -> None:
    site = default_site()
    text = "\ufeffcode;name;modality;price_code;other_codes\r\n001;CT Kepala;ct;000123;99A=01 KPTL2=007\r\n"
    import_csv(site=site, text=text)
    entry = Procedure.objects.get()
    assert (entry.code, entry.price_code, entry.modality) == ("001", "000123", "CT")
    assert {str(each) for each in entry.codes.all()} == {"99A 01", "KPTL2 007"}
    assert tables.decode(text.encode()).startswith("code;")
    assert len(import_csv(site=site, text="code\tname\tmodality\n1\tCT Lain\tCT\n")) == 1
    assert Procedure.objects.count() == 2


def test_a_column_that_is_not_there_leaves_what_it_says_alone() -> None:
    site = default_site()
    import_csv(site=site, text="code,name,modality,duration,loinc,protocols\nA,CT A,CT,35,24627-2,P1=Rutin\n")
    (change,) = plan(site=site, text=ONE + "A,CT B,CT\n")
    assert change.values == {"name": ("CT A", "CT B")} and not change.is_new
    import_csv(site=site, text=ONE + "A,CT B,CT\n")
    entry = Procedure.objects.get()
    assert (entry.name, entry.duration, entry.codes.count(), entry.protocols.count()) == ("CT B", 35, 1, 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Line 1, column code: this column is missing"),
        ("code,name\nA,B\n", "Line 1, column modality: this column is missing"),
        ("code,name,modality,color\n", "Line 1, column color: there is no such column"),
        ("code,name,modality,code\n", "Line 1, column code: this column stands there twice"),
        (ONE + "A,B\n", "Line 2, column modality: "),
        (ONE + ",B,CT\n", "Line 2, column code: "),
        (ONE + "A,B,CT\nA,C,CT\n", "Line 3, column code: it stands in line 2 already"),
        (ONE + f"{'x' * 17},B,CT\n", "Line 2, column code: "),
        (ONE + "A,B,CT,D\n", "Line 2: there are more cells than columns"),
        ('code,name,modality\nA,"B,CT\n', "Line 2: "),
        ("code,name,modality,duration\nA,B,CT,long\n", "Line 2, column duration: "),
        ("code,name,modality,duration\nA,B,CT,0\n", "Line 2, column duration: "),
        ("code,name,modality,ionising\nA,B,CT,maybe\n", "Line 2, column ionising: write yes or no"),
        ("code,name,modality,contrast\nA,B,CT,some\n", "Line 2, column contrast: "),
        ("code,name,modality,protocols\nA,B,CT,P1\n", "Line 2, column protocols: write CODE=Meaning"),
        ("code,name,modality,other_codes\nA,B,CT,P1\n", "Line 2, column other_codes: write SCHEME=CODE"),
        ("code,name,modality\nA,\x00B,CT\n", "NUL"),
        ('code,name,preparation,modality\n"A","B","two\nlines",CT\nC,D,E\n', "Line 4, column modality: "),
    ],
)
def test_a_table_that_is_wrong_changes_nothing_and_says_where(text: str, told: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(told)):
        import_csv(site=default_site(), text=text)
    assert not Procedure.objects.exists()


def test_all_of_it_or_nothing_and_every_mistake_named() -> None:
    text = ONE + "A,CT A,CT\n" + "".join(f"B{number},,CT\n" for number in range(3))
    with pytest.raises(InvalidValue) as refused:
        import_csv(site=default_site(), text=text)
    assert [error[:6] for error in refused.value.facts["errors"]] == ["Line 3", "Line 4", "Line 5"]
    assert not Procedure.objects.exists()


def test_no_cell_calculates_and_each_comes_back_as_it_was() -> None:
    site = default_site()
    names = ["=HYPERLINK(1)", "+1", "-1", "@A", "'=A", "'quoted'", "'"]
    for number, name in enumerate(names):
        saved(f"C{number}", name)
    text = export_csv(site=site)
    for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"))):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)
    assert [row.fields["name"] for row in read_rows(text)] == names
    assert plan(site=site, text=text) == []


def test_only_who_may_change_the_catalogue_reads_one_in() -> None:
    with pytest.raises(NotAllowed):
        import_csv(site=default_site(), text=usual_procedures(), who=make_user(role="desk"))
    with pytest.raises(InvalidValue, match="CSV UTF-8"):
        tables.decode("é".encode("latin-1"))
    with pytest.raises(InvalidValue, match="2 MB"):
        tables.decode(bytes(3 << 20))


def test_the_command_reads_in_and_writes_out(tmp_path: Path, capsys: Any) -> None:
    call_command("catalogue", "import", "--usual", "--dry-run")
    assert "would change" in capsys.readouterr().out and not Procedure.objects.exists()
    call_command("catalogue", "import", "--usual")
    file = tmp_path / "catalogue.csv"
    call_command("catalogue", "export", str(file))
    assert file.read_bytes().startswith(b"\xef\xbb\xbfcode,name,")
    call_command("catalogue", "import", str(file))
    assert capsys.readouterr().out.endswith("0 entries changed.\n")
    call_command("catalogue", "export")
    assert capsys.readouterr().out == file.read_bytes().decode()
    file.write_text("code,name,modality\nA,,CT\n")
    with pytest.raises(CommandError, match="Line 2, column name"):
        call_command("catalogue", "import", str(file))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("catalogue", "import", str(tmp_path / "none.csv"))
    with pytest.raises(CommandError, match="no site"):
        call_command("catalogue", "--site", "nowhere", "export")
    assert set(COLUMNS) == set(next(csv.reader(io.StringIO(usual_procedures()))))
