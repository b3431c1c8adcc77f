"""Values of data sets as devices really send them: names, dates, times, UIDs, character sets."""

from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pydicom
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.data import get_charset_files

from radiology.dicom import (
    PersonName,
    clean,
    decode,
    encodings,
    fold,
    instant,
    is_uid,
    new_uid,
    parse_da,
    parse_offset,
    parse_tm,
    spell,
)

ANY_TEXT = st.text(max_size=200)
CHARACTER_SETS = [
    "",
    "ISO_IR 6",
    "ISO_IR 100",
    "ISO_IR 101",
    "ISO_IR 109",
    "ISO_IR 110",
    "ISO_IR 144",
    "ISO_IR 127",
    "ISO_IR 126",
    "ISO_IR 138",
    "ISO_IR 148",
    "ISO_IR 13",
    "ISO_IR 166",
    "ISO_IR 192",
    "GB18030",
    "GBK",
    "ISO 2022 IR 6\\ISO 2022 IR 100",
    "\\ISO 2022 IR 87",
    "ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159",
    "\\ISO 2022 IR 149",
    "\\ISO 2022 IR 58",
]


class TestPersonName:
    @pytest.mark.parametrize(
        ("raw", "display", "sort_key"),
        [
            ("WIBOWO^BUDI", "BUDI WIBOWO", "wibowo budi"),
            ("Adams^John Robert Quincy^^Rev.^B.A. M.Div.", "Rev. John Robert Quincy Adams, B.A. M.Div.",
             "adams john robert quincy"),  # PS3.5 6.2.1.2
            ("Morrison-Jones^Susan^^^Ph.D., Chief Executive Officer",
             "Susan Morrison-Jones, Ph.D., Chief Executive Officer", "morrison-jones susan"),
            ("Doe^John", "John Doe", "doe john"),
            ("Smith^Fluffy", "Fluffy Smith", "smith fluffy"),
            ("ABC Farms^Running on Water", "Running on Water ABC Farms", "abc farms running on water"),
            ("SUKARNO", "SUKARNO", "sukarno"),  # one name only, as many Indonesians have
            ("SITI AMINAH^^^", "SITI AMINAH", "siti aminah"),
            ("^SITI", "SITI", "siti"),
            ("WIBOWO^BUDI^^^", "BUDI WIBOWO", "wibowo budi"),
            ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Tarou Yamada (山田 太郎)", "yamada tarou"),
            ("=山田^太郎", "山田 太郎", "山田^太郎"),
            ("^^^DR^SP.RAD", "DR, SP.RAD", "dr^sp.rad"),
            ("", "", ""),
            ("^^^^", "", ""),
            ("==", "", ""),
            ("  WIBOWO  ^ BUDI ", "BUDI WIBOWO", "wibowo budi"),
            ("A^B^C^D^E^F^G", "D B C A, E", "a b c"),
        ],
    )  # fmt: skip
    def test_shapes(self, raw: str, display: str, sort_key: str) -> None:
        name = PersonName(raw)
        assert name.display == display
        assert name.sort_key == sort_key

    def test_words_are_what_people_type(self) -> None:
        assert PersonName("Ünal-Öz^Ali Çağrı^^dr.").words == ["unal", "oz", "ali", "cagrı", "dr"]
        assert PersonName("D'ARCY^O'NEIL").words == ["d", "arcy", "o", "neil"]
        assert PersonName("NUR^NUR").words == ["nur"]
        assert len(PersonName(" ".join(str(n) for n in range(99))).words) == 20

    def test_pn_notation_never_reaches_a_page(self) -> None:
        for raw in ("A^B=C^D=E^F", "^^A", "A^^B^C", "=^A"):
            assert not set("^=") & set(PersonName(raw).display)

    @given(ANY_TEXT)
    def test_any_text_is_some_name(self, raw: str) -> None:
        name = PersonName(raw)
        assert "^" not in name.display
        assert name.words == [fold(word) for word in name.words]
        assert len(name.groups) == 3
        assert all(len(name.components(group)) == 5 for group in range(3))
        assert PersonName(raw.upper()).normalised == PersonName(raw.upper().lower().upper()).normalised

    @given(ANY_TEXT)
    @example("𝕬")  # casefold() leaves it alone, and its decomposition is a capital
    @example("ῼ\u0345")
    def test_folding_twice_is_folding_once(self, text: str) -> None:
        assert fold(fold(text)) == fold(text)


class TestDatesAndTimes:
    @pytest.mark.parametrize(
        ("value", "found"),
        [
            ("20240229", date(2024, 2, 29)),
            ("2024.02.29", date(2024, 2, 29)),
            (" 20240229 ", date(2024, 2, 29)),
            ("20230229", None),
            ("20241301", None),
            ("00000000", None),
            ("2024", None),
            ("202402291", None),
            ("２０２４０２２９", None),
            ("2024022a", None),
            ("", None),
        ],
    )
    def test_dates(self, value: str, found: date | None) -> None:
        assert parse_da(value) == found

    @pytest.mark.parametrize(
        ("value", "found"),
        [
            ("07", time(7)),
            ("0709", time(7, 9)),
            ("070905", time(7, 9, 5)),
            ("070905.5", time(7, 9, 5, 500000)),
            ("070905.123456", time(7, 9, 5, 123456)),
            ("235960", time(23, 59, 59)),
            ("07:09:05", time(7, 9, 5)),
            ("070905   ", time(7, 9, 5)),
            ("240000", None),
            ("076000", None),
            ("7", None),
            ("070905.1234567", None),
            ("0709.5", None),
            ("", None),
        ],
    )
    def test_times(self, value: str, found: time | None) -> None:
        assert parse_tm(value) == found

    @pytest.mark.parametrize(
        ("value", "minutes"),
        [("+0700", 420), ("-0330", -210), ("+1400", 840), ("+0000", 0), ("+1401", None), ("0700", None),
         ("+07:00", None), ("+0760", None), ("", None)],
    )  # fmt: skip
    def test_offsets(self, value: str, minutes: int | None) -> None:
        found = parse_offset(value)
        assert found == (None if minutes is None else timezone(timedelta(minutes=minutes)))

    def test_the_instant_of_a_study(self) -> None:
        jakarta = ZoneInfo("Asia/Jakarta")
        assert instant("20261123", "233000", jakarta) == datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
        assert instant("20261123", "", jakarta) == datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
        assert instant("20261123", "nonsense", jakarta) == datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
        assert instant("", "120000", jakarta) is None
        assert instant("00010101", "000000", jakarta) is None

    @given(ANY_TEXT, ANY_TEXT)
    def test_nothing_that_a_device_sends_raises(self, da: str, tm: str) -> None:
        parse_offset(da)
        found = instant(da, tm, UTC)
        assert (found is None) == (parse_da(da) is None)

    @given(st.dates(), st.times())
    def test_every_moment_survives(self, day: date, moment: time) -> None:
        found = instant(f"{day:%Y%m%d}".zfill(8), f"{moment:%H%M%S.%f}", UTC)
        assert found == datetime.combine(day, moment, UTC)


class TestUids:
    @pytest.mark.parametrize("uid", ["1", "0", "1.2.840.10008.1.2", "2.25.0", "1.02.3", "1" * 64])
    def test_what_devices_send_is_let_in(self, uid: str) -> None:
        assert is_uid(uid)

    @pytest.mark.parametrize(
        "uid",
        ["", ".", "1.", ".1", "1..2", "1" * 65, "1.2 ", "1.2\x00", "1.2\n", "../../etc/passwd", "1.2/3", "1.2%2f3",
         "1.2a", "-1", "１.２", "1.2'--"],
    )  # fmt: skip
    def test_what_could_harm_a_path_or_query_is_not(self, uid: str) -> None:
        assert not is_uid(uid)

    @given(ANY_TEXT)
    def test_a_uid_has_only_digits_and_dots(self, text: str) -> None:
        assert not is_uid(text) or set(text) <= set("0123456789.")

    def test_new_ones_are_valid_and_new(self) -> None:
        made = {new_uid() for _ in range(100)}
        assert len(made) == 100
        assert all(is_uid(uid) and uid.startswith("2.25.") for uid in made)


class TestCharacterSets:
    @pytest.mark.parametrize(
        ("file", "name"),
        [
            ("chrArab.dcm", "قباني^لنزار"),
            ("chrFren.dcm", "Buc^Jérôme"),
            ("chrFrenMulti.dcm", "Buc^Jérôme"),
            ("chrGerm.dcm", "Äneas^Rüdiger"),
            ("chrGreek.dcm", "Διονυσιος"),
            ("chrH31.dcm", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
            ("chrH32.dcm", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
            ("chrHbrw.dcm", "שרון^דבורה"),
            ("chrI2.dcm", "Hong^Gildong=洪^吉洞=홍^길동"),
            ("chrJapMulti.dcm", "やまだ^たろう"),
            ("chrJapMultiExplicitIR6.dcm", "やまだ^たろう"),
            ("chrKoreanMulti.dcm", "김희중"),
            ("chrRuss.dcm", "Люкceмбypг"),
            ("chrX1.dcm", "Wang^XiaoDong=王^小東"),
            ("chrX2.dcm", "Wang^XiaoDong=王^小东"),
        ],
    )
    def test_names_of_real_files(self, file: str, name: str) -> None:
        [path] = get_charset_files(file)
        data_set = pydicom.dcmread(path, force=True)
        character_set = data_set.get("SpecificCharacterSet", "")
        term = character_set if isinstance(character_set, str) else "\\".join(character_set)
        raw = data_set.PatientName.original_string
        assert clean(decode(raw, encodings(term), person_name=True)) == name

    @pytest.mark.parametrize(
        ("term", "raw", "name"),
        [
            # PS3.5 H.3.1, H.3.2, I.2, J.1, J.2, K.2
            ("\\ISO 2022 IR 87",
             b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
             "Yamada^Tarou=山田^太郎=やまだ^たろう"),
            ("ISO 2022 IR 13\\ISO 2022 IR 87",
             b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
             "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
            ("\\ISO 2022 IR 149",
             b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
             "Hong^Gildong=洪^吉洞=홍^길동"),
            ("ISO_IR 192", b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1", "Wang^XiaoDong=王^小東"),
            ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
            ("\\ISO 2022 IR 58",
             b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang^XiaoDong=张^小东"),
            # 書 is 0x3D 0x71: its first byte is the delimiter of component groups
            ("\\ISO 2022 IR 87", b"Sho=\x1b$B=q\x1b(B", "Sho=書"),
            # a delimiter ends the character set that an escape sequence chose
            ("ISO 2022 IR 100\\ISO 2022 IR 144", b"\x1b-L\xbb\xee^J\xe9r", "Лю^Jér"),
        ],
    )  # fmt: skip
    def test_examples_of_the_standard(self, term: str, raw: bytes, name: str) -> None:
        assert decode(raw, encodings(term), person_name=True) == name

    @pytest.mark.parametrize("term", [*CHARACTER_SETS, "NO SUCH SET", "ISO_IR 192\\nonsense", "\\\\\\", "iso_ir 100"])
    @given(raw=st.binary(max_size=80), person_name=st.booleans())
    def test_no_bytes_raise(self, term: str, raw: bytes, person_name: bool) -> None:
        text = clean(decode(raw, encodings(term), person_name=person_name))
        assert "\x00" not in text
        text.encode("utf-8")

    @given(ANY_TEXT)
    @example("UNDEFINED")
    @example("base64")
    def test_any_text_names_some_encodings(self, term: str) -> None:
        found = encodings(term)
        assert found
        "A".encode(found[0])

    def test_what_no_set_can_decode_is_marked(self) -> None:
        assert "\ufffd" in decode(b"A\xff\xfeB", encodings("ISO_IR 192"))

    @given(ANY_TEXT, st.sampled_from(CHARACTER_SETS))
    def test_transliterated_text_can_be_encoded(self, text: str, term: str) -> None:
        codec = encodings(term)[0] if term else "ascii"
        found = spell(text, codec)
        found.encode(codec)
        with suppress(UnicodeEncodeError):
            text.encode(codec)
            assert found == text

    def test_the_nearest_characters(self) -> None:
        assert spell("Jérôme Łódź", "latin_1") == "Jérôme Lódz"
        assert spell("Jérôme", "ascii") == "Jerome"
        assert spell("Иванова^Мария", "latin_1") == "Ivanova^Mariya"
        assert spell("张伟", "iso_ir_144") == "ZhangWei"
        assert spell("\ue000", "latin_1") == "?"

    def test_no_delimiter_comes_of_another_character(self) -> None:
        assert spell("A＾B＝C＼D", "latin_1") == "A?B?C?D"

    @given(st.text(max_size=50))
    def test_clean_text_can_be_kept(self, text: str) -> None:
        assert "\x00" not in clean(f"\x00{text}\ud800")
        clean(f"{text}\ud800").encode("utf-8")
