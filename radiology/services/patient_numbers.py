"""Numbers for patients that the site itself gives out: unique and rising, whoever registers at the same moment."""

import re
from datetime import date

from django.db import connection
from django.utils import timezone

from radiology.models import Patient, Site


def next_number(*, site: Site, pattern: str, today: date | None = None) -> str:
    """The next number of a pattern (Site.mrn_pattern), which no patient of the site has.

    The counter's row is held until the caller's transaction ends: what is registered later gets a higher
    number, and a number is lost only when its registration fails.
    """
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO radiology_patientnumbercounter AS counter (site_id, pattern, last) VALUES (%s, %s, 1)
                ON CONFLICT (site_id, pattern) DO UPDATE SET last = counter.last + 1 RETURNING last
                """,
                [site.pk, pattern],
            )
            number = written(pattern=pattern, number=cursor.fetchone()[0], today=today or timezone.localdate())
        if not Patient.objects.filter(site=site, patient_id=number).exists():
            return number


def written(*, pattern: str, number: int, today: date) -> str:
    """A number in its pattern; one with more digits than the pattern has # keeps them all."""
    dated = pattern.replace("{YYYY}", f"{today:%Y}").replace("{YY}", f"{today:%y}").replace("{MM}", f"{today:%m}")
    return re.sub(r"#+", lambda found: str(number).zfill(len(found[0])), dated, count=1)
