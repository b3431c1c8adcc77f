"""The answers of the API described for its documentation; tests hold every answer against them."""

from rest_framework import serializers

Text = serializers.CharField


class FoundStudy(serializers.Serializer):
    """A study in a list."""

    studyInstanceUid = Text()
    accessionNumber = Text(help_text="Order number; empty when the images carry none.")
    patientId = Text(help_text="Medical record number. A text: `001234` is not `1234`.")
    patientName = Text(help_text="As in DICOM: FAMILY^GIVEN^MIDDLE^PREFIX^SUFFIX.")
    studyDate = Text(help_text="YYYYMMDD; empty when unknown.")
    modality = Text(help_text="Of several the first that came with pictures.")
    description = Text()
    viewerUrl = Text(help_text="Opens the images in a browser.")
    modalities = serializers.ListField(
        child=Text(), required=False, help_text="All modalities, only where there are several."
    )


class FoundStudies(serializers.Serializer):
    """What a search for studies finds, one page of it."""

    data = FoundStudy(many=True)  # type: ignore[assignment]
    total = serializers.IntegerField(help_text="How many match, on all pages; counted up to 1000.")
    totalIsExact = serializers.BooleanField(
        required=False, help_text="Only there, and false, where more match than `total` says."
    )
    next = Text(required=False, help_text="Address of the next page; not there on the last one.")
    previous = Text(required=False, help_text="Address of the previous page; not there on the first one.")


class PatientLinks(serializers.Serializer):
    self = Text()
    studies = Text()
    archive = Text(help_text="All images of the patient as a ZIP.")
    page = Text(help_text="The patient's page, for people.")


class PatientShape(serializers.Serializer):
    """A patient as one issuer knows them."""

    public_id = serializers.UUIDField(help_text="Names the patient in addresses.")
    patient_id = Text(help_text="Medical record number, unique within its issuer.")
    issuer_of_patient_id = Text()
    patient_name = Text()
    patient_birth_date = Text(help_text="YYYYMMDD")
    patient_sex = Text(help_text="M, F, O or empty.")
    provisional = serializers.BooleanField(
        help_text="Made for one study whose images gave no identity that could be trusted."
    )
    links = PatientLinks()


class IdentifierShape(serializers.Serializer):
    """Another number of the patient."""

    kind = Text(help_text="NIK, BPJS, PPN, MR or U.")
    value = Text()
    issuer = Text()


class PageShape(serializers.Serializer):
    """What every list shares."""

    next = Text(required=False, help_text="Address of the next page; not there on the last one.")
    previous = Text(required=False, help_text="Address of the previous page; not there on the first one.")


class Patients(PageShape):
    """Patients, by name."""

    data = PatientShape(many=True)  # type: ignore[assignment]


class StudyLinks(serializers.Serializer):
    self = Text()
    series = Text()
    archive = Text(help_text="The whole study as a ZIP.")
    history = Text()
    viewer = Text(help_text="Opens the images in a browser.")
    dicomweb = Text(help_text="The study for DICOMweb clients (WADO-RS).")
    thumbnail = Text()


class StudyShape(serializers.Serializer):
    """A study."""

    study_instance_uid = Text()
    study_date = Text(help_text="YYYYMMDD")
    study_time = Text(help_text="HHMMSS, with fractions where the device sent them.")
    study_datetime = serializers.DateTimeField(allow_null=True, help_text="The same moment in UTC.")
    accession_number = Text()
    issuer_of_accession_number = Text()
    study_id = Text()
    study_description = Text()
    referring_physician_name = Text()
    modalities_in_study = serializers.ListField(child=Text())
    number_of_study_related_series = serializers.IntegerField()
    number_of_study_related_instances = serializers.IntegerField()
    bytes = serializers.IntegerField()
    received_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    version = serializers.IntegerField(help_text="Rises with each change.")
    patient = PatientShape()
    links = StudyLinks()


class Studies(PageShape):
    """Studies, newest first."""

    data = StudyShape(many=True)  # type: ignore[assignment]


class SeriesLinks(serializers.Serializer):
    self = Text()
    study = Text()
    instances = Text()
    archive = Text(help_text="The series as a ZIP.")
    dicomweb = Text()
    thumbnail = Text()


class SeriesShape(serializers.Serializer):
    """A series."""

    series_instance_uid = Text()
    study_instance_uid = Text()
    modality = Text()
    series_number = serializers.IntegerField(allow_null=True)
    series_description = Text()
    series_date = Text()
    series_time = Text()
    body_part_examined = Text()
    laterality = Text()
    protocol_name = Text()
    station_name = Text()
    source_ae_title = Text(help_text="The node that sent it.")
    number_of_series_related_instances = serializers.IntegerField()
    bytes = serializers.IntegerField()
    received_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    links = SeriesLinks()


class SeriesList(PageShape):
    """Series, by number."""

    data = SeriesShape(many=True)  # type: ignore[assignment]


class StudyDetail(StudyShape):
    """A study with its first 100 series; `links.series` leads to all."""

    series = SeriesShape(many=True)


class InstanceLinks(serializers.Serializer):
    self = Text()
    series = Text()
    file = Text(help_text="The DICOM file.")
    preview = Text(help_text="A picture of it.")
    tags = Text(help_text="Its header.")
    dicomweb = Text()
    thumbnail = Text()


class InstanceShape(serializers.Serializer):
    """One object: an image, a report, a document."""

    sop_instance_uid = Text()
    sop_class_uid = Text()
    series_instance_uid = Text()
    study_instance_uid = Text()
    instance_number = serializers.IntegerField(allow_null=True)
    rows = serializers.IntegerField(allow_null=True)
    columns = serializers.IntegerField(allow_null=True)
    number_of_frames = serializers.IntegerField(allow_null=True)
    content_date = Text()
    content_time = Text()
    received_at = serializers.DateTimeField()
    links = InstanceLinks()


class Instances(PageShape):
    """Instances, by number."""

    data = InstanceShape(many=True)  # type: ignore[assignment]
