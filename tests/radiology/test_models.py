"""Who is who stands in database constraints, whatever the code above them does."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import CharField, Model

from pacs.models import ApplicationEntity, HeldObject, HeldReason, Instance, Location, Series, Study, Volume
from radiology.errors import Conflict
from radiology.models import Order, Patient, PatientIdentifier, RequestedProcedure, Site, User
from radiology.models.text import KeyField
from radiology.services.identity import Identity, patient_for_study
from radiology.services.patients import save_patient
from tests.factories import make_instance, make_location, make_patient, make_series, make_site, make_study
from tests.parallel import at_once

pytestmark = pytest.mark.database


def refused(model: type[Model], **fields: Any) -> bool:
    """Whether the database, and not the code, refuses such a row."""
    try:
        with transaction.atomic():
            model._default_manager.bulk_create([model(**fields)])
    except IntegrityError:
        return True
    return False


@pytest.mark.django_db
class TestPatientIdentity:
    def test_an_id_of_an_issuer_is_one_patient_of_a_site(self) -> None:
        Patient.objects.create(patient_id="RM-1", issuer_of_patient_id="RSUD")
        assert refused(Patient, patient_id="RM-1", issuer_of_patient_id="RSUD", patient_name="OTHER")
        assert not refused(Patient, patient_id="RM-1", issuer_of_patient_id="RSCM")
        assert not refused(Patient, patient_id="rm-1", issuer_of_patient_id="RSUD")
        assert not refused(Patient, patient_id="RM-1", issuer_of_patient_id="RSUD", site=make_site())

    def test_patients_without_an_id_are_never_one(self) -> None:
        assert not refused(Patient, patient_name="A")
        assert not refused(Patient, patient_name="A")

    def test_a_provisional_patient_is_one_studys_alone_and_takes_no_id(self) -> None:
        Patient.objects.create(patient_id="RM-1", provisional_for="2.25.1")
        assert refused(Patient, patient_id="RM-2", provisional_for="2.25.1")
        assert not refused(Patient, patient_id="RM-1", provisional_for="2.25.2")
        assert not refused(Patient, patient_id="RM-1")

    def test_a_word_and_an_identifier_stand_once(self) -> None:
        patient = make_patient()
        PatientIdentifier.objects.create(patient_ref=patient, kind="NIK", value="3171")
        assert refused(PatientIdentifier, patient_ref=patient, kind="NIK", value="3171")
        assert not refused(PatientIdentifier, patient_ref=patient, kind="BPJS", value="3171")


@pytest.mark.django_db
class TestArchiveIdentity:
    def test_uids_are_unique_in_a_site(self) -> None:
        instance = make_instance()
        series, study = instance.series_ref, instance.series_ref.study_ref
        elsewhere = make_site()
        patient = make_patient(site=elsewhere)
        assert refused(
            Study, site=study.site, patient_ref=study.patient_ref, study_instance_uid=study.study_instance_uid
        )
        assert not refused(Study, site=elsewhere, patient_ref=patient, study_instance_uid=study.study_instance_uid)
        other = make_study()
        assert refused(Series, site=study.site, study_ref=other, series_instance_uid=series.series_instance_uid)
        assert refused(
            Instance,
            site=study.site,
            series_ref=make_series(study=other),
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid="1.2",
        )

    def test_a_file_holds_one_instance(self) -> None:
        location = make_location(make_instance())
        fields = {"data_set_offset": 1, "size": 1, "sha256": b"\0" * 32, "transfer_syntax_uid": "1.2"}
        assert refused(Location, instance_ref=make_instance(), volume=location.volume, path=location.path, **fields)

    def test_the_same_conflicting_bytes_are_held_once(self) -> None:
        fields: dict[str, Any] = {
            "site": Site.objects.default(),
            "volume": Volume.objects.get(),
            "reason": HeldReason.OTHER_PIXELS,
            "sop_instance_uid": "2.25.1",
            "data_set_offset": 1,
            "size": 1,
            "sha256": b"\1" * 32,
        }
        HeldObject.objects.create(path="a", **fields)
        assert refused(HeldObject, path="b", **fields)
        assert not refused(HeldObject, path="b", **{**fields, "sha256": b"\2" * 32})

    def test_what_studies_refer_to_cannot_be_removed(self) -> None:
        study = make_study()
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM radiology_patient WHERE id = %s", [study.patient_ref_id])
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.django_db
class TestOtherIdentity:
    def test_an_accession_number_is_one_order_of_its_issuer(self) -> None:
        patient = make_patient()
        Order.objects.create(patient_ref=patient, accession_number="A1")
        assert refused(Order, patient_ref=patient, accession_number="A1")
        assert not refused(Order, patient_ref=patient, accession_number="A1", issuer_of_accession_number="RSCM")
        assert not refused(Order, patient_ref=patient)
        assert not refused(Order, patient_ref=patient)

    def test_a_study_to_come_belongs_to_one_procedure(self) -> None:
        order = Order.objects.create(patient_ref=make_patient())
        RequestedProcedure.objects.create(order_ref=order, study_instance_uid="2.25.1", requested_procedure_id="1")
        assert refused(RequestedProcedure, order_ref=order, study_instance_uid="2.25.1")
        assert refused(RequestedProcedure, order_ref=order, study_instance_uid="2.25.2", requested_procedure_id="1")
        assert not refused(RequestedProcedure, order_ref=order, study_instance_uid="2.25.3")

    def test_a_node_is_a_title_at_an_address(self) -> None:
        ApplicationEntity.objects.create(title="CT1", host="10.0.0.1", port=104)
        assert refused(ApplicationEntity, title="CT1", host="10.0.0.1", port=104)
        assert not refused(ApplicationEntity, title="CT1", host="10.0.0.2", port=104)
        assert not refused(ApplicationEntity, title="ct1", host="10.0.0.1", port=104)
        assert refused(ApplicationEntity, title="CT2", host="10.0.0.1", port=0)
        assert refused(ApplicationEntity, title="CT2", host="10.0.0.1", port=65536)

    @pytest.mark.parametrize("title", ["", " ", "A" * 17, "A\\B", "A\nB", "A\x00B"])
    def test_a_title_that_dicom_forbids_is_refused(self, title: str) -> None:
        with pytest.raises(ValidationError):
            ApplicationEntity(title=title, host="10.0.0.1").full_clean()

    @pytest.mark.parametrize("title", ["CT1", "ct 1", "A" * 16, "[X]*?%_'"])
    def test_a_title_that_dicom_allows_is_taken(self, title: str) -> None:
        ApplicationEntity(title=title, host="10.0.0.1").full_clean()

    def test_who_sees_what(self) -> None:
        site, other = Site.objects.default(), make_site()
        here, there = make_patient(site=site), make_patient(site=other)
        user = User(username="a", site=site)
        chief = User(username="b", site=site, is_superuser=True)
        gone = User(username="c", site=site, is_active=False)
        node = ApplicationEntity(title="CT1", site=other)
        mute = ApplicationEntity(title="CT2", site=other, may_query=False, may_retrieve=False)
        assert list(Patient.objects.visible_to(user)) == [here]
        assert set(Patient.objects.visible_to(chief)) == {here, there}
        assert list(Patient.objects.visible_to(gone)) == []
        assert list(Patient.objects.visible_to(node)) == [there]
        assert list(Patient.objects.visible_to(mute)) == []


@pytest.mark.django_db
def test_keys_are_compared_byte_by_byte_on_every_server() -> None:
    from django.apps import apps

    keys = [
        (model._meta.db_table, field.column)
        for label in ("radiology", "pacs")
        for model in apps.get_app_config(label).get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, KeyField)
    ]
    assert len(keys) > 60
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND collation_name = 'C'"
        )
        in_c = set(cursor.fetchall())
    assert set(keys) <= in_c
    assert isinstance(KeyField(max_length=3), CharField)


@pytest.mark.django_db
class TestSavingPatients:
    def test_what_follows_from_the_name_is_written_with_it(self) -> None:
        patient = Patient(
            patient_id="RM-1", patient_name="Ünal^Ali=山田^太郎=やまだ^たろう", patient_birth_date="19991231"
        )
        save_patient(patient=patient)
        patient.refresh_from_db()
        assert patient.patient_name_sort == "unal ali"
        assert patient.patient_name_ideographic == "山田^太郎"
        assert str(patient.birth_date) == "1999-12-31"
        assert {word.word for word in patient.name_words.all()} == {"unal", "ali", "山田", "太郎", "やまた", "たろう"}
        assert list(Patient.objects.named(["ali", "山"])) == [patient]

    def test_an_overtaken_change_is_refused(self) -> None:
        patient = make_patient()
        one, other = Patient.objects.get(pk=patient.pk), Patient.objects.get(pk=patient.pk)
        one.patient_sex = "F"
        save_patient(patient=one)
        other.patient_name = "LAIN"
        with pytest.raises(Conflict):
            save_patient(patient=other)
        patient.refresh_from_db()
        assert (patient.patient_sex, patient.version) == ("F", 2)

    def test_a_taken_identity_is_refused(self) -> None:
        make_patient("RM-1")
        with pytest.raises(ValidationError):
            save_patient(patient=Patient(patient_id="RM-1", patient_name="LAIN"))


@pytest.mark.usefixtures("committed_db")
class TestAtOnce:
    def test_many_first_images_of_a_new_patient_make_one_patient(self) -> None:
        site = Site.objects.default()
        identity = Identity(patient_id="RM-1", patient_name="BARU^PASIEN", patient_birth_date="19700101")

        def first_image(number: int) -> int:
            return patient_for_study(site=site, identity=identity, study_instance_uid=f"2.25.{number}").pk

        found = at_once(first_image, threads=24)
        assert len(set(found)) == 1
        assert Patient.objects.count() == 1
        assert sorted(word.word for word in Patient.objects.get().name_words.all()) == ["baru", "pasien"]

    def test_many_images_of_one_study_without_an_identity_make_one_provisional_patient(self) -> None:
        site = Site.objects.default()
        nobody = Identity(patient_id="")
        found = at_once(
            lambda _: patient_for_study(site=site, identity=nobody, study_instance_uid="2.25.7").pk, threads=24
        )
        assert len(set(found)) == 1
        assert Patient.objects.get().provisional_for == "2.25.7"
