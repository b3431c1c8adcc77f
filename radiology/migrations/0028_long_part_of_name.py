import django.contrib.postgres.indexes
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations

import radiology.models.patient

# An index by it needs it to be of the database. What it does must never change: another one would get another name.
MAKE = """
CREATE OR REPLACE FUNCTION name_fivegrams(name text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  SELECT coalesce(array_agg(DISTINCT substr(name, at, 5)), '{}') FROM generate_series(1, length(name) - 4) AS at
   WHERE strpos(substr(name, at, 5), ' ') = 0
$$
"""


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("radiology", "0027_critical_results_by_day"),
    ]

    operations = [
        migrations.RunSQL(MAKE, "DROP FUNCTION name_fivegrams(text)"),
        AddIndexConcurrently(
            model_name="patient",
            index=django.contrib.postgres.indexes.GinIndex(
                radiology.models.patient.NameFivegrams("patient_name_search"), name="patient_by_long_part_of_name"
            ),
        ),
        migrations.RunSQL("ANALYZE radiology_patient", migrations.RunSQL.noop),
    ]
