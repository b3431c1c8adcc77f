"""The facts of each generated study, from its number alone: who, when, what."""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from psycopg.types.json import Jsonb

FIRST = 10_000_000_000  # rows of this and higher keys are generated
STUDIES_A_DAY = 200
NAMESPACE = uuid.UUID("0b7f8a60-6c1f-4b57-9d8c-8f0f6a3f6a11")
GIVEN = """SITI BUDI DEWI AGUS RATNA JOKO NINGSIH EKO MARIA ABDUL PUTRI RINA HENDRA YUNI DIAN RUDI FITRI BAYU INDAH TONO
WATI ADI LINA ARIF NUR HASAN AYU IWAN TUTI RIZKI MEGA FAJAR SARI DONI LESTARI GUNAWAN KARTIKA YOGA AMINAH BAMBANG"""
FAMILY = """WIBOWO SANTOSO HIDAYAT NUGROHO SIREGAR KUSUMA WIJAYA HALIM SETIAWAN PRATAMA SAPUTRA RAHARJO SUSANTO GINTING
NASUTION SIMANJUNTAK LUBIS HARAHAP PANGESTU UTOMO SUHARTO MAULANA FIRMANSYAH KURNIAWAN PERMANA SAPUTRO WARDANI ANGGRAINI
RAHMAN HAKIM YUSUF ISKANDAR SIHOMBING TAMPUBOLON MANURUNG PASARIBU HUTAPEA WULANDARI PUSPITA MAHARANI"""
GIVEN_NAMES, FAMILY_NAMES = GIVEN.split(), FAMILY.split()
EXAMINATIONS = (
    ("CR", "Foto Thorax PA"), ("CT", "CT Kepala polos"), ("US", "USG Abdomen"), ("CR", "Foto Genu dekstra"),
    ("MR", "MRI Lumbosakral"), ("CT", "CT Thorax dengan kontras"), ("CR", "Foto Pelvis AP"), ("MG", "Mammografi"),
)  # fmt: skip
REFERRERS = [f"{family}^{given}^^dr" for family, given in zip(FAMILY_NAMES, GIVEN_NAMES, strict=False)]


def name_of_patient(number: int) -> str:
    """Common words all of them, and one word that nobody else has: a syllable for each digit of the number."""
    given, family = GIVEN_NAMES[number % len(GIVEN_NAMES)], FAMILY_NAMES[number // 7 % len(FAMILY_NAMES)]
    syllables = ("BA", "CI", "DU", "FE", "GO", "HA", "JI", "KU", "LE", "MO")
    return f"{family}^{given} {''.join(syllables[int(digit)] for digit in f'{number:07}')}"


@dataclass(frozen=True)
class StudyFacts:
    """Study `number`, made at `moment`. Every second one is of the patient of the one before."""

    number: int
    moment: datetime

    @property
    def pk(self) -> int:
        return FIRST + self.number

    def pk_of(self, series: int) -> int:
        return FIRST + 2 * self.number + series - 1

    def key(self, what: str) -> uuid.UUID:
        return uuid.uuid5(NAMESPACE, f"{what} {self.number if what != 'patient' else self.patient}")

    @property
    def is_patients_first(self) -> bool:
        return self.number % 2 == 0

    @property
    def patient(self) -> int:
        return FIRST + self.number // 2

    @property
    def patient_id(self) -> str:
        return f"S{self.number // 2:07}"

    @cached_property
    def patient_name(self) -> str:
        return name_of_patient(self.number // 2)

    @property
    def patient_sex(self) -> str:
        return "MF"[self.number // 2 % 2]

    @property
    def patient_birth_date(self) -> str:
        return f"{1930 + self.number // 2 % 90}{1 + self.number // 2 % 12:02}15"

    @property
    def accession_number(self) -> str:
        return f"A{self.number:08}"

    @property
    def study_instance_uid(self) -> str:
        return f"1.2.826.0.1.3680043.10.1451.{self.number}"

    @property
    def modality(self) -> str:
        return EXAMINATIONS[self.number % len(EXAMINATIONS)][0]

    @property
    def study_description(self) -> str:
        return EXAMINATIONS[self.number % len(EXAMINATIONS)][1]

    @property
    def referring_physician_name(self) -> str:
        return REFERRERS[self.number % len(REFERRERS)]

    @property
    def size(self) -> int:
        return 526_000

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(str(self.number).encode()).digest()

    @property
    def attributes(self) -> Any:
        """What objects say of patient and study beyond the columns, as the store keeps it."""
        return Jsonb(
            {
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": self.patient_name}]},
                "00100020": {"vr": "LO", "Value": [self.patient_id]},
                "00100030": {"vr": "DA", "Value": [self.patient_birth_date]},
                "00100040": {"vr": "CS", "Value": [self.patient_sex]},
                "00081030": {"vr": "LO", "Value": [self.study_description]},
            }
        )


def facts_of(number: int, *, last: datetime) -> StudyFacts:
    """Number 0 was made at `last`; the next ones each a 200th of a day's hours (8 to 16 o'clock) earlier."""
    day, place = divmod(number, STUDIES_A_DAY)
    return StudyFacts(number, last - timedelta(days=day, seconds=place * 8 * 3600 // STUDIES_A_DAY))
