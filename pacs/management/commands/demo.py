"""`manage.py demo`: invented patients and images, sent through the product's own doors."""

import time
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.db.models import Count, F, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from pacs.demo.afterwards import Afterwards
from pacs.demo.delivery import Destination, deliver, parcels
from pacs.demo.labels import Label
from pacs.demo.studies import NODES, Programme, Scale, Shipment
from pacs.models import ApplicationEntity, HeldObject, Instance, Removal
from radiology.errors import RadiologyError
from radiology.models import ApiClient, Scope, Site
from radiology.services.access import issue_token, revoke_token

CLIENT = "demo"
TOKEN_LIFE = timedelta(hours=1)  # it is revoked at the end; this is for when there is no end


class Command(BaseCommand):
    help = (
        "Send demonstration patients and images through C-STORE and STOW-RS. May be repeated: UIDs and dates are those "
        "of the first time, studies that are complete are left out, and what arrives again changes nothing."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--size", type=int, default=Scale.size, help="Pixels along one side of the CT images (default: 512)."
        )
        parser.add_argument(
            "--spacing", type=float, default=Scale.spacing, help="Millimetres between CT slices (default: 2.5)."
        )

    def handle(self, *, size: int, spacing: float, **options: Any) -> None:
        if not 64 <= size <= 1024 or not 0.5 <= spacing <= 60:
            raise CommandError(_("The size lies between 64 and 1024 pixels, the spacing between 0.5 and 60 mm."))
        scale = Scale(size, spacing, max(spacing, Scale.prior_spacing))
        began = time.monotonic()
        site = Site.objects.default()
        try:
            sent = self._send_all(scale, site)
        except RadiologyError as error:
            raise CommandError(error.message) from error
        except DatabaseError as error:
            raise CommandError(_("The database does not answer, or has no tables yet: type `make run`.")) from error
        self.stdout.write(
            _("%(sent)d demo objects sent in %(seconds)d s.") % {"sent": sent, "seconds": time.monotonic() - began}
        )

    def _send_all(self, scale: Scale, site: Site) -> int:
        token, text = issue_token(
            name=CLIENT,
            scopes=[Scope.STUDIES_READ, Scope.STUDIES_WRITE, Scope.STUDIES_DELETE],
            site=site,
            expires_at=timezone.now() + TOKEN_LIFE,
        )
        try:
            self._register_nodes(site)
            first_sent = ApiClient.objects.get(name=CLIENT).created_at.astimezone(ZoneInfo(site.time_zone))
            programme = Programme(Label(first_sent), scale)
            shipments = programme.shipments()
            sent = self._deliver(programme, shipments, site, text)
            Afterwards(who=token, site=site, shipments=shipments).run()
            for step in settings.DEMO_STEPS:
                import_string(step)(site=site)
            return sent
        finally:
            revoke_token(token=token)

    def _deliver(self, programme: Programme, shipments: list[Shipment], site: Site, token: str) -> int:
        missing = self._missing(shipments, site)
        for place, shipment in enumerate(shipments):
            if place not in missing:
                self.stdout.write(_("%(name)s: there already") % {"name": _name(shipment)})
        destination = Destination(
            self._host, settings.SINAR_DICOM_PORTS[0], settings.SINAR_HTTP_PORT, settings.DIMSE["AE_TITLE"], token
        )
        total = 0
        for place, count in deliver(parcels(programme, shipments, missing), destination):
            number = ngettext("%(count)d object", "%(count)d objects", count) % {"count": count}
            self.stdout.write(f"{_name(shipments[place])}: {number}")
            self.stdout.flush()
            total += count
        return total

    def _missing(self, shipments: list[Shipment], site: Site) -> list[int]:
        """The places of those that are not here in full; what people hid, moved or decided on counts as here."""
        uids = [shipment.examination.study_instance_uid for shipment in shipments]
        received = Coalesce(
            NullIf(F("series_ref__received_study_instance_uid"), Value("")),
            F("series_ref__study_ref__study_instance_uid"),
        )
        found = Instance.objects.filter(site=site).annotate(received=received).filter(received__in=uids)
        counts = dict(found.values_list("received").annotate(Count("pk")).order_by())
        held = HeldObject.objects.filter(site=site, sop_instance_uid__in=[each.held for each in shipments if each.held])
        there = set(held.values_list("sop_instance_uid", flat=True))
        removed = Removal.objects.filter(site=site, study_instance_uid__in=uids, study_ref=None)
        purged = set(removed.values_list("study_instance_uid", flat=True))
        return [
            place
            for place, shipment in enumerate(shipments)
            if shipment.examination.study_instance_uid not in purged
            and (
                shipment.held not in there
                if shipment.held
                else counts.get(shipment.examination.study_instance_uid, 0) < shipment.count
            )
        ]

    def _register_nodes(self, site: Site) -> None:
        """The demonstration's modalities: they may send from this machine, and nothing else."""
        for title, modalities in NODES.items():
            if not ApplicationEntity.objects.filter(title=title).exists():
                ApplicationEntity.objects.create(
                    title=title,
                    host=self._host,
                    port=11113,
                    description=_("Demonstration: %(modalities)s") % {"modalities": modalities},
                    site=site,
                    check_address=True,
                    may_query=False,
                    may_retrieve=False,
                    may_receive=False,
                )

    @property
    def _host(self) -> str:
        return "127.0.0.1" if settings.SINAR_BIND in ("", "0.0.0.0", "::") else settings.SINAR_BIND  # noqa: S104


def _name(shipment: Shipment) -> str:
    return f"{shipment.examination.at:%Y-%m-%d}  {shipment.examination.description}"
