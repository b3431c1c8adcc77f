"""`/api/v1`: no trailing slashes."""

from typing import Any

from django.urls import path, re_path

from pacs.api import (
    archives,
    changes,
    critical_results,
    instances,
    order_changes,
    order_procedures,
    orders,
    patient_changes,
    patients,
    report_changes,
    report_templates,
    report_watch,
    reports,
    sharing,
    studies,
)
from pacs.api.access import ApiView
from pacs.api.upload import Upload
from pacs.dicomweb.access import DicomWebView
from radiology.api.docs import DocsView, SchemaView
from radiology.errors import NotFound


class Studies(Upload, studies.SearchStudies):
    """`/studies`: search and store."""


class Study(changes.CorrectStudy, changes.DeleteStudy, studies.OneStudy):
    """`/studies/{study}`: look, correct, delete."""


class Patients(patient_changes.RegisterPatient, patients.SearchPatients):
    """`/patients`: search and register."""


class Patient(patient_changes.ChangePatient, patients.OnePatient):
    """`/patients/{patient}`: look, change."""


class Instances(Upload):
    """`/instances`: the same way in under the name that other archives give it; described at `/studies`."""

    schema = None


class Orders(orders.PlaceOrder, orders.SearchOrders):
    """`/orders`: find and place."""


class Reports(reports.MakeReport, reports.SearchReports):
    """`/reports`: find, write, attach."""


class Nowhere(ApiView):
    """Every other address."""

    schema = None

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        DicomWebView.initial(self, request, *args, **kwargs)  # no question of its own: none is refused
        raise NotFound("There is nothing at this address; addresses end without a slash. See /api/v1/docs.")


urlpatterns = [
    path("schema", SchemaView.as_view(), name="api-schema"),
    path("docs", DocsView.as_view(), name="api-docs"),
    path("studies", Studies.as_view(), name="api-studies"),
    path("studies/deleted", changes.DeletedStudies.as_view(), name="api-deleted-studies"),
    path("studies/<str:study>", Study.as_view(), name="api-study"),
    path("studies/<str:study>/series", studies.SeriesOfStudy.as_view(), name="api-study-series"),
    path("studies/<str:study>/history", changes.History.as_view(), name="api-study-history"),
    path("studies/<str:study>/archive", archives.StudyArchive.as_view(), name="api-study-archive"),
    path("studies/<str:study>/restore", changes.RestoreStudy.as_view(), name="api-study-restore"),
    path("studies/<str:study>/token", sharing.StudyToken.as_view(), name="api-study-token"),
    path("links", sharing.Links.as_view(), name="api-links"),
    path("corrections/<uuid:correction>/undo", changes.UndoCorrection.as_view(), name="api-correction-undo"),
    path("series/<str:series>", instances.OneSeries.as_view(), name="api-series"),
    path("series/<str:series>/instances", instances.InstancesOfSeries.as_view(), name="api-series-instances"),
    path("series/<str:series>/archive", archives.SeriesArchive.as_view(), name="api-series-archive"),
    path("instances", Instances.as_view(), name="api-instances"),
    path("instances/<str:instance>", instances.OneInstance.as_view(), name="api-instance"),
    path("instances/<str:instance>/file", instances.InstanceFile.as_view(), name="api-instance-file"),
    path("instances/<str:instance>/preview", instances.InstancePreview.as_view(), name="api-instance-preview"),
    path("instances/<str:instance>/tags", instances.InstanceTags.as_view(), name="api-instance-tags"),
    path("patients", Patients.as_view(), name="api-patients"),
    path("patients/candidates", patient_changes.FindCandidates.as_view(), name="api-patient-candidates"),
    path("patients/duplicates", patient_changes.SuspectedDuplicates.as_view(), name="api-suspected-duplicates"),
    path("patients/<uuid:patient>", Patient.as_view(), name="api-patient"),
    path("patients/<uuid:patient>/merge", patient_changes.MergePatients.as_view(), name="api-patient-merge"),
    path("patients/<uuid:patient>/history", patient_changes.PatientChanges.as_view(), name="api-patient-history"),
    path(
        "patients/<uuid:patient>/duplicates",
        patient_changes.DuplicatesOfPatient.as_view(),
        name="api-patient-duplicates",
    ),
    path("merges/<uuid:merge>/undo", patient_changes.UndoMerge.as_view(), name="api-merge-undo"),
    path("patients/<uuid:patient>/studies", patients.StudiesOfPatient.as_view(), name="api-patient-studies"),
    path("patients/<uuid:patient>/archive", archives.PatientArchive.as_view(), name="api-patient-archive"),
    path("procedures", orders.SearchProcedures.as_view(), name="api-procedures"),
    path("orders", Orders.as_view(), name="api-orders"),
    path("orders/<uuid:order>", orders.OneOrder.as_view(), name="api-order"),
    path("orders/<uuid:order>/cancel", order_changes.CancelOrder.as_view(), name="api-order-cancel"),
    path("orders/<uuid:order>/discontinue", order_changes.DiscontinueOrder.as_view(), name="api-order-discontinue"),
    path("orders/<uuid:order>/hold", order_changes.HoldOrder.as_view(), name="api-order-hold"),
    path("orders/<uuid:order>/release", order_changes.ReleaseOrder.as_view(), name="api-order-release"),
    path("orders/<uuid:order>/reinstate", order_changes.ReinstateOrder.as_view(), name="api-order-reinstate"),
    path("orders/<uuid:order>/procedures", order_procedures.OrderProcedures.as_view(), name="api-order-procedures"),
    path(
        "orders/<uuid:order>/procedures/<uuid:procedure>/cancel",
        order_procedures.CancelProcedure.as_view(),
        name="api-order-procedure-cancel",
    ),
    path(
        "orders/<uuid:order>/procedures/<uuid:procedure>/reinstate",
        order_procedures.ReinstateProcedure.as_view(),
        name="api-order-procedure-reinstate",
    ),
    path("orders/<uuid:order>/history", order_changes.OrderHistory.as_view(), name="api-order-history"),
    path("orders/<uuid:order>/attachments", order_changes.OrderAttachments.as_view(), name="api-order-attachments"),
    path(
        "orders/<uuid:order>/attachments/<uuid:attachment>",
        order_changes.OrderAttachment.as_view(),
        name="api-order-attachment",
    ),
    path("reports", Reports.as_view(), name="api-reports"),
    path("reports/<uuid:report>", reports.OneReport.as_view(), name="api-report"),
    path("reports/<uuid:report>/versions", reports.ReportVersions.as_view(), name="api-report-versions"),
    path("reports/<uuid:report>/pdf", reports.ReportPdf.as_view(), name="api-report-pdf"),
    path(
        "reports/<uuid:report>/key-images/<uuid:key_image>",
        reports.ReportKeyImage.as_view(),
        name="api-report-key-image",
    ),
    path("reports/<uuid:report>/draft", report_changes.ReportDraft.as_view(), name="api-report-draft"),
    path("reports/<uuid:report>/sign", report_changes.SignReport.as_view(), name="api-report-sign"),
    path("reports/<uuid:report>/addenda", report_changes.ReportAddenda.as_view(), name="api-report-addenda"),
    path("reports/<uuid:report>/return", report_watch.ReturnReport.as_view(), name="api-report-return"),
    path("reports/<uuid:report>/release", report_watch.ReleaseReport.as_view(), name="api-report-release"),
    path("reports/<uuid:report>/images-seen", report_watch.ImagesSeen.as_view(), name="api-report-images-seen"),
    path("reports/<uuid:report>/differences", report_watch.ReportDifferences.as_view(), name="api-report-differences"),
    path("reports/<uuid:report>/withdraw", report_changes.WithdrawReport.as_view(), name="api-report-withdraw"),
    path("critical-results", critical_results.SearchCriticalResults.as_view(), name="api-critical-results"),
    path(
        "critical-results/<uuid:critical_result>/acknowledge",
        critical_results.AcknowledgeCriticalResult.as_view(),
        name="api-critical-result-acknowledge",
    ),
    path("report-templates", report_templates.ReportTemplates.as_view(), name="api-report-templates"),
    path(
        "report-templates/<uuid:template>",
        report_templates.OneReportTemplate.as_view(),
        name="api-report-template",
    ),
    re_path(r"", Nowhere.as_view(), name="api-nowhere"),
]
