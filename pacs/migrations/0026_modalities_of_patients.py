"""Which modalities a patient has studies of: kept by the database, counted once from what is there."""

import django.db.models.deletion
from django.db import migrations, models

import radiology.models.text

# The triggers come first and wait for whoever writes; what is written from then on counts by them, all else by FILL.
KEEP = """
CREATE FUNCTION pacs_patientmodality_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pacs_patientmodality (patient_ref_id, modality)
        SELECT NEW.patient_ref_id, each.modality FROM unnest(NEW.modalities_in_study) AS each(modality)
         WHERE NOT EXISTS (
            SELECT FROM pacs_patientmodality AS known
             WHERE known.modality = each.modality AND known.patient_ref_id = NEW.patient_ref_id);
    RETURN NULL;
END $$;
CREATE TRIGGER modalities_of_a_new_study AFTER INSERT ON pacs_study
    FOR EACH ROW EXECUTE FUNCTION pacs_patientmodality_keep();
CREATE TRIGGER modalities_of_a_changed_study AFTER UPDATE OF patient_ref_id, modalities_in_study ON pacs_study
    FOR EACH ROW WHEN (
        OLD.patient_ref_id <> NEW.patient_ref_id OR OLD.modalities_in_study <> NEW.modalities_in_study)
    EXECUTE FUNCTION pacs_patientmodality_keep();
"""
KEEP_NO_MORE = """
DROP TRIGGER modalities_of_a_new_study ON pacs_study;
DROP TRIGGER modalities_of_a_changed_study ON pacs_study;
DROP FUNCTION pacs_patientmodality_keep();
"""
FILL = """
INSERT INTO pacs_patientmodality (patient_ref_id, modality)
    SELECT DISTINCT patient_ref_id, each.modality FROM pacs_study, unnest(modalities_in_study) AS each(modality);
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("pacs", "0025_removals_by_day"), ("radiology", "0027_critical_results_by_day")]

    operations = [
        migrations.CreateModel(
            name="PatientModality",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("modality", radiology.models.text.KeyField(default="", max_length=16)),
                (
                    "patient_ref",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="radiology.patient"
                    ),
                ),
            ],
            options={
                "verbose_name": "modality of a patient",
                "verbose_name_plural": "modalities of patients",
                "indexes": [models.Index(fields=["modality", "patient_ref"], name="patient_by_modality")],
            },
        ),
        migrations.RunSQL(KEEP, KEEP_NO_MORE),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RunSQL("ANALYZE pacs_patientmodality", migrations.RunSQL.noop),
    ]
