"""Carries out `/anonymize`, `/modify`, `/merge` and `/split` where they make copies.

A job reads stored objects, changes them and stores what comes of it as new ones, in batches; how far it is stands in
its row. Done twice, it makes the same objects, which the archive keeps once.
"""

import contextlib
import time
from collections.abc import Iterator

import structlog

from integrations.models import OrthancJob, OrthancOrigin
from integrations.orthanc.deleting import delete_selected
from integrations.orthanc.identifiers import identifiers_of
from integrations.orthanc.joining import JOINING, Joining, joining_of
from integrations.orthanc.lookup import LEVELS, above
from integrations.orthanc.modification import Modification
from integrations.orthanc.selection import Selection, objects_left, objects_of
from pacs.models import Instance, Location, Study
from pacs.services.attributes import Level
from pacs.services.copies import attributes_to_change, copy_with
from pacs.services.store import Received, Source, Stored, StoreOutcome, receive, store_instances
from radiology.errors import Conflict, NotAllowed, OutOfResources, RadiologyError
from radiology.models import AuditAction, Job
from radiology.services import audit, jobs
from radiology.services.jobs import handles

log = structlog.get_logger(__name__)

KIND = "integrations.orthanc_copies"
BATCH = 16
EVERY_SECONDS = 5.0
Placed = tuple[list[int], Location]
REASON = "Replaced by copies over the Orthanc REST API"


def modification_of(row: OrthancJob) -> Modification | Joining:
    """The request of a job, read again."""
    if row.kind in JOINING:
        return joining_of(row)
    return Modification.of_request(
        row.request,
        level=Level(row.changed_level),
        anonymizes=row.kind == OrthancJob.Kind.ANONYMIZE,
        secret=row.secret,
        patient_name=f"Anonymized{row.pk}",
    )


@handles(KIND)
def make_copies(job: Job) -> None:
    """Run a job of any of these kinds. What was not stored fails it, when all has been tried."""
    row = OrthancJob.objects.select_related("site", "user", "token__client").get(job=job)
    _Making(row, job).work()


class _Making:
    def __init__(self, row: OrthancJob, job: Job) -> None:
        self._row = row
        self._job = job
        self._modification = modification_of(row)
        self._source = Source.of_site(row.site)
        self._reached: list[int] = row.reached
        self._created: dict[tuple[str, str], None] = {}
        self._done = self._failed = 0
        self._why = ""
        if row.reached:  # it was paused; cut short after this, it begins anew
            OrthancJob.objects.filter(pk=row.pk).update(reached=[])
            self._created = dict.fromkeys((level, name) for level, name in row.created)
            self._done = row.done
        self._next_beat = 0.0

    def work(self) -> None:
        try:
            for batch in _batches(objects_left(self._row.site_id, self._row.selections, self._reached)):
                self._copy([location for _, location in batch])
                self._reached = batch[-1][0]
                self._beat()
        except jobs.Paused:
            self._write_down([] if self._failed else self._reached)  # what failed is tried again
            raise
        self._write_down([])
        if self._failed:
            raise Conflict(f"{self._failed} of {self._done + self._failed} objects were not stored: {self._why}")
        if not self._row.keeps_source:
            self._delete_sources()
        audit.record(
            event=f"orthanc.{self._row.kind}.done",
            action=AuditAction.CREATE,
            who=self._row.by,
            site_id=self._row.site_id,
            detail={"job": str(self._row.public_id), "instances": self._done},
        )

    def _copy(self, batch: list[Location]) -> None:
        made: list[tuple[Location, Received]] = []
        try:
            for location in batch:
                with self._told():
                    made.append((location, self._received(location)))
                self._keep()
        except BaseException:
            for _, received in made:
                received.discard()
            raise
        stored = store_instances(received=[received for _, received in made])
        here = self._settle([location for location, _ in made], stored)
        self._note(here)
        self._done += len(here)

    def _received(self, location: Location) -> Received:
        attributes = attributes_to_change(location=location)
        self._modification.apply(attributes)
        copy = copy_with(
            location=location, attributes=attributes, transfer_syntax_uid=self._modification.transfer_syntax_uid
        )
        with receive(source=self._source, transfer_syntax_uid=copy.transfer_syntax_uid) as incoming:
            for block in copy.blocks:
                incoming.write(block)
                self._keep()
            return incoming.finish()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """One object that cannot be copied costs no other; but where there is no room, there is none for any."""
        try:
            yield
        except OutOfResources:
            raise
        except RadiologyError as error:
            self._fail(error.message)

    def _settle(self, sources: list[Location], stored: list[Stored]) -> list[tuple[Location, Stored]]:
        found = []
        for location, each in zip(sources, stored, strict=True):
            if each.outcome in {StoreOutcome.STORED, StoreOutcome.UNCHANGED}:
                found.append((location, each))
            else:
                self._fail(each.reason or "The archive did not take it.")
        return found

    def _fail(self, why: str) -> None:
        self._failed += 1
        self._why = self._why or why

    def _keep(self) -> None:
        """Keep the job while one object takes long."""
        if time.monotonic() > self._next_beat:
            self._beat()

    def _beat(self) -> None:
        """Show how far it is. Raises RadiologyError when the job was cancelled meanwhile."""
        self._next_beat = time.monotonic() + EVERY_SECONDS
        jobs.extend_lease(job=self._job, progress=self._done + self._failed, total=self._row.total)
        OrthancJob.objects.filter(pk=self._row.pk).update(done=self._done, failed=self._failed)

    def _note(self, here: list[tuple[Location, Stored]]) -> None:
        """Remember of what each new resource was made, and its identifier for the answer."""
        rows = {
            row.sop_instance_uid: row
            for row in Instance.objects.filter(
                site=self._row.site_id, sop_instance_uid__in=[each.sop_instance_uid for _, each in here]
            ).select_related("series_ref__study_ref__patient_ref")
        }
        for level in Level:
            pairs = {}
            for location, each in here:
                new = above(Level.INSTANCE, rows[each.sop_instance_uid], level)
                pairs[new.pk] = (new, above(Level.INSTANCE, location.instance_ref, level))
            names = identifiers_of(level, [new for new, _ in pairs.values()])
            sources = identifiers_of(level, [old for _, old in pairs.values()])
            self._created.update({(level.value, name): None for name in names})
            if self._row.kind in JOINING:
                continue  # as in Orthanc, these do not tell where they come from
            OrthancOrigin.objects.bulk_create(
                (
                    OrthancOrigin(
                        site=self._row.site, level=LEVELS[level], row=new.pk, source=source,
                        anonymized=self._row.kind == OrthancJob.Kind.ANONYMIZE,
                    )
                    for (new, old), source in zip(pairs.values(), sources, strict=True)
                    if new.pk != old.pk
                ),
                ignore_conflicts=True,
            )  # fmt: skip

    def _write_down(self, reached: list[int]) -> None:
        if not self._done + self._failed and self._row.created:
            return  # it had been done, and its sources are gone
        self._row.reached = reached
        self._row.done, self._row.failed = self._done, self._failed
        self._row.created = [list(each) for each in self._created]
        self._row.save(update_fields=["done", "failed", "created", "reached"])

    def _delete_sources(self) -> None:
        who = self._row.by
        if who is None:
            raise NotAllowed("Whoever asked for this is no more: nobody may delete the source.")
        if sum(objects_of(self._row.site_id, named).count() for named in self._row.selections) != self._done:
            raise Conflict("Other objects came meanwhile: the source stays beside its copies.")
        wanted = [study for study, *_ in self._row.selections]
        here = Study.objects.visible_to(who).filter(site=self._row.site_id)
        studies = {study.study_instance_uid: study for study in here.filter(study_instance_uid__in=wanted)}
        selections = [Selection(studies[uid], *named) for uid, *named in self._row.selections if uid in studies]
        delete_selected(who=who, selections=selections, reason=REASON)


def _batches(locations: Iterator[Placed]) -> Iterator[list[Placed]]:
    batch: list[Placed] = []
    for each in locations:
        batch.append(each)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
