"""A place to try every interface out: a site of its own with a catalogue, a patient, an order and its images.

Whatever is done there stays there, because a token sees the site of its client and nothing else. The client is kept
when the sandbox is emptied: it moves on to a new, empty site, so that tokens in programs go on working.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from integrations.models import Hl7Peer, Webhook, WebhookNetwork
from integrations.webhooks import services as webhooks
from pacs.demo.labels import equipment, finish, pixels
from pacs.models import ApplicationEntity, Study
from pacs.services.removal import delete_study
from pacs.services.store import Source, receive_part10, store_instance
from radiology.errors import Conflict
from radiology.models import ApiClient, ApiToken, Order, Patient, RequestedProcedure, Scope, Site, User
from radiology.services.access import issue_token
from radiology.services.catalogue_csv import import_csv, usual_procedures
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.orders import place_order
from radiology.services.registration import register_patient
from radiology.services.usual_templates import add_usual_templates

CLIENT = "sandbox"
CODE = "SANDBOX"
PATIENT = {"patient_id": "001234", "patient_name": "COBA^SITI", "patient_birth_date": "19850417", "patient_sex": "F"}
ACCESSION_NUMBER = "SANDBOX0001"
PROCEDURE = "CTHEAD"
SIDE, SLICES = 128, 5


@dataclass(frozen=True)
class Sandbox:
    """What there is to try, and the token to try it with."""

    site: Site
    token: str
    patient: Patient
    order: Order
    study: Study


def make_sandbox(*, is_reset: bool = False) -> Sandbox:
    """The sandbox with a new token; older tokens go on working. `is_reset` empties it first.

    Raises Conflict when another client or site has its name.
    """
    with transaction.atomic():
        client = ApiClient.objects.select_for_update().select_related("site").filter(name=CLIENT).first()
        if client is not None and not client.site.code.startswith(CODE):
            raise Conflict(_("The client “sandbox” belongs to a real site: rename it first."))
        if client is None and Site.objects.filter(code__startswith=CODE).exists():
            raise Conflict(_("There is a site SANDBOX without its client: rename one of them first."))
        site = client.site if client is not None else _new_site()
        if is_reset and client is not None:
            site = _moved_on(client)
        token, text = issue_token(name=CLIENT, scopes=list(Scope.values), site=site)
        patient, order = _patient_and_order(site, token)
    study = _images(site, order)
    return Sandbox(site, text, patient, order, study)


def _new_site() -> Site:
    number = Site.objects.filter(code__startswith=CODE).count() + 1
    code = CODE if number == 1 else f"{CODE}-{number}"
    site = Site.objects.create(code=code, name=f"Sandbox {number}", issuer_of_patient_id=code, keeps_deleted_for=1)
    import_csv(site=site, text=usual_procedures())
    add_usual_templates(site)
    return site


def _moved_on(client: ApiClient) -> Site:
    """A new site for the client and all that was configured for it; what it had is deleted."""
    old, new = client.site, _new_site()
    who = ApiToken(client=client, scopes=list(Scope.values))
    for study in Study.objects.visible_to(who).iterator():
        delete_study(who=who, study=study, reason="The sandbox was emptied.")
    for webhook in Webhook.objects.filter(site=old, ended_at=None):
        webhooks.end(webhook=webhook, who="sandbox")
    for model in (ApplicationEntity, Hl7Peer, User, WebhookNetwork):
        model._default_manager.filter(site=old).update(site=new)
    client.site = new
    client.save(update_fields=["site"])
    return new


def _patient_and_order(site: Site, who: ApiToken) -> tuple[Patient, Order]:
    patient = Patient.objects.filter(site=site, patient_id=PATIENT["patient_id"]).first()
    if patient is None:
        patient = register_patient(who=who, values=PATIENT, site=site)
    order = place_order(
        site=site,
        patient=patient,
        procedures=[ProcedureRequest(code=PROCEDURE)],
        values={"reason_for_the_requested_procedure": "Sandbox"},
        who=who,
        client_key=CODE,
        accession_number=ACCESSION_NUMBER,
        asks_safety=False,
        accept_warnings=True,
    )
    return patient, order


def _images(site: Site, order: Order) -> Study:
    """The images of the order, as a device would send them; those that are there stay."""
    procedure = order.requested_procedures.get()
    if not Study.objects.filter(site=site, study_instance_uid=procedure.study_instance_uid).exists():
        for image in _slices(order, procedure):
            with receive_part10(source=Source.of_site(site, CODE)) as incoming:
                incoming.write(image)
                store_instance(received=incoming.finish())
    found: Study = Study.objects.get(site=site, study_instance_uid=procedure.study_instance_uid)
    return found


def _slices(order: Order, procedure: RequestedProcedure) -> Iterator[bytes]:
    """A few slices of an egg in a skull, so that a viewer shows something."""
    now, uid = timezone.now(), procedure.study_instance_uid
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    distance = np.hypot((rows - SIDE / 2) / 1.2, columns - SIDE / 2)
    for number in range(1, SLICES + 1):
        size = SIDE * (0.30 + 0.02 * number)
        image = np.where(distance < size, 1100, np.where(distance < size + 4, 2000, 0)).astype(np.uint16)
        image[np.hypot(rows - SIDE / 2, columns - SIDE * 0.4) < 6 + number] = 1020
        ds = Dataset()
        for keyword, value in PATIENT.items():
            setattr(ds, {"patient_id": "PatientID"}.get(keyword, keyword.title().replace("_", "")), value)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = uid, f"{uid}.1"
        ds.AccessionNumber, ds.StudyID = order.accession_number, "1"
        ds.StudyDescription, ds.ReferringPhysicianName = procedure.requested_procedure_description, ""
        ds.StudyDate = ds.SeriesDate = ds.ContentDate = f"{now:%Y%m%d}"
        ds.StudyTime = ds.SeriesTime = ds.ContentTime = f"{now:%H%M%S}"
        ds.TimezoneOffsetFromUTC = "+0000"
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", 1, number
        ds.SeriesDescription, ds.BodyPartExamined = "Sandbox", "HEAD"
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = f"{uid}.2", ""
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient = [-100, -100, 5 * number]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.KVP = [1.5, 1.5], 5, 120
        ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
        ds.WindowCenter, ds.WindowWidth = 40, 400
        equipment(ds, station=CODE, model="Sandbox")
        pixels(ds, image, bits=16)
        finish(ds, CTImageStorage, f"{uid}.1.{number}")
        written = io.BytesIO()
        ds.save_as(written, enforce_file_format=True)
        yield written.getvalue()
