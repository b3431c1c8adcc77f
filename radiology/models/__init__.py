from radiology.models.api_client import ApiClient, ApiToken, Scope
from radiology.models.audit import AuditAction, AuditEvent
from radiology.models.idempotency import IdempotencyKey
from radiology.models.job import Job, JobPriority, JobState
from radiology.models.order import (
    AccessionCounter,
    Answer,
    Order,
    OrderAttachment,
    OrderOrigin,
    OrderStatus,
    OrderVersion,
    PregnancyStatus,
    Priority,
    ProcedureStatus,
    RequestedProcedure,
)
from radiology.models.patient import IdentifierKind, NameTrigrams, Patient, PatientIdentifier, PatientNameWord, Viewer
from radiology.models.patient_history import (
    PatientDuplicate,
    PatientLink,
    PatientMerge,
    PatientMergeItem,
    PatientNumberCounter,
    PatientVersion,
)
from radiology.models.procedure import ContrastUse, Laterality, Procedure, ProcedureCode, ProcedureProtocol
from radiology.models.report import SIGNED, Report, ReportOrigin, ReportSection, ReportStatus, ReportVersion
from radiology.models.report_template import ReportLanguage, ReportMacro, ReportTemplate
from radiology.models.site import ReportObjects, ResentDeleted, Site, TimeZone
from radiology.models.user import Role, SavedFilter, Theme, User

__all__ = [
    "SIGNED",
    "AccessionCounter",
    "Answer",
    "ApiClient",
    "ApiToken",
    "AuditAction",
    "AuditEvent",
    "ContrastUse",
    "IdempotencyKey",
    "IdentifierKind",
    "Job",
    "JobPriority",
    "JobState",
    "Laterality",
    "NameTrigrams",
    "Order",
    "OrderAttachment",
    "OrderOrigin",
    "OrderStatus",
    "OrderVersion",
    "Patient",
    "PatientDuplicate",
    "PatientIdentifier",
    "PatientLink",
    "PatientMerge",
    "PatientMergeItem",
    "PatientNameWord",
    "PatientNumberCounter",
    "PatientVersion",
    "PregnancyStatus",
    "Priority",
    "Procedure",
    "ProcedureCode",
    "ProcedureProtocol",
    "ProcedureStatus",
    "Report",
    "ReportLanguage",
    "ReportMacro",
    "ReportObjects",
    "ReportOrigin",
    "ReportSection",
    "ReportStatus",
    "ReportTemplate",
    "ReportVersion",
    "RequestedProcedure",
    "ResentDeleted",
    "Role",
    "SavedFilter",
    "Scope",
    "Site",
    "Theme",
    "TimeZone",
    "User",
    "Viewer",
]
