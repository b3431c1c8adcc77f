"""Every address of this server x everybody who may call x what they may not see: nothing is shown, nothing changes.

The addresses come from the URL configuration: one that is new is walked too, and one whose placeholders
nobody explained here fails.
"""

import itertools
import re

import pytest
from django.apps import apps
from django.test import Client

from pacs import tasks  # noqa: F401  (registers the handlers)
from pacs.models import (
    Series,
    Study,
)
from pacs.services import removal
from radiology.models import Site, User
from tests.factories import make_site, make_token, make_user
from tests.pacs.dicomweb import body
from tests.pacs.visibility import (
    HIDDEN,
    MARK,
    PLAIN,
    SECRET,
    TRANSFER_CONTROLS,
    Things,
    addresses,
    ask,
    caller,
    changed,
    of_admin,
    state,
    things,
    walk,
    walked,
)
from tests.radiology.admin_client import administrator

pytestmark = [pytest.mark.django_db, pytest.mark.rights]


@pytest.fixture
def chief(site: Site) -> User:
    return make_user("chief", is_superuser=True, is_staff=True)


@pytest.fixture
def elsewhere(chief: User) -> Things:
    """What the other site has."""
    return things(make_site("there"), chief, **HIDDEN)


def insiders(site: Site) -> dict[str, Client]:
    """Everybody of `site`, from those who may nothing to those who may all."""
    every = ["studies.read", "studies.write", "studies.delete", "patients.write", "patients.merge"]
    every += ["orders.write", "schedule.write", "steps.write", "webhooks.write"]
    return {
        "doctor": caller(make_user("doctor", site=site, role="doctor")),
        "radiographer": caller(make_user("radiographer", site=site, role="radiographer")),
        "administrator": caller(administrator("administrator", site)),
        "token": caller(token=make_token("all", scopes=every, site=site)[1]),
    }


@pytest.mark.parametrize("name", ["anonymous", "doctor", "radiographer", "administrator", "token"])
def test_nobody_sees_or_changes_what_another_site_has(site: Site, elsewhere: Things, name: str) -> None:
    client = caller() if name == "anonymous" else insiders(site)[name]
    before = state()
    assert walk(client, elsewhere, skip=VERIFIED) == []
    assert changed(before) == []


@pytest.mark.parametrize("name", ["anonymous", "doctor", "administrator"])
def test_the_admin_shows_nothing_of_another_site(site: Site, elsewhere: Things, name: str) -> None:
    client = caller() if name == "anonymous" else insiders(site)[name]
    before, holes = state(), []
    for path, method in itertools.product(of_admin(elsewhere), ("GET", "POST")):
        response = ask(client, method, path, elsewhere, {}, "form")
        content = body(response).lower()
        if any(secret in content for secret in SECRET) or response.status_code >= 500:
            holes.append(f"{method} {path}: {response.status_code}")
    assert holes == []
    assert changed(before) == []


@pytest.fixture
def deleted(site: Site, chief: User) -> Things:
    """A study of this site that was deleted. Its patient, who has no other, is still known."""
    hidden = {**PLAIN, "StudyDescription": HIDDEN["StudyDescription"]}
    found = things(site, chief, planned="CT Thorax", **hidden)
    removal.delete_study(who=chief, study=found.study, reason="by mistake")
    return found


# For whoever holds a letter: it says who signed it, and tells nothing.
VERIFIED = frozenset({"verify-report"})
# About the person, about what was sent where, and about what was planned and done: all are still known.
STILL_THERE = frozenset(
    {
        "patient",
        "patient-history",
        "api-patient",
        "api-patient-studies",
        "api-patient-history",
        "api-patient-duplicates",
        "transfer",
        *TRANSFER_CONTROLS,
        "api-room",
        "api-device",
        "api-step",
        "api-performed-step",
        "schedule-step",
        "examination",
    }
)
KEYS_OF_IMAGES = {"series", "instance", "orthanc_series", "orthanc_instance", "pk"}
ORTHANC_TRANSFERS = tuple(f"orthanc-job{name}" for name in ("cancel", "pause", "resume", "resubmit"))
# Nodes, searches at them, and what is on its way there.
ABOUT_NODES = ("orthanc-peer", "orthanc-modality", "orthanc-quer", "orthanc-job")
RECORDS = frozenset({"transfer", "transfers", "api-performed-step", "api-performed-steps"})


@pytest.mark.parametrize("name", ["doctor", "reads", "writes"])
def test_a_deleted_study_has_no_address_for_those_who_may_not_delete(site: Site, deleted: Things, name: str) -> None:
    tokens = {"reads": ["studies.read"], "writes": ["studies.read", "studies.write"]}
    client = (
        caller(token=make_token(name, scopes=tokens[name], site=site)[1]) if name in tokens else insiders(site)[name]
    )
    # An order, its report and its critical results are there before the images, and after them.
    theirs = ("order", "report", "result", "critical", "api-order", "api-report", "api-result", "api-critical")
    orders = {each.name for each in walked() if each.name.startswith(theirs)}
    nodes = {each.name for each in walked() if each.name.startswith(ABOUT_NODES)}
    assert walk(client, deleted, skip=STILL_THERE | VERIFIED | orders | nodes, records=RECORDS | nodes) == []
    assert Study.objects.get(pk=deleted.study.pk).deleted_at is not None


def test_what_was_rejected_has_no_address_though_its_study_has(site: Site, chief: User) -> None:
    found = things(site, chief, **PLAIN)
    series = Series.objects.get(study_ref=found.study, series_number=1)
    Series.objects.filter(pk=series.pk).update(series_description=MARK)
    removal.reject(who=chief, study=found.study, code="113037", series=[series])
    holes = []
    people = insiders(site)
    # Those who decide about conflicts see both sides of one, whatever became of the first.
    lists = [each for each in walked() if not each.keys and each.name != "inbox"]
    for name, client in ((name, people[name]) for name in ("radiographer", "token")):
        for each in walked():
            if KEYS_OF_IMAGES & set(each.keys) and "inbox" not in each.name and "filter" not in each.name:
                response = ask(client, "GET", each.path(found), found, {})
                content = body(response).lower()
                if (response.status_code < 300 and content != b"[]") or MARK.lower().encode() in content:
                    holes.append(f"{name} {each.route}: {response.status_code}")
        for each, query in itertools.product(lists, found.questions):
            if MARK.lower().encode() in body(ask(client, "GET", each.path(found), found, query)).lower():
                holes.append(f"{name} {each.route} {query}")
    assert holes == []


def test_whoever_may_see_it_does_at_the_very_same_addresses(chief: User, elsewhere: Things) -> None:
    """Else the walks above would prove nothing."""
    chiefs, missed, shown = caller(chief), [], 0
    # Orthanc knows no sites: that door shows each caller their own.
    local = caller(make_user("local", site=elsewhere.study.site, is_superuser=True))
    for each in walked():
        client = local if each.name.startswith("orthanc") else chiefs
        questions = [{"StudyInstanceUIDs": elsewhere.study.study_instance_uid}] if "ohif" in each.route else [{}]
        for query in questions if each.keys else elsewhere.questions:
            response = ask(client, "GET", each.path(elsewhere), elsewhere, query)
            shown += any(secret in body(response).lower() for secret in SECRET)
            is_own = each.name == "reading-texts-template"  # one's own alone
            asks_elsewhere = each.name == "orthanc-peer-system" and response.status_code == 502  # nobody answers there
            if each.keys and response.status_code not in {200, 302, 405, 406, 503} and not (asks_elsewhere or is_own):
                missed.append(f"{each.route}: {response.status_code}")
    assert missed == []
    assert shown > 60


def test_reading_is_all_that_a_reader_may(site: Site, chief: User) -> None:
    """A token that reads, and a doctor: no address changes anything about a study that they see."""
    mine = things(site, chief, **PLAIN)
    before = state()
    for client in (
        caller(token=make_token("reads", scopes=["studies.read"], site=site)[1]),
        caller(make_user("doctor", role="doctor")),
    ):
        for each in walked():
            if each.name in {"send", "remote-fetch", *TRANSFER_CONTROLS, *ORTHANC_TRANSFERS}:
                continue  # a doctor may send what may be seen
            if each.name.startswith(("order", "api-order")) and "HTTP_AUTHORIZATION" not in client.defaults:
                continue  # a doctor orders, and calls off what was ordered
            for method, form in (("POST", "form"), ("POST", "json"), ("PATCH", "json"), ("DELETE", "json")):
                ask(client, method, each.path(mine), mine, {}, form)
            assert changed(before) == [], each.route


def test_every_model_about_a_study_stands_in_the_walk_of_the_admin(elsewhere: Things) -> None:
    about = {
        model
        for model in apps.get_models()
        if model._meta.app_label == "pacs"
        and any(each.name in {"study_ref", "series_ref"} for each in model._meta.fields)
    }
    walked_models = {path.split("/")[3] for path in of_admin(elsewhere)}
    admins = {each.route.split("/")[2] for each in addresses() if re.match(r"admin/pacs/\w+/$", each.route)}
    assert {model._meta.model_name for model in about} & admins <= walked_models
