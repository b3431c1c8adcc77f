"""A published report becomes DICOM objects in its study, and a withdrawn one is taken out of it again.

Whoever publishes writes one row, a job for the version; whoever links a study to a procedure one for the procedure.
The jobs of a procedure run in their order. What is stored has a row (`ReportObject`) of the same transaction, so
that a job that runs again finds it done.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from pacs.models import Instance, Removal, RemovalCode, ReportObject, ReportObjectKind, Study
from pacs.services import rejection, removal
from pacs.services.coercion import lock_studies
from pacs.services.incoming import Source, receive_part10
from pacs.services.rejection_filing import file_note
from pacs.services.report_document import sop_instance_uid_of
from pacs.services.report_encapsulated import encapsulated_report
from pacs.services.report_measurement_sr import measurement_report, on_images
from pacs.services.report_measurements import Measured, measured_in
from pacs.services.report_sr import Predecessor, evidence_of, says_anything, structured_report
from pacs.services.store import StoreOutcome, store_instances
from pacs.signals import studies_sought
from radiology.errors import Conflict, NotInstalled
from radiology.models import Job, Report, ReportObjects, ReportStatus, ReportVersion, RequestedProcedure
from radiology.services.jobs import Postponed, enqueue, handles
from radiology.services.report_pdf import pdf_of

log = structlog.get_logger(__name__)

STORE = "pacs.store_report"
STORE_PDF = "pacs.store_report_pdf"
FOLLOW = "pacs.follow_reports"
KINDS = {
    ReportObjects.BOTH: (ReportObjectKind.SR, ReportObjectKind.MEASUREMENTS, ReportObjectKind.PDF),
    ReportObjects.SR: (ReportObjectKind.SR, ReportObjectKind.MEASUREMENTS),
    ReportObjects.PDF: (ReportObjectKind.PDF,),
    ReportObjects.NONE: (),
}
# How long until a server that cannot make PDFs tries again.
WITHOUT_PANGO = timedelta(hours=1)


@dataclass(frozen=True)
class ByReport:
    """The reports of a site, as what takes their objects out and brings them back."""

    site_id: int | None
    sees_every_site: bool = False

    def may(self, scope: str) -> bool:
        return scope == "studies.correct"

    def __str__(self) -> str:
        return "reports"


def watch_version(*, version: ReportVersion) -> None:
    """See to it that a version that was published just now is stored, or withdrawn: one row, in its transaction."""
    report = version.report_ref
    enqueue(
        kind=STORE,
        arguments={"version": version.pk},
        ordering_key=_key(report.requested_procedure_ref_id),
        site=report.site,
    )


def watch_procedures(*, procedures: Iterable[int], left: int | None = None) -> None:
    """See to it that the reports of procedures (ids) are where their studies are: one row each.

    `left` is a study (id) that is theirs no longer.
    """
    for pk in sorted(set(procedures)):
        enqueue(kind=FOLLOW, arguments={"procedure": pk, "left": left}, ordering_key=_key(pk))


@handles(STORE)
def store_version(job: Job) -> None:
    """Store one version of a report. Where PDFs cannot be made, the words are stored, and another job waits."""
    version = _versions().filter(pk=job.arguments["version"]).first()
    if version is not None:
        _settle(version)


@handles(FOLLOW)
def follow_procedure(job: Job) -> None:
    """Take the reports of a procedure out of the study that it left, and store those that hold in its own."""
    procedure = RequestedProcedure.objects.select_related("order_ref").filter(pk=job.arguments["procedure"]).first()
    if procedure is None:
        return
    left = job.arguments["left"]
    goes = left is not None and not studies_of(procedure).filter(pk=left).exists()
    for report in Report.objects.filter(requested_procedure_ref=procedure).exclude(number=0).order_by("pk"):
        if goes:
            _take_out(report, RemovalCode.WORKLIST_ENTRY, _("The study is of another examination."), study=left)
        _settle(_versions().get(report_ref=report, number=report.number))


@handles(STORE_PDF)
def store_pdf(job: Job) -> None:
    """Store the PDF that the server could not make before; as long as it cannot, the job says why."""
    version = _versions().filter(pk=job.arguments["version"]).first()
    if version is None or version.number != version.report_ref.number or version.report_ref.held_at is not None:
        return
    missing = _store(version)
    if missing:
        raise Postponed(timezone.now() + WITHOUT_PANGO, missing)


def studies_of(procedure: RequestedProcedure) -> QuerySet[Study]:
    """The studies of its patient that a procedure is linked to, those that these were merged into, and others'."""
    also = [pk for _, found in studies_sought.send(sender=Study, procedure=procedure) for pk in found or ()]
    merged = Study.objects.filter(requested_procedure_ref=procedure).exclude(merged_into=None)
    mine = Q(requested_procedure_ref=procedure) | Q(pk__in=merged.values("merged_into")) | Q(pk__in=also)
    return Study.objects.filter(mine, deleted_at=None, patient_ref=procedure.order_ref.patient_ref_id)


def _versions() -> QuerySet[ReportVersion]:
    return ReportVersion.objects.select_related(
        "report_ref__site", "report_ref__requested_procedure_ref__order_ref__patient_ref"
    )


def _settle(version: ReportVersion) -> None:
    report = version.report_ref
    if report.status == ReportStatus.ENTERED_IN_ERROR:
        _take_out(report, RemovalCode.PATIENT_SAFETY, _("The report was withdrawn."))
    elif report.held_at is not None:
        _take_out(report, RemovalCode.WORKLIST_ENTRY, _("The report is held: its images were moved."))
    elif _store(version):
        enqueue(
            kind=STORE_PDF,
            arguments={"version": version.pk},
            idempotency_key=f"store-report-pdf:{version.pk}",
            site=report.site,
        )


def _store(version: ReportVersion) -> str:
    """Store what is missing of a version in its study, if that is here; why there is no PDF, if so."""
    report = version.report_ref
    study = _home(report.requested_procedure_ref)
    if study is None:
        return ""
    measured = measured_in(version)
    wanted = _missing(version, study, measured)
    pdf, why = b"", ""
    if ReportObjectKind.PDF in wanted:
        try:
            with translation.override(settings.LANGUAGE_CODE):
                pdf = pdf_of(report=report, version=version, is_kept=True)
        except NotInstalled as error:
            wanted, why = wanted - {ReportObjectKind.PDF}, error.message
            log.error("report stored without PDF", report=str(report.public_id), reason=why)
    if wanted:
        with transaction.atomic():
            _make(version, study, wanted, measured, pdf)
    return why


def _home(procedure: RequestedProcedure) -> Study | None:
    """The study that reports of a procedure go to: the one with its Study Instance UID, else the first."""
    found = studies_of(procedure).select_related("site", "patient_ref").order_by("pk")
    return min(found, key=lambda each: each.study_instance_uid != procedure.study_instance_uid, default=None)


def _missing(version: ReportVersion, study: Study, measured: Sequence[Measured]) -> set[ReportObjectKind]:
    """What the site wants of a version and is not stored; what was taken out of this study comes back."""
    wanted = set(KINDS[ReportObjects(study.site.report_objects)])
    if not says_anything(version):
        wanted.discard(ReportObjectKind.SR)
    if not measured:
        wanted.discard(ReportObjectKind.MEASUREMENTS)
    rows = list(ReportObject.objects.filter(version_ref=version, kind__in=wanted).select_related("removal"))
    for row in rows:
        if row.study_ref_id == study.pk and row.removal is not None:
            _bring_back(row.removal)
            row.removal = None
    return wanted - {ReportObjectKind(row.kind) for row in rows if row.removal is None}


def _make(
    version: ReportVersion,
    study: Study,
    wanted: Collection[ReportObjectKind],
    measured: Sequence[Measured],
    pdf: bytes,
) -> None:
    """Inside the caller's transaction, which holds the study and the report until it ends.

    In this order, as whoever moves images does, who then holds the report. Once a newer version is stored, nothing
    of an older one follows it.
    """
    lock_studies([study.pk])
    report = Report.objects.select_for_update(of=("self",), no_key=True).get(pk=version.report_ref_id)
    here = studies_of(version.report_ref.requested_procedure_ref).select_related("site", "patient_ref")
    held = here.filter(pk=study.pk).first()
    if held is None or report.status == ReportStatus.ENTERED_IN_ERROR or report.held_at is not None:
        return
    former = ReportObject.objects.filter(version_ref__report_ref=report, removal=None)
    if former.filter(version_ref__number__gt=version.number).exists():
        return
    stored = former.filter(version_ref=version).values_list("kind", flat=True)
    wanted = set(wanted) - {ReportObjectKind(kind) for kind in stored}
    if ReportObjectKind.SR in wanted:
        predecessor = _predecessor(former, held, ReportObjectKind.SR)
        made = structured_report(version=version, study=held, evidence=evidence_of(held), predecessor=predecessor)
        _file(version, held, ReportObjectKind.SR, made)
    if ReportObjectKind.MEASUREMENTS in wanted:
        _make_measurements(version, held, measured, former)
    if ReportObjectKind.PDF in wanted:
        made = encapsulated_report(version=version, study=held, pdf=pdf)
        _file(version, held, ReportObjectKind.PDF, made)


def _make_measurements(
    version: ReportVersion, study: Study, measured: Sequence[Measured], former: QuerySet[ReportObject]
) -> None:
    """Where images of them are here."""
    found = on_images(measured, study)
    if not found:
        return
    kind = ReportObjectKind.MEASUREMENTS
    predecessor = _predecessor(former, study, kind)
    made = measurement_report(version=version, study=study, found=found, predecessor=predecessor)
    _file(version, study, kind, made)


def _predecessor(former: QuerySet[ReportObject], study: Study, kind: ReportObjectKind) -> Predecessor | None:
    """The SR of this kind of the version before, where it can be seen."""
    row = former.filter(kind=kind).order_by("-version_ref__number").first()
    if row is None:
        return None
    shown = Instance.objects.filter(site=study.site_id, sop_instance_uid=row.sop_instance_uid, removed_at=None)
    found = shown.select_related("series_ref__study_ref").first()
    if found is None:
        return None
    series = found.series_ref
    return Predecessor(series.study_ref.study_instance_uid, series.series_instance_uid, found.sop_instance_uid)


def _file(version: ReportVersion, study: Study, kind: ReportObjectKind, made: bytes) -> None:
    """Store one object as whatever arrives is stored. Raises Conflict when the archive does not take it."""
    with receive_part10(source=Source.of_ourselves(study.site)) as incoming:
        incoming.write(made)
        received = incoming.finish()
    [stored] = store_instances(received=[received])
    if stored.outcome not in {StoreOutcome.STORED, StoreOutcome.UNCHANGED}:
        raise Conflict(_("The report could not be stored in its study: %(reason)s") % {"reason": stored.reason})
    uid = sop_instance_uid_of(version=version, study=study, kind=kind)
    ReportObject.objects.create(version_ref=version, kind=kind, study_ref=study, sop_instance_uid=uid)
    log.info("report stored", report=str(version.report_ref.public_id), version=version.number, kind=kind)


@transaction.atomic
def _take_out(report: Report, code: RemovalCode, reason: str, *, study: int | None = None) -> None:
    """Hide what was stored of a report, all of it or that of one study, with a rejection note. Again changes nothing.

    What is not here any more is hidden when somebody sends it again. Where nobody sees the study, there is no note.
    """
    lock_studies(_places_of(report))
    Report.objects.select_for_update(of=("self",), no_key=True).get(pk=report.pk)
    rows = ReportObject.objects.filter(version_ref__report_ref=report, removal=None).select_related("study_ref")
    if study is not None:
        rows = rows.filter(study_ref=study)
    by_uid = {row.sop_instance_uid: row for row in rows.order_by("pk")}
    found = Instance.objects.filter(site=report.site_id, sop_instance_uid__in=list(by_uid)).select_related("series_ref")
    here = {each.sop_instance_uid: each for each in found.order_by("series_ref", "instance_number", "pk")}
    where: dict[int, list[str]] = {}
    for uid in [*here, *(by_uid.keys() - here.keys())]:
        place = here[uid].series_ref.study_ref_id if uid in here else by_uid[uid].study_ref_id
        where.setdefault(place, []).append(uid)
    lock_studies(where)
    for place, uids in where.items():
        home = Study.objects.select_related("site", "patient_ref").get(pk=place)
        made = _removal(home, [here[uid] for uid in uids if uid in here], code, reason)
        rejection.hide_by(removal=made, sop_instance_uids=uids)
        ReportObject.objects.filter(pk__in=[by_uid[uid].pk for uid in uids]).update(removal=made)


def _places_of(report: Report) -> set[int]:
    """The studies (ids) in which the objects of a report are, or were made for."""
    rows = ReportObject.objects.filter(version_ref__report_ref=report, removal=None)
    made = dict(rows.values_list("sop_instance_uid", "study_ref"))
    here = Instance.objects.filter(site=report.site_id, sop_instance_uid__in=list(made))
    return {*made.values(), *here.values_list("series_ref__study_ref", flat=True)}


def _removal(study: Study, instances: Sequence[Instance], code: RemovalCode, reason: str) -> Removal:
    """With a note in the study, where there is somebody who would see it."""
    who = ByReport(study.site_id)
    noted = None
    if instances and study.deleted_at is None:
        noted = file_note(who=who, study=study, instances=instances, code=code, reason=reason)
    return noted or Removal.objects.create(
        site_id=study.site_id,
        study_ref=study,
        study_instance_uid=study.study_instance_uid,
        code=code,
        reason=reason,
        agent=str(who),
    )


def _bring_back(taken: Removal) -> None:
    """Undo a removal of ours: the study is the examination's after all."""
    with transaction.atomic():
        removal.restore(who=ByReport(taken.site_id), removal=taken)
        ReportObject.objects.filter(removal=taken).update(removal=None)


def _key(procedure: int) -> str:
    return f"store-report:{procedure}"
