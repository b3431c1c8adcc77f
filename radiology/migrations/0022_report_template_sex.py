from typing import Any

from django.db import migrations

import radiology.models.text

MEANT = {
    "F": ["MR-PELVIS-F", "RF-HSG", "US-GYN", "US-OB"],
    "M": ["MR-PROSTATE", "US-TESTIS"],
}


def say_it_of_the_usual_ones(apps: Any, schema_editor: Any) -> None:
    templates = apps.get_model("radiology", "ReportTemplate").objects
    for sex, codes in MEANT.items():
        templates.filter(owner=None, code__in=codes).update(patient_sex=sex)


class Migration(migrations.Migration):
    dependencies = [("radiology", "0021_critical_results")]

    operations = [
        migrations.AddField(
            model_name="reporttemplate",
            name="patient_sex",
            field=radiology.models.text.KeyField(
                blank=True,
                choices=[("F", "female"), ("M", "male")],
                default="",
                help_text="Only patients of this sex; empty: any. Nobody of the other sex is offered it.",
                max_length=1,
                verbose_name="patient's sex",
            ),
        ),
        migrations.RunPython(say_it_of_the_usual_ones, migrations.RunPython.noop, elidable=True),
    ]
