import django.contrib.postgres.indexes
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations

import radiology.models.patient

# An index by it needs it to be of the database. What it does must never change: another one would get another name.
MAKE = """
CREATE OR REPLACE FUNCTION name_trigrams(name text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  SELECT coalesce(array_agg(DISTINCT substr(name, at, 3)), '{}') FROM generate_series(1, length(name) - 2) AS at
$$
"""


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("radiology", "0017_report_markup"),
    ]

    operations = [
        migrations.RunSQL(MAKE, "DROP FUNCTION name_trigrams(text)"),
        AddIndexConcurrently(
            model_name="patient",
            index=django.contrib.postgres.indexes.GinIndex(
                radiology.models.patient.NameTrigrams("patient_name_search"), name="patient_by_part_of_name"
            ),
        ),
    ]
