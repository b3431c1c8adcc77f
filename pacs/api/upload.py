"""Objects come in over the API: a DICOM file, a ZIP of them, or files of a form; each is answered for."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import structlog
from django.http import HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from pacs.api.access import ApiView
from pacs.api.bodies import File, files_of
from pacs.dicomweb.addresses import origin
from pacs.dicomweb.multipart import Truncated
from pacs.services.media import (
    ZIP_MAGIC,
    Candidate,
    NoDicom,
    Refusal,
    candidates_of_zip,
    receive_candidate,
    spooled,
)
from pacs.services.store import Received, Source, StoreOutcome, store_instances
from radiology.api.operations import operation
from radiology.errors import CannotUnderstand, InvalidValue, OutOfResources, RadiologyError, outcome_of, problem
from radiology.models import AuditAction, Site
from radiology.services import audit

log = structlog.get_logger(__name__)

BATCH = 64
BATCH_BYTES = 256 * 1024 * 1024
LARGEST_ZIP = 16 * 1024**3
# Of more objects the answer names those that were not stored, and counts the others.
MOST_NAMED = 10_000
SKIPPED, REFUSED = "skipped", "refused"


class UploadedObject(serializers.Serializer):
    """What became of one file."""

    name = serializers.CharField(help_text="The file's name in the ZIP or form; empty for a single object.")
    outcome = serializers.ChoiceField(
        choices=[*(each.value for each in StoreOutcome), SKIPPED],
        help_text="`stored`; `unchanged`: it was there already; `held`: kept aside because it contradicts what is "
        "there, until a person decides; `refused`: see `reason`; `skipped`: no DICOM file.",
    )
    reason = serializers.CharField()
    sop_instance_uid = serializers.CharField()
    series_instance_uid = serializers.CharField()
    study_instance_uid = serializers.CharField()


class UploadedStudy(serializers.Serializer):
    """A study that objects went to."""

    study_instance_uid = serializers.CharField()
    instances = serializers.IntegerField(help_text="How many of this upload.")
    url = serializers.CharField()


class UploadReport(serializers.Serializer):
    """What became of an upload."""

    stored = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    held = serializers.IntegerField()
    refused = serializers.IntegerField()
    skipped = serializers.IntegerField()
    studies = UploadedStudy(many=True)
    objects = UploadedObject(many=True)


EXAMPLE = OpenApiExample(
    "One object stored",
    value={
        "stored": 1,
        "unchanged": 0,
        "held": 0,
        "refused": 0,
        "skipped": 0,
        "studies": [
            {
                "study_instance_uid": "1.2.840.113619.2.55.3.4271045733.996",
                "instances": 1,
                "url": "https://pacs.hospital.com/api/v1/studies/1.2.840.113619.2.55.3.4271045733.996",
            }
        ],
        "objects": [
            {
                "name": "",
                "outcome": "stored",
                "reason": "",
                "sop_instance_uid": "1.2.840.113619.2.55.3.4271045733.996.1.1",
                "series_instance_uid": "1.2.840.113619.2.55.3.4271045733.996.1",
                "study_instance_uid": "1.2.840.113619.2.55.3.4271045733.996",
            }
        ],
    },
    response_only=True,
    status_codes=["201"],
)


class Upload(ApiView):
    """`POST /studies` and `/instances`."""

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """A form would be parsed by whoever looks for a CSRF token in it: nobody but this view reads the body."""
        request.content_type = ""
        return super().initialize_request(request, *args, **kwargs)

    @operation(
        tag="Uploads",
        summary="Store objects",
        description="The body is a DICOM file, a ZIP of DICOM files (folders and a DICOMDIR in it do not matter), or a "
        "form with such files. It is read as a stream: a ZIP may have 16 GB, anything else 64 GB. Each object stands "
        "for itself: what is wrong with one does not keep the others out. Once the answer says `stored`, the object is "
        "on disk and found by every service. Sending it again is harmless. `POST /instances` does the same.",
        body={
            "application/dicom": OpenApiTypes.BINARY,
            "application/zip": OpenApiTypes.BINARY,
            "multipart/form-data": {
                "type": "object",
                "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            },
        },
        answers={
            201: OpenApiResponse(UploadReport, description="At least one object is new, none was refused."),
            200: OpenApiResponse(UploadReport, description="Nothing is new (`unchanged`, `held`), none was refused."),
            207: OpenApiResponse(UploadReport, description="Some were taken, some refused: see `objects`."),
        },
        errors=[409, 413, 415, 507],
        examples=[EXAMPLE],
    )
    def post(self, request: Any) -> HttpResponse:
        uploads = Uploads(Source.of_site(Site.objects.get(pk=request.user.site_id)))
        try:
            for file in files_of(request):
                uploads.take(file)
            uploads.store()
        except (Truncated, UnreadablePostError) as error:
            uploads.store()
            uploads.refuse("", InvalidValue("The body ends before it is complete."))
            log.info("upload truncated", stored=uploads.counts[StoreOutcome.STORED], reason=type(error).__name__)
        except OSError as error:
            raise OutOfResources("There is no space to take the upload in: try again later.") from error
        finally:
            uploads.discard()
        self._record(request, uploads)
        return uploads.answer(origin(request))

    @staticmethod
    def _record(request: Any, uploads: "Uploads") -> None:
        for study, count in uploads.studies.items():
            audit.record(
                event="api.store",
                action=AuditAction.CREATE,
                who=request.user,
                address=audit.address_of(request),
                study_instance_uid=study,
                detail={"instances": count},
            )
        log.info("upload", **{str(name): count for name, count in uploads.counts.items()})


@dataclass
class Uploads:
    """Grows while a request is worked on."""

    source: Source
    counts: Counter[str] = field(default_factory=Counter)
    studies: Counter[str] = field(default_factory=Counter)
    objects: list[dict[str, str]] = field(default_factory=list)
    errors: list[RadiologyError] = field(default_factory=list)
    waiting: list[tuple[str, Received]] = field(default_factory=list)

    def take(self, file: File) -> None:
        """One file of the body: an object, or a ZIP of objects."""
        first = next(file.blocks, b"")
        blocks = chain([first], file.blocks)
        if first[:4] in ZIP_MAGIC:
            self._take_zip(file.name, blocks)
        elif first:
            self._take_one(Candidate(file.name, 0, 0, lambda: blocks))

    def _take_zip(self, name: str, blocks: Iterator[bytes]) -> None:
        with ExitStack() as stack:
            try:
                whole = stack.enter_context(spooled(lambda _: next(blocks, b""), limit=LARGEST_ZIP))
                for found in candidates_of_zip(whole, name=name):
                    if isinstance(found, Refusal):
                        self.refuse(found.name, CannotUnderstand(found.reason))
                    else:
                        self._take_one(found)
            except RadiologyError as error:
                if isinstance(error, Truncated):
                    raise
                self.refuse(name, error)

    def _take_one(self, candidate: Candidate) -> None:
        try:
            received = receive_candidate(source=self.source, candidate=candidate)
        except NoDicom as error:
            self._name(candidate.name, SKIPPED, error.message)
        except Truncated:
            raise
        except RadiologyError as error:
            self.refuse(candidate.name, error)
        else:
            self.waiting.append((candidate.name, received))
            if len(self.waiting) >= BATCH or sum(each.size for _, each in self.waiting) >= BATCH_BYTES:
                self.store()

    def store(self) -> None:
        """Make what waits durable."""
        batch, self.waiting = self.waiting, []
        if not batch:
            return
        try:
            outcomes = store_instances(received=[received for _, received in batch])
        except RadiologyError as error:
            log.error("upload not stored", instances=len(batch), reason=error.message)
            for name, _ in batch:
                self.refuse(name, error)
            return
        for (name, _), stored in zip(batch, outcomes, strict=True):
            if stored.outcome is StoreOutcome.REFUSED:
                self.errors.append(CannotUnderstand(stored.reason))
            else:
                self.studies[stored.study_instance_uid] += 1
            self._name(
                name,
                stored.outcome,
                stored.reason,
                sop_instance_uid=stored.sop_instance_uid,
                series_instance_uid=stored.series_instance_uid,
                study_instance_uid=stored.study_instance_uid,
            )

    def refuse(self, name: str, error: RadiologyError) -> None:
        log.info("object refused", error=type(error).__name__)
        self.errors.append(error)
        self._name(name, REFUSED, error.message)

    def _name(self, name: str, outcome: str, reason: str, **uids: str) -> None:
        self.counts[outcome] += 1
        some = len(self.objects) < MOST_NAMED
        if some or (outcome not in (StoreOutcome.STORED, SKIPPED) and len(self.objects) < 2 * MOST_NAMED):
            known = {"sop_instance_uid": "", "series_instance_uid": "", "study_instance_uid": "", **uids}
            self.objects.append({"name": name, "outcome": str(outcome), "reason": reason, **known})

    def discard(self) -> None:
        for _, received in self.waiting:
            received.discard()

    def answer(self, here: str) -> HttpResponse:
        """201, 200 or 207 with the report; where nothing was taken, the problem with it."""
        taken = sum(self.counts[each] for each in (StoreOutcome.STORED, StoreOutcome.UNCHANGED, StoreOutcome.HELD))
        if not taken:
            return self._nothing_taken()
        urls = {study: here + reverse("api-study", args=[study]) for study in self.studies}
        body = {
            **{name: self.counts[name] for name in (*StoreOutcome, SKIPPED)},
            "studies": [
                {"study_instance_uid": study, "instances": count, "url": urls[study]}
                for study, count in self.studies.items()
            ],
            "objects": self.objects,
        }
        status = 207 if self.counts[REFUSED] else 201 if self.counts[StoreOutcome.STORED] else 200
        headers = {"Location": next(iter(urls.values()))} if status == 201 and len(urls) == 1 else None
        return JsonResponse(body, status=status, headers=headers)

    def _nothing_taken(self) -> HttpResponse:
        """What the files have in common as the status; each with its reason."""
        if not self.errors:
            error: RadiologyError = InvalidValue("The body holds no DICOM object.")
        elif len({outcome_of(each).http for each in self.errors}) == 1:
            error = self.errors[0]
        else:
            error = InvalidValue("None of these objects was stored: see why in “objects”.")
        return problem(error, objects=self.objects) if len(self.objects) > 1 else problem(error)
