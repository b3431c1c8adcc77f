"""Encapsulated PDF documents, made here: one page of text."""

from collections.abc import Sequence as Lines

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EncapsulatedPDFStorage

from pacs.demo.labels import Examination, coded, equipment, finish


def one_page_pdf(title: str, lines: Lines[str]) -> bytes:
    """A valid PDF 1.4 file: A4, Helvetica, Latin-1 text."""

    def escaped(text: str) -> bytes:
        return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("cp1252")

    text = b"BT /F1 16 Tf 64 770 Td (" + escaped(title) + b") Tj /F1 11 Tf 0 -14 Td"
    for line in lines:
        text += b" 0 -17 Td (" + escaped(line) + b") Tj"
    text += b" ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources 6 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Font << /F1 5 0 R >> >>",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n" % count + table + trailer


def encapsulated_pdf(examination: Examination, title: str, lines: Lines[str], concept: tuple[str, str]) -> Dataset:
    """Encapsulated PDF Storage (PS3.3 A.45.1). `concept` is the document's LOINC code and meaning."""
    ds = Dataset()
    examination.fill(ds)
    examination.moment(ds, "Series", "Content")
    equipment(ds, station="KLINIK-1", model="Document scanner")
    at = examination.at
    ds.AcquisitionDateTime = f"{at:%Y%m%d%H%M%S}.{at.microsecond:06d}{at:%z}"
    ds.Modality, ds.SeriesDescription, ds.ConversionType = "DOC", title, "WSD"
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = examination.uid("pdf"), 1, 1
    ds.BurnedInAnnotation, ds.DocumentTitle = "YES", title
    ds.ConceptNameCodeSequence = Sequence([coded(concept[0], "LN", concept[1])])
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document = one_page_pdf(title, lines)
    ds.EncapsulatedDocument = document + b"\n" * (len(document) % 2)
    ds.EncapsulatedDocumentLength = len(document)
    return finish(ds, EncapsulatedPDFStorage, examination.uid("pdf", 1))
