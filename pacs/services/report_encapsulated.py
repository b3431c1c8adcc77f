"""A report as an Encapsulated PDF (PS3.3 A.45.1): our letter, or the PDF that came from where it was written."""

from pydicom.uid import EncapsulatedPDFStorage

from pacs.models import ReportObjectKind, Study
from pacs.services.report_document import TITLE, coded, date_time, document, is_verified, local, part10
from radiology.dicom import fit
from radiology.models import ReportStatus, ReportVersion


def encapsulated_report(*, version: ReportVersion, study: Study, pdf: bytes) -> bytes:
    """A Part 10 file that holds `pdf` as it is."""
    made = document(version=version, study=study, kind=ReportObjectKind.PDF, sop_class_uid=EncapsulatedPDFStorage)
    made.ConversionType = "WSD"
    made.AcquisitionDateTime = date_time(local(version.at, study))
    made.BurnedInAnnotation = "YES"
    made.DocumentTitle = _title(version)
    made.ConceptNameCodeSequence = [coded(*TITLE)]
    made.VerificationFlag = "VERIFIED" if is_verified(version) else "UNVERIFIED"
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    made.EncapsulatedDocumentLength = len(pdf)
    return part10(made)


def _title(version: ReportVersion) -> str:
    """Of what it is a report, and which of its versions, where there is more to say than that it is final."""
    said = version.report_ref.requested_procedure_ref.requested_procedure_description
    title = f"Report: {said}" if said else "Report"
    return fit("ST", title if version.status == ReportStatus.FINAL else f"{title} ({version.status})")
