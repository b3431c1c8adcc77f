import radiology.models.text
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0011_orthanc_reached"),
    ]

    operations = [
        migrations.AddField(
            model_name="orthancjob",
            name="study_instance_uid",
            field=radiology.models.text.KeyField(
                blank=True,
                default="",
                help_text="Of the study that copies are merged or split into.",
                max_length=64,
                verbose_name="Study Instance UID",
            ),
        ),
        migrations.AlterField(
            model_name="orthancjob",
            name="kind",
            field=models.CharField(
                choices=[
                    ("anonymize", "Anonymize"),
                    ("modify", "Modify"),
                    ("merge", "Merge into a study"),
                    ("move", "Have sent on"),
                    ("peer", "Send to a peer"),
                    ("split", "Split off a study"),
                ],
                max_length=16,
                verbose_name="kind",
            ),
        ),
    ]
