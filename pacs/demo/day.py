"""The rounds of a department: what was examined today, and what the same patients had before."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from pacs.demo.breast import PIXEL as MAMMOGRAPHY_PIXEL
from pacs.demo.chests import GROUP, ChestSeries
from pacs.demo.hand import PIXEL as HAND_PIXEL
from pacs.demo.head import Head
from pacs.demo.images import ABDOMEN, CTProtocol, ct_series, washed_out
from pacs.demo.labels import Examination, Label, When
from pacs.demo.moving import angiographic_runs, ultrasound_study
from pacs.demo.parts import Part, part, single
from pacs.demo.patients import PATIENTS
from pacs.demo.phantom import BOTTOM, Thorax
from pacs.demo.planar import hands, mammography
from pacs.demo.shipments import CT, CT2, DX, DX2, MG, MR, US2, XA, Scale, Shipment
from pacs.demo.structured import text_report
from pacs.demo.tomography import (
    DWI,
    FLAIR,
    KNEE_PD,
    KNEE_T1,
    T1,
    T1_THIN,
    T2,
    enhanced_mr,
    head_ct,
    mr_series,
)

EMERGENCY, INTERNIST, NEUROLOGIST, ORTHOPAEDIST, PAEDIATRICIAN, SURGEON, CARDIOLOGIST = (
    "Hidayat^Rizal^^dr.",
    "Santoso^Ratih^^dr.^Sp.PD",
    "Manurung^Lasma^^dr.^Sp.N",
    "Wibisono^Agung^^dr.^Sp.OT",
    "Anggraini^Dyah^^dr.^Sp.A",
    "Siregar^Andi^^dr.^Sp.B",
    "Sutanto^Hendra^^dr.^Sp.JP",
)
YOUNG_LESIONS = ((24.0, -16.0, 32.0, 3.6), (-25.0, 20.0, 34.0, 3.0), (27.0, 18.0, 40.0, 2.6), (-18.0, -30.0, 26.0, 2.4))
ABDOMEN_TOP = -92.0
# what needs the computed chest, or is contradicted by what follows
GROUPED = ("chest", "hand")
BRAIN_REPORT = (
    ("Lesi hiperintens FLAIR multipel di substansia alba periventrikel, bertambah dibandingkan pemeriksaan lama.",
     "Tidak tampak restriksi difusi. Ventrikel dan sulkus sesuai usia.",),
    ("Lesi demielinisasi yang bertambah; klinis multiple sclerosis?",),
)  # fmt: skip


def rounds(label: Label, scale: Scale, chests: ChestSeries) -> list[Shipment]:
    """One shipment for each row."""
    made = []
    for patient, key, description, when, doctor, node, parts in (*_radiography(scale, chests), *_sections(scale)):
        examination = Examination(label, PATIENTS[patient], key, description, label.moment(when), doctor)
        made.append(Shipment(examination, node, parts, GROUP if key in GROUPED else ""))
    return made


# patient, study, description, when, doctor, node, parts
Row = tuple[str, str, str, When, str, str, tuple[Part, ...]]


def _radiography(scale: Scale, chests: ChestSeries) -> Iterator[Row]:
    """Chests, hands, breasts, ultrasound, catheters."""
    hand = partial(hands, pixel=scale.coarser(HAND_PIXEL))
    breasts = partial(mammography, pixel=scale.coarser(MAMMOGRAPHY_PIXEL))
    small = 512 // scale.pixels(512)
    frames, moving = scale.frames(40), partial(ultrasound_study, scale=min(4, small))
    yield "titles", "chest", "Foto Thorax PA", (1, "09:30"), INTERNIST, DX, (chests.computed(seed=3),)
    yield "old", "chest", "Foto Thorax PA", 0.10, INTERNIST, DX, (chests.computed(seed=5, wide=0.9, tall=0.92),)
    yield (
        "second mononym",
        "chest",
        "Foto Thorax PA",
        0.26,
        EMERGENCY,
        DX2,
        (chests.digital(seed=6, wide=1.06, spoiled=True),),
    )
    yield "mother", "chest", "Foto Thorax PA", 0.34, EMERGENCY, DX2, (chests.digital(seed=7, wide=0.94, tall=0.96),)
    yield "heart", "chest", "Foto Thorax PA", (40, "08:25"), CARDIOLOGIST, DX, (chests.digital(seed=8, wide=1.1),)
    yield "girl", "chest", "Foto Thorax AP", 0.94, PAEDIATRICIAN, DX, (chests.digital(seed=9, wide=0.62, tall=0.58),)
    yield "boy", "hand", "Foto Manus sinistra, usia tulang", 0.42, PAEDIATRICIAN, DX2, (hand(child=True),)
    yield "referred, in the clinic", "hand", "Foto Manus sinistra PA/oblik", (90, "16:10"), ORTHOPAEDIST, DX2, (hand(),)
    yield "referred", "hand", "Foto Manus sinistra PA/oblik, kontrol", 0.47, ORTHOPAEDIST, DX2, (hand(),)
    yield "titles", "breasts", "Mammografi bilateral", 0.66, INTERNIST, MG, (breasts(mass=True, seed=11),)
    yield (
        "titles",
        "breasts before",
        "Mammografi bilateral",
        (730, "09:05"),
        INTERNIST,
        MG,
        (breasts(mass=False, seed=11, transfer_syntax_uid=JPEG2000Lossless),),
    )
    yield (
        "girl",
        "abdomen",
        "USG Abdomen",
        0.22,
        PAEDIATRICIAN,
        US2,
        (moving(frames=frames, seed=21, description="Abdomen atas"),),
    )
    yield (
        "papuan",
        "ultrasound",
        "USG Abdomen",
        (20, "10:45"),
        INTERNIST,
        US2,
        (moving(frames=frames, seed=22, description="Hepar dan kandung empedu"),),
    )
    yield (
        "heart",
        "coronaries",
        "Angiografi koroner",
        0.72,
        CARDIOLOGIST,
        XA,
        (angiographic_runs(frames=scale.frames(30), size=scale.pixels(512), transfer_syntax_uid=JPEGLSLossless),),
    )


def _sections(scale: Scale) -> Iterator[Row]:
    """CT and MR."""
    size, five = scale.pixels(256), scale.apart(5.0)
    trauma, aged, before = Head(seed=5, age=1.1, bleeding=True), Head(seed=8, age=2.5), Head(seed=8, age=2.1)
    yield (
        "unknown",
        "head",
        "CT Kepala polos (trauma)",
        0.05,
        EMERGENCY,
        CT2,
        (head_ct(trauma, spacing=five, size=size, transfer_syntax_uid=JPEG2000Lossless),),
    )
    yield "old", "head", "CT Kepala polos", (12, "13:50"), NEUROLOGIST, CT2, (head_ct(aged, spacing=five, size=size),)
    yield (
        "old",
        "head before",
        "CT Kepala polos",
        (1100, "11:20"),
        NEUROLOGIST,
        CT2,
        (head_ct(before, spacing=scale.apart(8.0), size=size, transfer_syntax_uid=RLELossless),),
    )
    young = Head(seed=15, lesions=YOUNG_LESIONS)
    yield (
        "lestari",
        "brain",
        "MRI Kepala dengan difusi",
        0.52,
        NEUROLOGIST,
        MR,
        (
            mr_series(T1, 2, anatomy=young, spacing=five, size=size),
            mr_series(T2, 3, anatomy=young, spacing=five, size=size, transfer_syntax_uid=RLELossless),
            mr_series(FLAIR, 4, anatomy=young, spacing=five, size=size, transfer_syntax_uid=JPEGLSLossless),
            mr_series(DWI, 5, anatomy=young, spacing=five, size=scale.pixels(128)),
            mr_series(T1_THIN, 6, anatomy=young, spacing=scale.apart(2.0), size=size),
            single(BasicTextSRStorage, brain_report),
        ),
    )
    earlier = Head(seed=15, lesions=YOUNG_LESIONS[:2])
    yield (
        "lestari",
        "brain before",
        "MRI Kepala",
        (410, "15:30"),
        NEUROLOGIST,
        MR,
        (
            mr_series(T2, 2, anatomy=earlier, spacing=five, size=size),
            mr_series(FLAIR, 3, anatomy=earlier, spacing=five, size=size),
        ),
    )
    yield (
        "runner",
        "knee",
        "MRI Genu dekstra",
        0.84,
        ORTHOPAEDIST,
        MR,
        (
            mr_series(KNEE_T1, 2, spacing=scale.apart(4.0), size=size),
            enhanced_mr(KNEE_PD, 3, spacing=scale.apart(4.0), size=size),
        ),
    )
    slices = round((ABDOMEN_TOP - BOTTOM) / five)
    yield (
        "papuan",
        "abdomen",
        "CT Abdomen dengan kontras",
        0.38,
        SURGEON,
        CT,
        (part(2 * slices, CTImageStorage, partial(_abdomen, slices=slices, spacing=five, size=size)),),
    )


def brain_report(examination: Examination) -> Dataset:
    """What the radiologist wrote of the brain."""
    findings, impression = BRAIN_REPORT
    named = [(examination.uid("mr", 4), MRImageStorage, [examination.uid("mr", 4, number) for number in (1, 2)])]
    return text_report(examination, findings=findings, impression=impression, series=named, minutes=55)


def _abdomen(examination: Examination, *, slices: int, spacing: float, size: int) -> Iterator[Dataset]:
    """Two series of one abdomen: with contrast in the vessels, and later."""
    protocol = CTProtocol(Thorax(seed=31, nodule=None), slices, spacing, size, ABDOMEN_TOP, ABDOMEN, "vena porta")
    seen = list(protocol.thorax.slices(protocol.heights, size))
    yield from ct_series(examination, protocol, slices=seen)
    later = [washed_out(hounsfield) for hounsfield in seen]
    yield from ct_series(examination, replace(protocol, phase="tunda"), acquisition=2, slices=later)
