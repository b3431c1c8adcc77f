"""A report as a PDF: the letter of the hospital, or what came from where it was written."""

from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.utils.text import get_valid_filename
from django.utils.translation import gettext as _

from radiology.errors import NotFound, NotInstalled
from radiology.models import Report, ReportVersion
from radiology.services.letter_pictures import Pictures, figures_of, verification_of
from radiology.services.letterhead import letterhead_of
from radiology.services.report_markup import printed

STYLE = "radiology/letter.css"


def pdf_of(*, report: Report, version: ReportVersion | None = None, origin: str = "", is_kept: bool = False) -> bytes:
    """The PDF of the version that holds, or of another one.

    `origin` is the address under which whoever asks reached the server (https://pacs.hospital.com); the letter names it
    to those who verify it where SINAR_PUBLIC_URL is not set. A letter that `is_kept` is not made while a key image
    cannot be read for the moment.

    Tagged (PDF/UA), with nothing in it that is fetched from elsewhere. Raises NotFound when nothing is published,
    NotInstalled on a server without Pango, OutOfResources or Unreachable for a letter that is kept.
    """
    version = version or report.versions.first()
    if version is None:
        raise NotFound(_("Nothing of this report is published yet."), field="report")
    return version.written_pdf or _render(report, version, origin, is_kept)


def file_name(report: Report) -> str:
    """A name that says which examination it is, and not whose."""
    order = report.requested_procedure_ref.order_ref
    return f"{get_valid_filename(order.accession_number or str(report.public_id)) or 'report'}.pdf"


def _render(report: Report, version: ReportVersion, origin: str, is_kept: bool) -> bytes:
    procedure = report.requested_procedure_ref
    pictures = Pictures()
    context = {
        "report": report,
        "version": version,
        "sections": printed(version),
        "procedure": procedure,
        "order": procedure.order_ref,
        "patient": procedure.order_ref.patient_ref,
        "site": report.site,
        "letterhead": letterhead_of(report.site, pictures),
        "figures": figures_of(report, version, pictures, is_kept=is_kept),
        "verification": verification_of(version, origin, pictures),
    }
    html = render_to_string("radiology/report_letter.html", context)
    try:
        from weasyprint import CSS, HTML  # its import looks for Pango, which a server may lack
    except OSError as error:
        raise NotInstalled(
            _("This server cannot make PDFs: install the Debian packages libpango-1.0-0 and libpangoft2-1.0-0.")
        ) from error
    style = CSS(filename=finders.find(STYLE))
    letter = HTML(string=html, url_fetcher=pictures.fetch)
    made = letter.write_pdf(stylesheets=[style], pdf_variant="pdf/ua-1")
    return bytes(made)
