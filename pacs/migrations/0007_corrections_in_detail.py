import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("pacs", "0006_removed_series")]

    operations = [
        migrations.AddField(
            model_name="correction",
            name="study_version",
            field=models.PositiveIntegerField(
                default=0,
                help_text="The study's version after the correction, or after its undoing.",
                verbose_name="study version",
            ),
        ),
        migrations.AddField(
            model_name="removal",
            name="hides",
            field=models.BooleanField(
                default=True, help_text="No: the site shows what was rejected for quality.", verbose_name="hides"
            ),
        ),
        migrations.AlterField(
            model_name="removal",
            name="study_ref",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="removals",
                to="pacs.study",
                verbose_name="study",
            ),
        ),
    ]
