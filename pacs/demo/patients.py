"""Invented patients. No province has the code 99, so that no identity number here can be a person's."""

from dataclasses import dataclass, replace

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

HOSPITAL = "RS Sinar Harapan (demo)"
ISSUER_HERE, ISSUER_THERE = "RS-SINAR-HARAPAN", "KLINIK-BHAKTI"


@dataclass(frozen=True)
class DemoPatient:
    """A patient as modalities know them: PN value, record number, national number, birth date, sex."""

    key: str
    patient_name: str
    patient_id: str
    nik: str
    patient_birth_date: str
    patient_sex: str
    issuer: str = ""

    def fill(self, ds: Dataset) -> None:
        """Patient module (PS3.3 C.7.1.1)."""
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientName = self.patient_name
        ds.PatientID = self.patient_id
        if self.issuer:
            ds.IssuerOfPatientID = self.issuer
        ds.PatientBirthDate = self.patient_birth_date if self.patient_birth_date.isdigit() else ""
        ds.PatientSex = self.patient_sex
        if self.nik:
            other = Dataset()
            other.PatientID = self.nik
            other.IssuerOfPatientID = "NIK"
            other.TypeOfPatientID = "TEXT"
            ds.OtherPatientIDsSequence = Sequence([other])


REFERRED = DemoPatient(
    "referred", "Lasut^Ferdinand^Jootje", "00095871", "9971052209640001", "19640922", "M", ISSUER_HERE
)

PATIENTS = {
    patient.key: patient
    for patient in (
        # one name only, as many Javanese have
        DemoPatient("mononym", "Sukartono", "00012871", "9901011203610001", "19610312", "M"),
        # titles before and degrees after
        DemoPatient(
            "titles", "Wulandari^Siti Aminah^^dr. Hj.^Sp.A., M.Kes.", "00020416", "9901025706740002", "19740617", "F",
        ),
        # Balinese: caste and birth order before the personal name
        DemoPatient("balinese", "Suardana^I Gusti Ngurah^Made", "00031190", "9951010908550003", "19550809", "M"),
        # Chinese Indonesian: an ideographic group
        DemoPatient("ideographic", "Tanuwijaya^Melinda=陳^美玲", "00044402", "9973026401830001", "19830124", "F"),
        # Batak clan name
        DemoPatient("clan", "Simanjuntak^Togar^Parulian^Ir.^M.T.", "00058233", "9912041511680004", "19681115", "M"),
        # as long as courtly names are
        DemoPatient(
            "long", "Purbaningrat^Raden Ajeng Kusumaningtyas^Widyaningrum L.^^M.Hum.", "00061007",
            "9971034305980002", "19980503", "F",
        ),
        # a newborn, registered under the mother's name
        DemoPatient("newborn", "Rahmawati^^^By. Ny.", "00077315", "", "", "F"),
        DemoPatient("arabic", "Al Hasyimi^Muhammad Fathurrahman^^H.", "00080558", "9963010207790001", "19790702", "M"),
        # an apostrophe in each name
        DemoPatient("apostrophe", "Mu'arif^Nur Syafi'i^^^S.H.", "00093624", "9935062812490003", "19491228", "M"),
        # a schoolboy and a small girl
        DemoPatient("boy", "Ramadhan^Alif Putra^^An.", "00102245", "", "20170614", "M"),
        DemoPatient("girl", "Kirana^Aisyah^^An.", "00103370", "", "20220208", "F"),
        # women who are old, and whose year of birth alone is known for certain
        DemoPatient("old", "Suharti^^^Hj.", "00011008", "9901014107360004", "19360701", "F"),
        DemoPatient("mother", "Hutapea^Rosmaida", "00096612", "9912074502920005", "19920205", "F"),
        DemoPatient("lestari", "Lestari^Ni Luh Putu Ayu", "00097730", "9951036811870002", "19871128", "F"),
        DemoPatient("papuan", "Wanggai^Yosephina^Marice", "00098804", "9991015204700001", "19700412", "F"),
        DemoPatient("runner", "Nasution^Yusuf Haris", "00099126", "9912012309950006", "19950923", "M"),
        DemoPatient("heart", "Halim^Gunawan^Kusuma", "00100413", "9935011706580007", "19580617", "M"),
        DemoPatient("second mononym", "Poniman", "00101559", "9901020101470001", "19470101", "M"),
        # known to two issuers: here, and in the clinic that referred him
        REFERRED,
        replace(REFERRED, key="referred, in the clinic", patient_id="KB-3307", issuer=ISSUER_THERE),
        # brought in unconscious: nobody knows a number or a birth date
        DemoPatient("unknown", "Tidak Dikenal^^^Tn. X", "", "", "UNKNOWN", "M"),
    )
}  # fmt: skip
PEOPLE = len(PATIENTS) - 1  # one of them twice
