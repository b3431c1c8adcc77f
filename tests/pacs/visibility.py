"""Walking every address of the URL configuration as somebody, about a study with all that may hang on one."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.core import signing
from django.db.models import Model
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils.regex_helper import normalize
from pydicom import Dataset
from pydicom.uid import generate_uid

from integrations.models import (
    Hl7Message,
    Hl7Peer,
    MessageState,
    OrthancPeer,
    OrthancQuery,
    Webhook,
    WebhookDelivery,
)
from integrations.orthanc.identifiers import (
    instance_identifier,
    patient_identifiers,
    series_identifier,
    study_identifier,
)
from integrations.webhooks import events
from pacs import tasks  # noqa: F401  (registers the handlers)
from pacs.models import (
    Correction,
    HeldChoice,
    HeldDecision,
    HeldObject,
    HeldReason,
    ImportKind,
    ImportRun,
    Instance,
    Location,
    Removal,
    ReportObject,
    RequestAttributes,
    Series,
    Study,
    StudyToken,
    Transfer,
    TransferResult,
)
from pacs.models.secrets import encrypt
from pacs.services import corrections, held, held_cases, removal, transfers
from pacs.services.store import Source, receive_part10, store_instance
from pacs.services.study_tokens import hand_out
from radiology.models import (
    CoSignature,
    LateImages,
    Order,
    OrderAttachment,
    Patient,
    PatientDuplicate,
    PatientMerge,
    Report,
    ReportHold,
    ReportMacro,
    ReportOrigin,
    ReportSeal,
    ReportStatus,
    RequestedProcedure,
    SavedFilter,
    Site,
    User,
)
from radiology.services.attached_reports import attach_report
from radiology.services.critical_results import raise_critical
from radiology.services.merges import merge_patients
from radiology.services.order_attachments import add_attachment
from radiology.services.report_versions import Content
from tests.factories import (
    make_case,
    make_device,
    make_key_image,
    make_node,
    make_order,
    make_patient,
    make_performed,
    make_report,
    make_report_template,
    make_requested_procedure,
    make_room,
    make_step,
    make_user,
)
from tests.pacs.dicomweb import body
from tests.pacs.objects import ct, part10
from worklist.models import (
    Device,
    PeerReview,
    PeerReviewDraw,
    PerformedProcedureStep,
    QualityCheck,
    ReconciliationCase,
    ReconciliationDecision,
    Room,
    ScheduledProcedureStep,
    WorklistQuery,
)
from worklist.schedule_actions import SALT
from worklist.services.reconciliation import link

# Stand in what must not be seen, and in no question that is asked.
MARK = "ZULKARNAIN"
SECRET = (MARK.lower().encode(), b"kumala-sari")
PLAIN = {"PatientName": "TERLIHAT^ANI", "PatientID": "MRN-OPEN", "StudyDescription": "Thorax"}
HIDDEN = {"PatientName": f"{MARK}^PUTRI", "PatientID": "MRN-777", "StudyDescription": "Kumala-Sari"}
# Hold nothing of patients: the sign-in and its factors, static files, whether the server is well.
NOT_WALKED = re.compile(r"accounts/|admin/(login|logout|jsi18n|password_change|autocomplete)|healthz|readyz|static/")

TRANSFER_CONTROLS = tuple(f"transfer-{name}" for name in ("cancel", "pause", "resume", "retry"))


@dataclass
class Things:
    """All that is about one study: rows by the placeholder that an address has for them."""

    study: Study
    series: Series
    instance: Instance
    held: HeldObject | None = None
    rows: dict[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, Any]:
        """Values of placeholders whose name says what they are."""
        return {
            "study": self.study.study_instance_uid,
            "study_instance_uid": self.study.study_instance_uid,
            "series": self.series.series_instance_uid,
            "instance": self.instance.sop_instance_uid,
            "patient": self.study.patient_ref.public_id,
            "correction": self.rows["correction"],
            "room": self.rows["step"].room.public_id,
            "device": self.rows["step"].device.public_id,
            "step": self.rows["step"].public_id,
            "order": self.rows["order"],
            "procedure": self.rows["ordered"],
            "attachment": self.rows["attachment"],
            "report": self.rows["report"],
            "image": self.rows["image"],
            "key_image": self.rows["image"],
            "token": self.rows["token"],
            "template": self.rows["template"],
            "critical_result": self.rows["critical"],
            "review": self.rows["review"],
            "case": self.rows["case"].public_id,
            "merge": self.rows["merge"],
            "removals": self.rows["removal"],
            "performed": self.rows["performed"],
            "webhook": self.rows["webhook"].public_id,
            "path": "00420011",
            "frames": "1",
            **self.orthanc,
        }

    @property
    def orthanc(self) -> dict[str, Any]:
        """Placeholders of the Orthanc-shaped REST."""
        query = OrthancQuery.objects.filter(site=self.study.site_id).first()
        patient = self.study.patient_ref
        return {
            "orthanc_patient": patient_identifiers([patient])[patient.pk],
            "orthanc_study": study_identifier(self.study),
            "orthanc_series": series_identifier(self.series),
            "orthanc_instance": instance_identifier(self.instance),
            "orthanc_metadata": "LastUpdate",
            "orthanc_label": "urgent",
            "orthanc_attachment": "dicom",
            "orthanc_what": "size",
            "orthanc_path": "0010-0010",
            "orthanc_frame": "0",
            "orthanc_modality": self.rows["modality"],
            "orthanc_peer": self.rows["peer"],
            "orthanc_query": query.public_id if query else "",
            "orthanc_answer": "0",
            "orthanc_job": self.rows["transfer"],
        }

    @property
    def meant(self) -> dict[tuple[str, str], Any]:
        """Values of placeholders that say nothing by themselves, by the name of the address."""
        return {
            ("patient", "public_id"): self.study.patient_ref.public_id,
            ("orthanc-instance-metadata-one", "orthanc_metadata"): "TransferSyntax",
            ("patient-edit", "public_id"): self.study.patient_ref.public_id,
            ("patient-merge", "public_id"): self.study.patient_ref.public_id,
            ("patient-history", "public_id"): self.study.patient_ref.public_id,
            ("patient-merge-undo", "public_id"): self.rows["merge"],
            ("patient-duplicate-dismiss", "public_id"): self.rows["pair"],
            ("study-images", "pk"): self.series.pk,
            ("study-series-correct", "pk"): self.series.pk,
            ("study-undo", "public_id"): self.rows["correction"],
            ("study-restore", "public_id"): self.rows["removal"],
            ("inbox-undo", "public_id"): self.rows["decision"],
            ("inbox-picture", "pk"): self.held.pk if self.held else 0,
            ("inbox-unknown", "public_id"): self.study.patient_ref.public_id,
            ("inbox-assign", "public_id"): self.study.patient_ref.public_id,
            ("inbox-register", "public_id"): self.study.patient_ref.public_id,
            ("inbox-undo-patient", "public_id"): self.rows["correction"],
            **{(name, "public_id"): self.rows["transfer"] for name in ("transfer", *TRANSFER_CONTROLS)},
            **{
                (f"import-{name}", "public_id"): self.rows["import"]
                for name in ("upload-file", "upload-end", "run", "report", "cancel", "resume")
            },
            ("order", "public_id"): self.rows["order"],
            **{(f"peer-review-{name}", "public_id"): self.rows["review"] for name in ("one", "decline", "answer")},
            ("report", "public_id"): self.rows["report"],
            **{
                (f"report-{name}", "public_id"): self.rows["report"]
                for name in ("letter", "differences", "hold", "images-seen", "key-image")
            },
            **{
                (f"reading-{name}", "public_id"): self.rows["ordered"]
                for name in ("view", "draft", "sign", "critical", "difference", "return", "news", "keep", "key-images")
            },
            ("reading-texts-macro", "public_id"): self.rows["macro"],
            ("reading-texts-template", "public_id"): self.rows["template"],
            **{
                (f"critical-{name}", "public_id"): self.rows["critical"]
                for name in ("result", "acknowledge", "withdraw")
            },
            **{
                (f"order-{name}", "public_id"): self.rows["order"]
                for name in (
                    "edit",
                    "slip",
                    "move",
                    "remove-procedure",
                    "attach",
                    "attachment",
                    "detach",
                    "reattach",
                )
            },
            ("critical-of-patient", "public_id"): self.study.patient_ref.public_id,
            ("result", "public_id"): self.rows["ordered"],
            ("results-unseen", "mark"): "01930f5e-7c1a-7b3e-9d51-2f6f0c9a4e11",
            ("schedule-undo", "back"): self.rows["back"],
            **{
                (f"reconciliation-{name}", "public_id"): self.rows["case"].public_id
                for name in ("case", "link", "dismiss", "wrong-patient")
            },
            **{
                (name, "public_id"): self.rows["step"].public_id
                for name in ("examination", "examination-move", "examination-room", "examination-quality")
            },
            ("quality-undo", "pk"): self.rows["quality"],
            **{(f"reading-{name}", "public_id"): self.rows["read"] for name in ("claim", "release", "assign")},
            **{(f"api-reading-{name}", "procedure"): self.rows["read"] for name in ("claim", "release")},
            ("reconciliation-undo", "public_id"): self.rows["link"],
            ("studies-change-filter", "pk"): self.rows["filter"],
            ("worklist-query", "public_id"): self.rows["worklist-query"],
            ("interface-mapping", "pk"): self.rows["message"].peer_id,
            **{
                (f"interface-message{name}", "public_id"): self.rows["message"].public_id
                for name in ("", "-edit", "-replay", "-close")
            },
            ("viewer-page", "path"): "viewer",
        }

    @property
    def questions(self) -> list[dict[str, str]]:
        """Queries that would find it, where an address takes one."""
        uid, patient = self.study.study_instance_uid, self.study.patient_ref
        wado = {
            "requestType": "WADO", "studyUID": uid, "seriesUID": self.series.series_instance_uid,
            "objectUID": self.instance.sop_instance_uid,
        }  # fmt: skip
        return [
            {},
            {"StudyInstanceUID": uid, "includefield": "all"},
            {"PatientID": patient.patient_id, "includefield": "all"},
            {"PatientName": f"{MARK[:5]}*", "SOPInstanceUID": self.instance.sop_instance_uid},
            {"patient_id": patient.patient_id},
            {"StudyInstanceUIDs": uid},
            {"AccessionNumber": self.study.accession_number},
            {"patientId": patient.patient_id},
            {"patient": str(patient.public_id), "q": MARK[:5]},
            {"q": patient.patient_id},
            {"q": MARK[:5], "tab": "unknown"},
            {"with": str(patient.public_id), "q": MARK[:5]},
            {"procedure": str(self.rows["ordered"])},
            {"tab": "quarantine"},
            {"study": uid},
            {"patient_id": patient.patient_id, "modality": "CT"},
            {"code": self.rows["step"].room.code},
            {"patient_name": f"{MARK[:5]}*"},
            {"sought": MARK[:5]},
            {"day": f"{self.rows['step'].scheduled_start:%Y-%m-%d}", "view": "list", "free": "CT"},
            {"tab": "decided"},
            {"state": "linked"},
            {"series": str(self.series.pk), "instance": self.instance.sop_instance_uid},
            wado,
            {**wado, "contentType": "application/dicom"},
        ]

    def form(self) -> dict[str, Any]:
        """What a form or a program would send to do something to it."""
        return {
            "StudyInstanceUIDs": [self.study.study_instance_uid],
            "SeriesInstanceUIDs": [self.series.series_instance_uid],
            "SOPInstanceUIDs": [self.instance.sop_instance_uid],
            "node": str(self.rows["node"]),
            "reason": "no reason", "why": "no reason", "code": "113001", "version": "1", "choice": "reject",
            "patient": str(self.study.patient_ref.public_id), "with": str(self.study.patient_ref.public_id),
            "into": self.study.study_instance_uid,
            "series": [str(self.series.pk)], "AccessionNumber": "X", "was_AccessionNumber": "", "confirm": "1",
            "site": str(self.study.site_id), "study_instance_uid": self.study.study_instance_uid,
            "source_ae_title": "CT1", "patient_id": self.study.patient_ref.patient_id, "newest": "999999",
            "default": "1", "delete": "1", "action": "cancel", "move": "cancel", "to": "ARRIVED",
            "room": str(self.rows["step"].room_id),
            "start": "2031-01-01T09:00",
            "procedure": str(self.rows["procedure"]), "order": "1", "study": self.study.study_instance_uid,
            "outcome": "accepted",
        }  # fmt: skip


def store(site: Site, data_set: Any) -> None:
    with receive_part10(source=Source.of_site(site, "CT1")) as incoming:
        incoming.write(part10(data_set))
        store_instance(received=incoming.finish())


def things(site: Site, who: User, *, planned: str = "", **attributes: Any) -> Things:
    """A study with all that may hang on one: a correction, a rejection, conflicts, a transfer, an import, a filter.

    `planned` describes what was ordered, by default as the study is described.
    """
    fixed = {"StudyInstanceUID": generate_uid(), "AccessionNumber": f"ACC-{site.code[:6]}", **attributes}
    order = Dataset()
    order.RequestedProcedureID = "RP1"
    kept = ct(**fixed, EncapsulatedDocument=b"x" * 2048, SeriesNumber=1, RequestAttributesSequence=[order])
    store(site, kept)
    for number in (2, 3):
        store(site, ct(**fixed, SeriesNumber=number))
    again = ct(**{**fixed, "SOPInstanceUID": kept.SOPInstanceUID, "SeriesInstanceUID": kept.SeriesInstanceUID}, seed=9)
    again.SeriesNumber = 1
    store(site, again)
    study = Study.objects.get(site=site, study_instance_uid=fixed["StudyInstanceUID"])
    found = Things(
        study=study,
        series=Series.objects.get(study_ref=study, series_number=1),
        instance=Instance.objects.get(sop_instance_uid=kept.SOPInstanceUID),
        held=HeldObject.objects.get(sop_instance_uid=kept.SOPInstanceUID),
    )
    third = Series.objects.get(study_ref=study, series_number=3)
    rejected = removal.reject(who=who, study=study, code="113001", series=[third], reason="blurred")
    study.refresh_from_db()
    correction = corrections.correct_study(who=who, study=study, version=study.version, changes={"StudyID": "2"})
    second = ct(**{**fixed, "PatientID": "MRN-778", "PatientBirthDate": "19800808"})
    store(site, second)
    (case,) = held_cases.cases(who=who, reasons=[HeldReason.STUDY_OF_OTHER_PATIENT]).cases
    decision = held.decide(who=who, case=case.key, choice=HeldChoice.REJECT)
    name = study.patient_ref.patient_name
    twins = [make_patient(f"TWIN-{site.code[:6]}-{number}", name, site=site) for number in (1, 2)]
    merge = merge_patients(who=who, survivor=study.patient_ref, merged=twins[0], reason="registered twice")
    pair = PatientDuplicate.objects.create(site=site, one=study.patient_ref, other=twins[1], score=90, reasons=["name"])
    node = make_node(f"WS-{site.code[:6]}", site=site)
    study.refresh_from_db()
    planned_as = planned or study.study_description
    step = _step(site, study, node.title)
    performed = make_performed(
        step,
        study_instance_uid=study.study_instance_uid,
        performed_procedure_step_description=planned_as,
    )
    ordered = make_order(study.patient_ref, procedures=1, clinical_history=planned_as)
    letter = add_attachment(order=ordered, name=f"{fixed['PatientName']}.pdf", content=b"%PDF-1.7 x")
    run = ImportRun.objects.create(site=site, kind=ImportKind.FILES, places=[f"/{MARK}"], user=who)
    hand_out(studies=Study.objects.filter(pk=study.pk))
    answer = {"0020000D": {"vr": "UI", "Value": [study.study_instance_uid]}, "00100010": {"vr": "LO", "Value": [name]}}
    OrthancQuery.objects.create(site=site, node=node, level="STUDY", keys={"PatientName": name}, answers=[answer])
    found.study = study
    report = make_report(ordered.requested_procedures.get(), findings=planned_as)
    stored = ReportObject.objects.create(
        version_ref=report.versions.get(), kind="SR", study_ref=study, sop_instance_uid=generate_uid()
    )
    watched = {"report_ref": report, "site": site}
    moment = {"first_at": report.created_at, "last_at": report.created_at}
    image = make_key_image(report, found.instance, caption=planned_as)
    found.rows = {
        "co_signature": CoSignature.objects.create(number=1, resident=who, resident_name=name, **watched).pk,
        "hold": ReportHold.objects.create(kind="patient", study_instance_uid=fixed["StudyInstanceUID"], **watched).pk,
        "late": LateImages.objects.create(number_of_images=1, author=who, **moment, **watched).pk,
        "image": image,
        "token": ReportSeal.objects.get(version_ref__report_ref=report).token,
        "correction": correction.public_id,
        "removal": rejected.public_id,
        "decision": decision.public_id,
        "node": node.pk,
        "modality": node.title,
        "peer": OrthancPeer.objects.create(site=site, name=f"P-{site.code[:6]}", url="https://127.0.0.1:9/").name,
        "transfer": transfers.send(who=who, node=node, study=study).public_id,
        "import": run.public_id,
        "performed": performed.sop_instance_uid,
        "order": ordered.public_id,
        "report": report.public_id,
        "report_object": stored.pk,
        "review": _reviewed(site, report, who).public_id,
        "critical": raise_critical(
            procedure=ordered.requested_procedures.get(), finding=planned_as, category="red", who=None
        )[0].public_id,
        "macro": ReportMacro.objects.create(site=site, abbreviation=f"m-{site.code[:6].lower()}", text=MARK).public_id,
        "template": make_report_template(f"T-{site.code[:6]}", site=site, name=MARK).public_id,
        "ordered": ordered.requested_procedures.get().public_id,
        "attachment": letter.public_id,
        "worklist-query": scheduled(study, planned_as).public_id,
        "message": told_of(study.patient_ref),
        "step": step,
        "back": signing.dumps(
            {
                "step": step.pk,
                "after": 1,
                "status": "ARRIVED",
                "room": None,
                "device": None,
                "start": None,
                "end": None,
            },
            salt=SALT,
        ),
        "merge": merge.public_id,
        "pair": pair.public_id,
        "filter": SavedFilter.objects.create(user=who, name=MARK, query="q=1").pk,
        "webhook": _webhook(site),
        "quality": QualityCheck.objects.create(site=site, study_ref=study, outcome="accepted", user=who).pk,
        **_reconciled(study, who),
    }
    attach_report(  # so that there are two versions to be compared
        procedure=report.requested_procedure_ref,
        status=ReportStatus.AMENDED,
        content=Content({"findings": f"{planned_as}."}),
        origin=ReportOrigin.REST,
    )
    found.study.refresh_from_db()
    return found


def _reviewed(site: Site, report: Report, who: User) -> PeerReview:
    """A review of a report by `who`, of whom that is asked whoever they are."""
    draw = PeerReviewDraw.objects.create(site=site, month=report.created_at.date().replace(day=1))
    author = make_user(f"author-{site.code[:6]}", site=site)
    return PeerReview.objects.create(
        site=site, draw=draw, report_version=report.versions.get(), modality="CT", author=author, reviewer=who
    )


def _step(site: Site, study: Study, title: str) -> ScheduledProcedureStep:
    """An examination of the study's patient in a room and with a device of their own."""
    order = make_order(study.patient_ref, accession_number=study.accession_number)
    room = make_room(f"R-{site.code[:6]}", site=site)
    return make_step(make_requested_procedure(order), device=make_device(title, room=room))


def scheduled(study: Study, planned: str) -> WorklistQuery:
    """An examination that the patient is to have, and a device's question for it."""
    order = make_order(study.patient_ref, accession_number=f"ACC-MWL-{study.site.code[:6]}")
    make_step(make_requested_procedure(order, requested_procedure_description=planned[:64]))
    keys = {"00100010": study.patient_ref.patient_name}
    return WorklistQuery.objects.create(site=study.site, calling_ae_title="CT1", digest="1", keys=keys)


def _webhook(site: Site) -> Webhook:
    """Somebody is told of the site's events, and was told of one."""
    url, here = f"https://{MARK}.example/", "https://pacs.example"
    made = Webhook.objects.create(
        site=site, name=MARK, url=url, events=["study.complete"], base_url=here, secret_encrypted=encrypt("x")
    )
    events.tell(event="study.complete", about=lambda: [events.Happening(site.pk, MARK, {})])
    return made


def _reconciled(study: Study, who: User) -> dict[str, Any]:
    """The study linked to an order of its patient, and another procedure that it might be linked to."""
    order = make_order(study.patient_ref)
    procedure, other = make_requested_procedure(order), make_requested_procedure(order)
    case = make_case(study, procedure, other)
    decision = link(who=who, case=case, procedure=procedure)
    case.refresh_from_db()
    return {"case": case, "link": decision.public_id, "procedure": other.public_id, "read": procedure.public_id}


@dataclass(frozen=True)
class Address:
    """One pattern of the URL configuration. `named` says whether it has placeholders."""

    route: str
    name: str
    callback: Any
    pattern: Any

    @property
    def keys(self) -> list[str]:
        return list(self.pattern.regex.groupindex)

    @property
    def is_api(self) -> bool:
        return hasattr(self.callback, "cls") or hasattr(self.callback, "view_class")

    def path(self, of: Things) -> str:
        """The address of `of`. Raises KeyError for a placeholder that nobody explained."""
        path = "/" + self.route
        for key in self.keys:
            value = of.meant[self.name, key] if (self.name, key) in of.meant else of.named[key]
            path = path.replace(f"%({key})s", str(value))
        return path


def addresses(resolver: Any = None, prefix: str = "") -> Iterator[Address]:
    for each in (resolver or get_resolver()).url_patterns:
        ((route, _),) = normalize(each.pattern.regex.pattern)[:1]
        if isinstance(each, URLPattern):
            yield Address(prefix + route, each.name or "", each.callback, each.pattern)
        elif not NOT_WALKED.match(prefix + route):
            yield from addresses(each, prefix + route)


def walked() -> list[Address]:
    return [each for each in addresses() if not NOT_WALKED.match(each.route) and not each.route.startswith("admin/")]


def told_of(patient: Patient) -> Hl7Message:
    """An HL7 message about the patient that could not be done."""
    peer = Hl7Peer.objects.create(name=f"HIS {patient.site_id}", site=patient.site, addresses=["192.0.2.7"])
    raw = f"MSH|^~\\&|HIS|H|SINAR|R|20260101||ADT^A08|M1|P|2.5\rPID|1||{patient.patient_id}||{patient.patient_name}\r"
    return Hl7Message.objects.create(
        site=patient.site,
        peer=peer,
        raw=raw.encode(),
        size=len(raw),
        content_sha256=b"",
        message_code="ADT",
        trigger_event="A08",
        state=MessageState.FAILED,
        error="Could not be done.",
        patient_ref=patient,
    )


def of_admin(of: Things) -> list[str]:
    """The admin's pages of the rows that are about `of`."""
    study = of.study.pk
    rows: dict[type[Model], Any] = {
        Study: study,
        Series: of.series.pk,
        Instance: of.instance.pk,
        Patient: of.study.patient_ref_id,
        RequestAttributes: RequestAttributes.objects.filter(series_ref=of.series)[0].pk,
        Location: Location.objects.filter(instance_ref=of.instance)[0].pk,
        Correction: Correction.objects.filter(study_ref=study)[0].pk,
        Removal: Removal.objects.filter(study_ref=study)[0].pk,
        HeldObject: of.held.pk if of.held else 0,
        HeldDecision: HeldDecision.objects.get(public_id=of.rows["decision"]).pk,
        Transfer: Transfer.objects.get(public_id=of.rows["transfer"]).pk,
        ImportRun: ImportRun.objects.get(public_id=of.rows["import"]).pk,
        Webhook: of.rows["webhook"].pk,
        WebhookDelivery: WebhookDelivery.objects.get(webhook=of.rows["webhook"]).pk,
        StudyToken: StudyToken.objects.get(study_ref=study).pk,
        ReportObject: of.rows["report_object"],
        CoSignature: of.rows["co_signature"],
        ReportHold: of.rows["hold"],
        LateImages: of.rows["late"],
        ReportSeal: ReportSeal.objects.get(token=of.rows["token"]).pk,
        Hl7Message: of.rows["message"].pk,
    }
    known = [each.route for each in addresses() if each.route.startswith("admin/")]
    found = []
    for model, pk in rows.items():
        begin = f"admin/{model._meta.app_label}/{model._meta.model_name}/"
        mine = [route for route in known if route.startswith(begin)]
        found += ["/" + route.replace("%(object_id)s", str(pk)) for route in mine]
    return found


def caller(who: User | None = None, token: str = "") -> Client:
    client = Client(headers={"Authorization": f"Bearer {token}"}) if token else Client()
    if who is not None:
        client.force_login(who, backend="django.contrib.auth.backends.ModelBackend")
    return client


def state() -> dict[tuple[str, Any], str]:
    """All rows about studies; what looking and refusing leave behind (audit, sessions) is not among them."""
    models = [
        Study, Series, Instance, Location, Patient, Removal, Correction, HeldObject, HeldDecision, Transfer,
        TransferResult, ImportRun, SavedFilter, Order, OrderAttachment, RequestedProcedure, ScheduledProcedureStep,
        Room, Device, PerformedProcedureStep, QualityCheck, ReconciliationCase, ReconciliationDecision, PatientMerge,
        PeerReview, PatientDuplicate, Webhook, WebhookDelivery, Hl7Message, CoSignature, ReportHold, LateImages,
    ]  # fmt: skip
    return {
        (model.__name__, row["id"]): json.dumps(row, default=_text)
        for model in models
        for row in model._base_manager.order_by("pk").values()
    }


def _text(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, memoryview) else str(value)


def changed(before: dict[tuple[str, Any], str]) -> list[tuple[str, Any]]:
    """Which rows are not as they were; what somebody made for themselves is not among them."""
    now = state()
    return [key for key, row in before.items() if now.get(key) != row]


def ask(client: Client, method: str, path: str, of: Things, query: dict[str, str], form: str = "") -> Any:
    address = f"{path}?{urlencode(query)}" if query else path
    row = of.rows["step"] if "procedure-steps" in path else of.rows["case"] if "reconciliation" in path else of.study
    headers = {"If-Match": f'"{row.version}"', "Accept": "*/*"}
    if method == "GET":
        return client.get(address, headers=headers)
    if form == "json":
        sent: dict[str, str | None] = {"reason": "no reason", "accession_number": "X", "study_description": "X"}
        if "procedure-steps" in path:
            sent = {"reason": "no reason"} if method == "POST" else {"start": None, "room": None}
        elif "reconciliation" in path:
            sent["procedure"] = str(of.rows["procedure"])
        elif "/patients" in path:
            sent = {"reason": "no reason", "merged": str(of.study.patient_ref.public_id)}
            if method == "PATCH" or "candidates" in path or path.endswith("/patients"):
                sent = {"reason": "no reason", "patient_name": "X"}
        return client.generic(method, address, json.dumps(sent), content_type="application/json", headers=headers)
    return client.generic(
        method, address, urlencode(of.form(), doseq=True), content_type="application/x-www-form-urlencoded",
        headers=headers,
    )  # fmt: skip


def walk(
    client: Client, of: Things, *, skip: frozenset[str] = frozenset(), records: frozenset[str] = frozenset()
) -> list[str]:
    """Ask for everything in every way; what gave something away or answered as if it were there.

    Addresses in `skip` may answer, but tell nothing; those in `records` may tell.
    """
    holes = []
    for each in walked():
        queries = of.questions if not each.keys or "ohif" in each.route or each.name == "study-headers" else [{}]
        tries = [("GET", query, "") for query in queries]
        tries += [("POST", {}, "form"), ("POST", {}, "json")]
        tries += [("PATCH", {}, "json"), ("DELETE", {}, "json")] if each.is_api else []
        path, not_asked = each.path(of), False
        for method, query, form in tries:
            if method == "GET" and query and not_asked:
                continue
            response = ask(client, method, path, of, query, form)
            not_asked = method == "GET" and response.status_code == 405
            content = body(response).lower()
            named = bool(each.keys) and each.name not in skip | {"viewer-page"}
            there = named and response.status_code < 300 and content != b"[]"  # a search that finds nothing
            told = any(secret in content for secret in SECRET) and each.name not in records
            # 501 and 502 are answers: not done here, and a node that does not answer.
            if told or there or response.status_code in {500, 503, 504, 507}:
                holes.append(f"{method} {each.route} {query} {form}: {response.status_code}")
    return holes
