"""Which studies the demonstration has, whose, and through which door each comes."""

from collections.abc import Iterator
from functools import cached_property, lru_cache

from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SegmentationStorage,
)

from pacs.demo.chests import ChestSeries
from pacs.demo.contradictions import contradictions
from pacs.demo.day import rounds
from pacs.demo.documents import encapsulated_pdf
from pacs.demo.images import (
    FRONTAL,
    LATERAL,
    CTProtocol,
    Projections,
    ct_series,
    digital_radiograph,
    projected,
    radiograph,
    radiograph_size,
)
from pacs.demo.labels import Examination, Label, When
from pacs.demo.marks import nodule_pixel, presentation_state, segmentation, segmented_slices
from pacs.demo.parts import Part, part, single
from pacs.demo.patients import PATIENTS
from pacs.demo.phantom import BOTTOM, FOV, NODULE, TOP, Nodule, Thorax
from pacs.demo.samples import relabelled, sample
from pacs.demo.shipments import CT, DX, MR, NODES, US, Scale, Shipment
from pacs.demo.structured import key_images, measurement_report, text_report

__all__ = ["NODES", "SAMPLES", "Programme", "Scale", "Shipment"]

PULMONOLOGIST, INTERNIST, ONCOLOGIST = (
    "Prasetyo^Bagus^^dr.^Sp.P",
    "Santoso^Ratih^^dr.^Sp.PD",
    "Lubis^Farida^^dr.^Sp.Onk.Rad",
)
NODULE_A_YEAR_BEFORE = Nodule(NODULE.centre, 1.9)

# patient, study, description, when, doctor, node (empty: STOW-RS), files and the names of their series
SAMPLES: tuple[tuple[str, str, str, When, str, str, tuple[tuple[str, str], ...]], ...] = (
    ("apostrophe", "rt", "Radioterapi paru", (30, "09:40"), ONCOLOGIST, "",
     (("rtplan.dcm", "Rencana"), ("rtdose.dcm", "Dosis"))),
    ("clan", "mr", "MRI Abdomen", (7, "13:15"), INTERNIST, MR,
     (("examples_overlay.dcm", "Hepar, lesi ditandai"), ("test-SR.dcm", "Laporan terstruktur"))),
    ("long", "spine", "CT Vertebra torakal", (3, "10:05"), INTERNIST, CT, (("CT_small.dcm", "Tulang"),)),
    ("long", "mr", "MRI Lumbal", (2, "14:20"), INTERNIST, MR,
     (("MR_small.dcm", "T1 sagital"), ("MR_small_RLE.dcm", "T1 sagital, RLE"))),
    ("arabic", "nm", "Bone scan seluruh tubuh", (2, "11:30"), ONCOLOGIST, MR, (("JPEG2000.dcm", "Anterior"),)),
    ("ideographic", "us", "USG Kelenjar getah bening", (1, "08:50"), INTERNIST, US,
     (("examples_rgb_color.dcm", "Power Doppler"), ("examples_jpeg2k.dcm", "Power Doppler, JPEG 2000"))),
    ("arabic", "ecg", "EKG 12 sadapan", 0.62, INTERNIST, "", (("waveform_ecg.dcm", "EKG istirahat"),)),
    ("balinese", "echo", "Ekokardiografi", 0.80, INTERNIST, US, (("examples_ybr_color.dcm", "Apikal 4 ruang"),)),
)  # fmt: skip

REFERRAL = (
    "Kepada Yth. Bagian Radiologi, RS Sinar Harapan (demo)", "",
    "Mohon pemeriksaan foto toraks PA.", "Keterangan klinis: batuk 3 minggu, keringat malam.",
    "Diagnosis kerja: suspek TB paru.", "", "dr. Bagus Prasetyo, Sp.P (nama rekaan)",
)  # fmt: skip
HEARING = (
    "Skrining pendengaran bayi baru lahir (OAE)", "", "Telinga kanan: lulus (pass).",
    "Telinga kiri: lulus (pass).", "", "Kontrol ulang: tidak perlu.",
)  # fmt: skip
FINDINGS = (
    "Nodul solid spikulasi di segmen posterior lobus superior paru kanan, diameter 9 mm (setahun lalu 4 mm).",
    "Tidak tampak efusi pleura maupun pembesaran kelenjar getah bening mediastinum.",
    "Jantung dan aorta dalam batas normal.",
)
IMPRESSION = ("Nodul paru kanan yang tumbuh, curiga keganasan. Saran: PET-CT atau biopsi.",)


class Programme:
    """All studies of one installation's demonstration."""

    def __init__(self, label: Label, scale: Scale | None = None) -> None:
        self.label = label
        self.scale = scale or Scale()

    def shipments(self) -> list[Shipment]:
        """Oldest first, contradictions last; the CT comes before the radiograph that is made of it."""
        found = [self._samples(*row) for row in SAMPLES]
        found += [self._prior_ct(), self._ct(), self._radiograph()]
        chests = ChestSeries(self.scale.pixels(256), self.scale.apart(6.0))
        found += rounds(self.label, self.scale, chests)
        found += [
            self._pdf("newborn", "hearing", "Hasil skrining pendengaran", 0.3, HEARING, ("11488-4", "Consult note")),
            self._pdf("titles", "referral", "Surat pengantar foto toraks", (1, "07:55"), REFERRAL,
                      ("57133-1", "Referral note")),
        ]  # fmt: skip
        found += contradictions(found, self.scale, chests)
        return sorted(found, key=lambda shipment: (bool(shipment.held), shipment.examination.at))

    def _examination(
        self, patient: str, key: str, description: str, when: When, doctor: str = PULMONOLOGIST
    ) -> Examination:
        return Examination(self.label, PATIENTS[patient], key, description, self.label.moment(when), doctor)

    def _protocol(self, thorax: Thorax, spacing: float) -> CTProtocol:
        return CTProtocol(thorax, round((TOP - BOTTOM) / spacing), spacing, self.scale.size)

    @cached_property
    def _scan(self) -> CTProtocol:
        return self._protocol(thorax_of(NODULE), self.scale.spacing)

    @cached_property
    def _seen(self) -> Projections:
        """Filled while the CT is sent."""
        return Projections.of(self._scan)

    def _ct(self) -> Shipment:
        """The CT with what the radiologist made of it."""
        examination = self._examination("mononym", "ct", "CT Thorax dengan kontras", 0.58)
        scan = self._scan
        middle = segmented_slices(scan, NODULE)
        shown = middle[len(middle) // 2]
        series = examination.uid("ct", 1)
        image = (series, CTImageStorage, examination.uid("ct", 1, shown))
        column, row = nodule_pixel(scan, NODULE)
        reach = NODULE.radius / (FOV / scan.size)
        ends = (column - reach, row, column + reach, row)
        named = [(series, CTImageStorage, [image[2]])]
        keys = [(series, CTImageStorage, [examination.uid("ct", 1, number) for number in middle])]
        parts = (
            part(scan.slices, CTImageStorage, lambda of: ct_series(of, scan, projections=self._seen)),
            single(KeyObjectSelectionDocumentStorage,
                   lambda of: key_images(of, series=keys, description="Nodul paru kanan")),
            single(ComprehensiveSRStorage, lambda of: measurement_report(
                of, image=image, ends=ends, millimetres=2 * NODULE.radius)),
            single(BasicTextSRStorage,
                   lambda of: text_report(of, findings=FINDINGS, impression=IMPRESSION, series=named)),
            single(SegmentationStorage, lambda of: segmentation(of, scan, NODULE)),
        )  # fmt: skip
        return Shipment(examination, CT, parts, "mononym")

    def _prior_ct(self) -> Shipment:
        examination = self._examination("mononym", "prior ct", "CT Thorax dengan kontras", (365, "10:12"))
        spacing = self.scale.prior_spacing
        slices = round((TOP - BOTTOM) / spacing)

        def objects(of: Examination) -> Iterator[Dataset]:
            return ct_series(of, self._protocol(thorax_of(NODULE_A_YEAR_BEFORE), spacing))

        return Shipment(examination, CT, (part(slices, CTImageStorage, objects),))

    def _radiograph(self) -> Shipment:
        examination = self._examination("mononym", "dx", "Foto Thorax PA dan lateral", 0.88)

        def objects(of: Examination) -> Iterator[Dataset]:
            complete = len(self._seen.frontal) == self._scan.slices
            seen = self._seen if complete else projected(self._scan)
            for number, (view, lines) in enumerate(((FRONTAL, seen.frontal), (LATERAL, seen.lateral)), 1):
                image = radiograph(lines, spacing=seen.spacing, pixel=seen.pixel, seed=number)
                yield digital_radiograph(of, number, view, image)

        size = radiograph_size(self._scan)
        frontal = (examination.uid("dx", 1), DigitalXRayImageStorageForPresentation, examination.uid("dx", 1, 1))
        at = (size[1] * (0.5 + NODULE.centre[0] / FOV), size[0] * (TOP - NODULE.centre[2]) / (TOP - BOTTOM))

        def marked(of: Examination) -> Dataset:
            return presentation_state(of, image=frontal, size=size, at=at, text="Nodul?")

        parts = (
            part(2, DigitalXRayImageStorageForPresentation, objects),
            single(GrayscaleSoftcopyPresentationStateStorage, marked),
        )
        return Shipment(examination, DX, parts, "mononym")

    def _pdf(
        self, patient: str, key: str, title: str, when: When, lines: tuple[str, ...], concept: tuple[str, str]
    ) -> Shipment:
        examination = self._examination(patient, key, title, when)
        return Shipment(
            examination, "", (single(EncapsulatedPDFStorage, lambda of: encapsulated_pdf(of, title, lines, concept)),)
        )

    def _samples(
        self, patient: str, key: str, description: str, when: When, doctor: str, node: str,
        files: tuple[tuple[str, str], ...],
    ) -> Shipment:  # fmt: skip
        examination = self._examination(patient, key, description, when, doctor)
        originals = [sample(name) for name, _ in files]
        contexts = {(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in originals}

        def objects(of: Examination) -> Iterator[Dataset]:
            for place, (name, series_description) in enumerate(files, 1):
                yield relabelled(name, of, place, series_description)

        return Shipment(examination, node, (Part(len(files), tuple(sorted(contexts)), objects),))


@lru_cache(2)
def thorax_of(nodule: Nodule) -> Thorax:
    """The patient with the nodule; growing the vessels takes a second."""
    return Thorax(nodule=nodule)
