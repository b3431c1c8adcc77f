"""Rows of a hospital's years, in the department of SINAR_DATA: `… -m benchmarks.scale.generate 1000000 2026-11-29`.

Two hundred studies a day, the newest today; half as many patients, of Indonesian names; each study has an order, two
series and two images, of which there are rows and no files. A department that holds some gets what is missing: the
study number `n` is the same however many there are.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "radiology.settings.development")
django.setup()

from django.db import connection, transaction  # noqa: E402
from django.db.models import Model  # noqa: E402

from benchmarks.scale.hospital import FIRST, StudyFacts, facts_of  # noqa: E402
from pacs.models import Instance, Location, Series, Study, Volume  # noqa: E402
from radiology.dicom import PersonName  # noqa: E402
from radiology.models import (  # noqa: E402
    Order,
    OrderOrigin,
    OrderStatus,
    Patient,
    PatientNameWord,
    ProcedureStatus,
    RequestedProcedure,
    Site,
)
from radiology.services.patients import derived_values, name_words  # noqa: E402

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
PORTION = 10_000
MODELS: tuple[type[Model], ...] = (
    Patient, PatientNameWord, Order, RequestedProcedure, Study, Series, Instance, Location
)  # fmt: skip


class Table:
    """COPY of one model's rows; columns that are not given have the model's defaults."""

    def __init__(self, model: type[Model], *given: str) -> None:
        blank = model()
        fields = [field for field in model._meta.concrete_fields if field.column]
        self.name = model._meta.db_table
        self.columns = [field.column for field in fields if field.column != "id" or "id" in given]
        own = [field for field in fields if field.column in self.columns]
        self._row = [field.get_db_prep_save(getattr(blank, field.attname), connection) for field in own]
        self._places = [self.columns.index(name) for name in given]

    def row(self, *values: Any) -> list[Any]:
        row = list(self._row)
        for place, value in zip(self._places, values, strict=True):
            row[place] = value
        return row

    def copy(self, rows: Sequence[Sequence[Any]]) -> None:
        names = ", ".join(f'"{name}"' for name in self.columns)
        with connection.cursor() as cursor, cursor.copy(f'COPY "{self.name}" ({names}) FROM STDIN') as copy:
            for row in rows:
                copy.write_row(row)


class Hospital:
    """Writes studies, with all that belongs to them."""

    def __init__(self) -> None:
        self.site = Site.objects.default()
        self.volume = Volume.objects.order_by("pk")[0]
        self.patients = Table(
            Patient, "id", "public_id", "site_id", "patient_id", "patient_name", "patient_birth_date", "patient_sex",
            "created_at", "updated_at", *derived_values(patient_name="", patient_birth_date=""),
        )  # fmt: skip
        self.words = Table(PatientNameWord, "patient_ref_id", "word", "sound")
        self.orders = Table(
            Order, "id", "public_id", "site_id", "patient_ref_id", "accession_number", "placer_order_number", "status",
            "origin", "created_at", "updated_at",
        )  # fmt: skip
        self.procedures = Table(
            RequestedProcedure, "id", "public_id", "order_ref_id", "requested_procedure_id", "status", "modality",
            "requested_procedure_description", "study_instance_uid",
        )  # fmt: skip
        self.studies = Table(
            Study, "id", "site_id", "patient_ref_id", "requested_procedure_ref_id", "study_instance_uid", "study_date",
            "study_time", "study_datetime", "accession_number", "study_description", "referring_physician_name",
            "referring_physician_name_search", "modalities_in_study", "sop_classes_in_study",
            "number_of_study_related_series", "number_of_study_related_instances", "size", "attributes", "sort_at",
            "created_at", "updated_at",
        )  # fmt: skip
        self.series = Table(
            Series, "id", "site_id", "study_ref_id", "series_instance_uid", "modality", "series_number",
            "number_of_series_related_instances", "size", "created_at", "updated_at",
        )  # fmt: skip
        self.instances = Table(
            Instance, "id", "site_id", "series_ref_id", "sop_instance_uid", "sop_class_uid", "instance_number",
            "rows", "columns", "created_at",
        )  # fmt: skip
        self.locations = Table(
            Location, "instance_ref_id", "volume_id", "path", "data_set_offset", "size", "sha256",
            "transfer_syntax_uid", "created_at",
        )  # fmt: skip

    @transaction.atomic
    def write(self, facts: Sequence[StudyFacts]) -> None:
        new = [each for each in facts if each.is_patients_first]
        self.patients.copy([self._patient(each) for each in new])
        self.words.copy([row for each in new for row in self._words(each)])
        self.orders.copy([self._order(each) for each in facts])
        self.procedures.copy([self._procedure(each) for each in facts])
        self.studies.copy([self._study(each) for each in facts])
        self.series.copy([self._series(each, number) for each in facts for number in (1, 2)])
        self.instances.copy([self._instance(each, number) for each in facts for number in (1, 2)])
        self.locations.copy([self._location(each, number) for each in facts for number in (1, 2)])

    def _patient(self, of: StudyFacts) -> list[Any]:
        derived = derived_values(patient_name=of.patient_name, patient_birth_date=of.patient_birth_date)
        return self.patients.row(
            of.patient, of.key("patient"), self.site.pk, of.patient_id, of.patient_name, of.patient_birth_date,
            of.patient_sex, of.moment, of.moment, *derived.values(),
        )  # fmt: skip

    def _words(self, of: StudyFacts) -> Iterator[list[Any]]:
        for each in name_words(patient=of.patient, patient_name=of.patient_name):
            yield self.words.row(of.patient, each.word, each.sound)

    def _order(self, of: StudyFacts) -> list[Any]:
        return self.orders.row(
            of.pk, of.key("order"), self.site.pk, of.patient, of.accession_number, f"P{of.number}",
            OrderStatus.COMPLETED, OrderOrigin.HL7, of.moment, of.moment,
        )  # fmt: skip

    def _procedure(self, of: StudyFacts) -> list[Any]:
        return self.procedures.row(
            of.pk, of.key("procedure"), of.pk, f"RP{of.number}", ProcedureStatus.COMPLETED, of.modality,
            of.study_description, of.study_instance_uid,
        )  # fmt: skip

    def _study(self, of: StudyFacts) -> list[Any]:
        day, time = f"{of.moment:%Y%m%d}", f"{of.moment:%H%M%S}"
        referrer = PersonName(of.referring_physician_name).normalised
        return self.studies.row(
            of.pk, self.site.pk, of.patient, of.pk, of.study_instance_uid, day, time, of.moment, of.accession_number,
            of.study_description, of.referring_physician_name, referrer, [of.modality], [CT_IMAGE], 2, 2, 2 * of.size,
            of.attributes, of.moment, of.moment, of.moment,
        )  # fmt: skip

    def _series(self, of: StudyFacts, number: int) -> list[Any]:
        return self.series.row(
            of.pk_of(number), self.site.pk, of.pk, f"{of.study_instance_uid}.{number}", of.modality, number, 1, of.size,
            of.moment, of.moment,
        )  # fmt: skip

    def _instance(self, of: StudyFacts, number: int) -> list[Any]:
        return self.instances.row(
            of.pk_of(number), self.site.pk, of.pk_of(number), f"{of.study_instance_uid}.{number}.1", CT_IMAGE, 1, 512,
            512, of.moment,
        )  # fmt: skip

    def _location(self, of: StudyFacts, number: int) -> list[Any]:
        path = f"{of.moment:%Y/%m/%d}/scale-{of.number}-{number}.dcm"
        return self.locations.row(
            of.pk_of(number), self.volume.pk, path, 400, of.size, of.sha256, EXPLICIT, of.moment
        )  # fmt: skip


def held() -> int:
    """How many of these studies there are."""
    newest = Study.objects.filter(pk__gte=FIRST, pk__lt=2 * FIRST).order_by("-pk").values_list("pk", flat=True).first()
    return 0 if newest is None else newest - FIRST + 1


def generate(studies: int, *, today: date) -> None:
    """Write until there are `studies`; number 0 is of the day before `today`, later numbers are older."""
    hospital = Hospital()
    last = datetime.combine(today, datetime.min.time(), UTC) - timedelta(hours=8)
    for first in range(held(), studies, PORTION):
        numbers = range(first, min(first + PORTION, studies))
        hospital.write([facts_of(number, last=last) for number in numbers])
        print(f"{numbers[-1] + 1} studies", flush=True)
    with connection.cursor() as cursor:
        for model in MODELS:
            cursor.execute(f'VACUUM (ANALYZE) "{model._meta.db_table}"')


if __name__ == "__main__":
    generate(int(sys.argv[1]), today=date.fromisoformat(sys.argv[2]))
