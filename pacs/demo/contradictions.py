"""What a department meets on any day: an image again with another header or other pixels, a stranger in a study."""

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from pacs.demo.chests import GROUP, ChestSeries
from pacs.demo.hand import PIXEL
from pacs.demo.images import FRONTAL, computed_radiograph, digital_radiograph
from pacs.demo.labels import Examination
from pacs.demo.parts import single
from pacs.demo.patients import PATIENTS
from pacs.demo.planar import hands
from pacs.demo.shipments import DX, DX2, Scale, Shipment


def contradictions(shipments: Sequence[Shipment], scale: Scale, chests: ChestSeries) -> list[Shipment]:
    """One object against each of three of `shipments`."""
    studies = {(each.examination.patient.key, each.examination.key): each.examination for each in shipments}

    def other_header(examination: Examination) -> Dataset:
        """A radiographer took the hand for the other one, and sent it once more."""
        ds = next(hands(child=True, pixel=scale.coarser(PIXEL)).objects(examination))
        ds.ImageLaterality, ds.SeriesDescription = "R", "Manus dekstra PA"
        return ds

    def other_pixels(examination: Examination) -> Dataset:
        """A cassette reader that gave a UID twice."""
        return computed_radiograph(examination, 1, FRONTAL, chests.image(seed=12, wide=1.08))

    def stranger(examination: Examination) -> Dataset:
        """The next patient, while the last one's study was still open at the console."""
        ds = digital_radiograph(examination, 9, FRONTAL, chests.image(seed=13, wide=1.12, tall=1.04))
        del ds.OtherPatientIDsSequence
        PATIENTS["heart"].fill(ds)
        return ds

    hand, old, open_study = (
        studies["boy", "hand"],
        studies["old", "chest"],
        studies["second mononym", "chest"],
    )
    rows = (
        (hand, DX2, DigitalXRayImageStorageForPresentation, other_header, hand.uid("dx", 1, 1)),
        (old, DX, ComputedRadiographyImageStorage, other_pixels, old.uid("cr", 1, 1)),
        (open_study, DX2, DigitalXRayImageStorageForPresentation, stranger, open_study.uid("dx", 9, 1)),
    )
    return [
        Shipment(examination, node, (single(UID(sop_class), make),), GROUP, uid)
        for examination, node, sop_class, make, uid in rows
    ]
