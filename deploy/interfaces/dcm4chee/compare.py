"""Compares two archives by DICOMweb: whether every study of the one, with all its objects, is in the other.

    python3 compare.py --date 20140101-20241231 \\
      http://dcm4chee:8080/dcm4chee-arc/aets/DCM4CHEE/rs https://sinar.hospital.com/dicom-web --token-file token

The token is for the second archive (`SINAR_FROM_TOKEN` may hold one for the first). Prints a line for each study that
is missing or has fewer objects. Ends with 0: all is there; 1: something is not; 2: an archive did not answer.
"""

import argparse
import datetime
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

PAGE = 500
STUDY, OBJECTS, DATE, ACCESSION = "0020000D", "00201208", "00080020", "00080050"


class Archive:
    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self.headers = {"Accept": "application/dicom+json"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    def studies(self, day: str) -> dict[str, dict]:
        """The studies of a day (all of them without one), by UID."""
        found: dict[str, dict] = {}
        while True:
            keys = {"limit": str(PAGE), "offset": str(len(found)), "includefield": OBJECTS}
            if day:
                keys["StudyDate"] = day
            new = [each for each in self._page(keys) if value(each, STUDY) not in found]
            if not new:
                return found
            found.update((value(each, STUDY), each) for each in new)

    def _page(self, keys: dict[str, str]) -> list[dict]:
        address = f"{self.url}/studies?{urllib.parse.urlencode(keys)}"
        request = urllib.request.Request(address, headers=self.headers)  # noqa: S310 (whoever calls it names it)
        with urllib.request.urlopen(request, timeout=300) as response:  # noqa: S310
            return json.loads(response.read() or b"[]")  # 204, or an empty list


def value(study: dict, tag: str) -> str:
    return str((study.get(tag, {}).get("Value") or [""])[0])


def count(study: dict) -> int:
    return int(value(study, OBJECTS) or 0)


def days(span: str) -> Iterator[str]:
    if not span:
        yield ""
        return
    first, _, last = span.partition("-")
    day, end = (datetime.date.fromisoformat(each) for each in (first, last or first))
    while day <= end:
        yield day.strftime("%Y%m%d")
        day += datetime.timedelta(days=1)


def compare(one: Archive, other: Archive, span: str) -> int:
    there = here = missing = 0
    for day in days(span):
        wanted, held = one.studies(day), other.studies(day)
        for uid, study in sorted(wanted.items()):
            there += count(study)
            got = count(held[uid]) if uid in held else 0
            here += min(got, count(study))
            if got < count(study) or uid not in held:
                missing += 1
                told = "missing" if uid not in held else "fewer"
                print(told, uid, value(study, DATE), value(study, ACCESSION), f"{got} of {count(study)}")
    print(f"{here} of {there} objects; {missing} studies are not whole")
    return 1 if missing else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("from_url")
    parser.add_argument("to_url")
    parser.add_argument("--date", default="", help="a day, or two with a hyphen between them")
    parser.add_argument("--token-file", type=Path)
    given = parser.parse_args()
    token = given.token_file.read_text(encoding="utf-8").strip() if given.token_file else ""
    try:
        one, other = Archive(given.from_url, os.environ.get("SINAR_FROM_TOKEN", "")), Archive(given.to_url, token)
        return compare(one, other, given.date)
    except (urllib.error.URLError, OSError, ValueError) as error:
        print(f"No answer that can be compared: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
