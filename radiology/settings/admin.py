"""What django-unfold shows around the admin's pages."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _


def _entry(title: Any, icon: str, model: str) -> dict[str, Any]:
    """A line of the menu, for those who may look at the model `app.Name`."""
    app, name = model.lower().split(".")

    def permission(request: HttpRequest) -> bool:
        return request.user.has_perm(f"{app}.view_{name}") or request.user.has_perm(f"{app}.change_{name}")

    return {
        "title": capfirst(title),
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": permission,
    }


def _group(title: Any, *entries: dict[str, Any], collapsible: bool = False) -> dict[str, Any]:
    return {"title": title, "separator": True, "collapsible": collapsible, "items": list(entries)}


def theme_of(request: HttpRequest) -> str | None:
    """Light or dark, if the person has chosen one; else the system's."""
    theme = getattr(request.user, "theme", "auto")
    return None if theme == "auto" else theme


def _icon(request: HttpRequest) -> str:
    return static("radiology/icon.svg")


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Sinar",
    "SITE_HEADER": "Sinar",
    "SITE_SUBHEADER": _("Configuration"),
    "SITE_ICON": _icon,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _icon}],
    "SITE_URL": "/",
    "THEME": theme_of,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "COLORS": {
        # The pages' accent, #0b5cad on light and #6cb2f5 on dark, and the steps around it.
        "primary": {
            "50": "oklch(97% .015 250)",
            "100": "oklch(94% .03 250)",
            "200": "oklch(88% .06 250)",
            "300": "oklch(81% .09 250)",
            "400": "oklch(74.5% .117 250)",
            "500": "oklch(67% .13 251)",
            "600": "oklch(47.5% .142 253)",
            "700": "oklch(42% .13 254)",
            "800": "oklch(36% .11 255)",
            "900": "oklch(30% .09 256)",
            "950": "oklch(23% .07 257)",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": [
            _group(
                _("People"),
                _entry(_("Users"), "person", "radiology.User"),
                _entry(_("Roles"), "badge", "auth.Group"),
                _entry(_("Sites"), "local_hospital", "radiology.Site"),
                {
                    "title": _("Configuration file"),
                    "icon": "settings_backup_restore",
                    "link": reverse_lazy("admin:configuration"),
                    "permission": lambda request: request.user.is_superuser,
                },
                _entry(_("Patients"), "patient_list", "radiology.Patient"),
                _entry(_("Patient identifiers"), "fingerprint", "radiology.PatientIdentifier"),
                _entry(_("Words of names"), "abc", "radiology.PatientNameWord"),
                _entry(_("Versions of patients"), "history", "radiology.PatientVersion"),
                _entry(_("Merges of patients"), "merge", "radiology.PatientMerge"),
                _entry(_("Rows that merges moved"), "move_item", "radiology.PatientMergeItem"),
                _entry(_("Suspected duplicates"), "content_copy", "radiology.PatientDuplicate"),
                _entry(_("Linked patients"), "link", "radiology.PatientLink"),
                _entry(_("Counters of patient numbers"), "pin", "radiology.PatientNumberCounter"),
            ),
            _group(
                _("Orders"),
                _entry(_("Orders"), "assignment", "radiology.Order"),
                _entry(_("Requested procedures"), "checklist", "radiology.RequestedProcedure"),
                _entry(_("Procedure catalogue"), "menu_book", "radiology.Procedure"),
                _entry(_("Codes of procedures"), "tag", "radiology.ProcedureCode"),
                _entry(_("Protocols of procedures"), "tune", "radiology.ProcedureProtocol"),
                _entry(_("Attachments of orders"), "attach_file", "radiology.OrderAttachment"),
                _entry(_("Versions of orders"), "history", "radiology.OrderVersion"),
                _entry(_("Counters of accession numbers"), "pin", "radiology.AccessionCounter"),
            ),
            _group(
                _("Reports"),
                _entry(_("Reports"), "description", "radiology.Report"),
                _entry(_("Versions of reports"), "history", "radiology.ReportVersion"),
                _entry(_("Results of people"), "inbox", "radiology.PersonalResult"),
                _entry(_("Names in messages"), "badge", "radiology.PractitionerTie"),
                _entry(_("Residents"), "school", "radiology.Resident"),
                _entry(_("Co-signatures"), "draw", "radiology.CoSignature"),
                _entry(_("Held reports"), "lock", "radiology.ReportHold"),
                _entry(_("Images after reading"), "add_photo_alternate", "radiology.LateImages"),
                _entry(_("Seals of reports"), "verified", "radiology.ReportSeal"),
                _entry(_("Letterheads"), "contract", "radiology.Letterhead"),
                _entry(_("Critical results"), "emergency", "radiology.CriticalResult"),
                _entry(_("Events of critical results"), "history", "radiology.CriticalResultEvent"),
                _entry(_("Policies of critical results"), "policy", "radiology.CriticalPolicy"),
                _entry(_("Report templates"), "article", "radiology.ReportTemplate"),
                _entry(_("Report macros"), "short_text", "radiology.ReportMacro"),
            ),
            _group(
                _("Schedule"),
                _entry(_("Rooms"), "meeting_room", "worklist.Room"),
                _entry(_("Opening hours"), "schedule", "worklist.OpeningHours"),
                _entry(_("Blocks of rooms"), "block", "worklist.RoomBlock"),
                _entry(_("Devices"), "radiology", "worklist.Device"),
                _entry(_("Scheduled steps"), "event", "worklist.ScheduledProcedureStep"),
                _entry(_("Performed steps"), "event_available", "worklist.PerformedProcedureStep"),
                _entry(_("What performed steps answer"), "link", "worklist.PerformedStepReference"),
                _entry(_("Completions of studies"), "task_alt", "worklist.StudyCompletion"),
                _entry(_("Quality checks"), "verified", "worklist.QualityCheck"),
                _entry(_("Board filters"), "filter_list", "worklist.BoardPreference"),
                _entry(_("Worklist queries"), "manage_search", "worklist.WorklistQuery"),
                _entry(_("Reconciliation cases"), "join_inner", "worklist.ReconciliationCase"),
                _entry(_("Decisions on studies' orders"), "gavel", "worklist.ReconciliationDecision"),
                _entry(_("Readings"), "clinical_notes", "worklist.Reading"),
                _entry(_("Agreed turnarounds"), "timer", "worklist.Turnaround"),
                _entry(_("Peer review policies"), "rate_review", "worklist.PeerReviewPolicy"),
                _entry(_("Drawn samples"), "casino", "worklist.PeerReviewDraw"),
                _entry(_("Peer reviews"), "reviews", "worklist.PeerReview"),
                _entry(_("Scores of peer reviews"), "grade", "worklist.PeerReviewScore"),
                _entry(_("Figures of examinations"), "monitoring", "worklist.ExaminationFigures"),
                _entry(_("Changes that figures follow"), "sync", "worklist.FiguresChange"),
                _entry(_("Reading areas"), "person_search", "worklist.ReadingArea"),
                _entry(_("Worklist settings"), "tune", "worklist.WorklistSettings"),
            ),
            _group(
                _("Images"),
                _entry(_("Studies"), "folder_open", "pacs.Study"),
                _entry(_("Series"), "stacks", "pacs.Series"),
                _entry(_("Instances"), "image", "pacs.Instance"),
                _entry(_("Request attributes"), "link", "pacs.RequestAttributes"),
                _entry(_("Modalities of patients"), "category", "pacs.PatientModality"),
                _entry(_("Reports in the archive"), "lab_profile", "pacs.ReportObject"),
                _entry(_("Corrections"), "edit_note", "pacs.Correction"),
                _entry(_("Removals"), "visibility_off", "pacs.Removal"),
                _entry(_("Removed objects"), "hide_image", "pacs.RemovedInstance"),
            ),
            _group(
                _("Nodes"),
                _entry(_("DICOM nodes"), "lan", "pacs.ApplicationEntity"),
                _entry(_("HL7 peers"), "hub", "integrations.Hl7Peer"),
                _entry(_("HL7 messages"), "forum", "integrations.Hl7Message"),
                _entry(_("Field mapping"), "swap_horiz", "integrations.Hl7FieldMapping"),
                _entry(_("Alarms of HL7 peers"), "notifications", "integrations.Hl7Alarm"),
                _entry(_("What HL7 peers know"), "inventory", "integrations.Hl7OrderState"),
                _entry(_("API clients"), "api", "radiology.ApiClient"),
                _entry(_("API tokens"), "key", "radiology.ApiToken"),
                _entry(_("Webhooks"), "webhook", "integrations.Webhook"),
                _entry(_("Webhook deliveries"), "outbox", "integrations.WebhookDelivery"),
                _entry(_("Networks of webhooks"), "shield", "integrations.WebhookNetwork"),
                _entry(_("Idempotency keys"), "repeat_one", "radiology.IdempotencyKey"),
            ),
            _group(
                _("Storage"),
                _entry(_("Volumes"), "hard_drive", "pacs.Volume"),
                _entry(_("Archive locations"), "folder_data", "pacs.Location"),
                _entry(_("Compression rules"), "compress", "pacs.CompressionRule"),
                _entry(_("Compressed objects"), "folder_zip", "pacs.Compression"),
                _entry(_("Held objects"), "gpp_maybe", "pacs.HeldObject"),
                _entry(_("Decisions on held objects"), "gavel", "pacs.HeldDecision"),
                _entry(_("Verifications"), "fact_check", "pacs.Verification"),
                _entry(_("Findings of verifications"), "report", "pacs.VerificationFinding"),
            ),
            _group(
                _("Imports & transfers"),
                _entry(_("Transfers"), "sync_alt", "pacs.Transfer"),
                _entry(_("Results of transfers"), "rule", "pacs.TransferResult"),
                _entry(_("Storage commitments"), "verified", "pacs.StorageCommitment"),
                _entry(_("Imports"), "drive_folder_upload", "pacs.ImportRun"),
                _entry(_("Imported studies"), "folder_check", "pacs.ImportedStudy"),
                _entry(_("Files not taken in"), "block", "pacs.ImportRefusal"),
                _entry(_("Journal of files"), "receipt_long", "pacs.ImportedFile"),
                collapsible=True,
            ),
            _group(
                _("Jobs & audit"),
                _entry(_("Jobs"), "manufacturing", "radiology.Job"),
                _entry(_("Audit trail"), "history", "radiology.AuditEvent"),
            ),
            _group(
                _("Sign-in"),
                _entry(_("E-mail addresses"), "mail", "account.EmailAddress"),
                _entry(_("Second factors"), "phonelink_lock", "mfa.Authenticator"),
                _entry(_("Sessions"), "devices", "usersessions.UserSession"),
            ),
        ],
    },
}
