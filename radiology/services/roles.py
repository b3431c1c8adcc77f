"""What the roles may do at first. Afterwards it is the hospital's affair, in the admin."""

from typing import Any

from django.apps import AppConfig, apps
from django.contrib.auth.models import Group, Permission
from django.db import connection, transaction

from radiology.models import AuditAction, AuditEvent, Role
from radiology.services import audit

EVENT = "role.rights"

_LOOK = (
    "radiology.view_patient radiology.view_patientidentifier radiology.view_order radiology.view_requestedprocedure"
    " radiology.view_procedure worklist.view_room worklist.view_device worklist.view_scheduledprocedurestep"
)
_IMAGES = "pacs.view_study pacs.view_series pacs.view_instance"
_CORRECT = "pacs.change_study"
_INBOX = "pacs.view_heldobject pacs.change_heldobject pacs.view_helddecision"
_ORDER = (
    "radiology.add_order radiology.change_order radiology.add_requestedprocedure radiology.change_requestedprocedure"
)
_REGISTER = (
    "radiology.add_patient radiology.change_patient radiology.add_patientidentifier radiology.change_patientidentifier"
    f" {_ORDER}"
)
_SCHEDULE = "worklist.add_scheduledprocedurestep worklist.change_scheduledprocedurestep"
_PERFORM = "worklist.change_scheduledprocedurestep worklist.view_performedprocedurestep worklist.reconcile_studies"
_ANYWAY = "worklist.schedule_anyway"
_MERGE = "radiology.merge_patient"
_DIAGNOSE = "worklist.view_worklistquery"
_RECONCILE = "worklist.view_reconciliationcase worklist.view_reconciliationdecision"
_SHARE = "pacs.share_study"
_REPORT = (
    "radiology.view_report radiology.add_report radiology.change_report radiology.sign_report"
    " radiology.view_reportversion radiology.release_report"
)
_TEMPLATES = " ".join(
    f"radiology.{verb}_{model}"
    for model in ("reporttemplate", "reportmacro")
    for verb in ("view", "add", "change", "delete")
)
_MEASURE = "pacs.save_measurements"
_IMPORT = "pacs.view_importrun pacs.add_importrun"

# Reports are signed by those who read images, whatever else somebody may do.
_BY_NAME_ONLY = {
    "radiology.sign_report",
    "radiology.release_report",
    "radiology.add_report",
    "radiology.change_report",
}

# Rights by role, as `app.codename` or `app.*` for all rights on an app's models.
FIRST_RIGHTS: dict[Role, str] = {
    Role.RADIOGRAPHER: (
        f"{_LOOK} {_IMAGES} {_CORRECT} {_REGISTER} pacs.view_requestattributes {_INBOX} {_IMPORT}"
        f" {_SCHEDULE} {_PERFORM} {_ANYWAY} {_DIAGNOSE} {_RECONCILE} {_MERGE} {_SHARE} {_MEASURE}"
    ),
    Role.RADIOLOGIST: (
        f"{_LOOK} {_IMAGES} {_CORRECT} pacs.view_requestattributes {_SHARE} {_REPORT} {_TEMPLATES} {_MEASURE}"
    ),
    Role.DOCTOR: f"{_LOOK} {_IMAGES} {_ORDER} radiology.view_personalresult",
    Role.DESK: f"{_LOOK} {_REGISTER} pacs.view_study {_SCHEDULE}",
    Role.ADMINISTRATOR: (
        "radiology.* pacs.* worklist.* integrations.* auth.view_group auth.view_permission"
        " account.* mfa.* usersessions.*"
    ),
}


@transaction.atomic
def give_first_rights() -> None:
    """Give each role the rights that it should have at first and was never given before.

    What was given stands in the audit trail, so that a right which staff took away stays away, and a
    right on a model that is new in this version arrives. A role that has rights but no such record
    was set up by staff and is left alone.
    """
    known = {
        f"{app}.{codename}": pk
        for pk, app, codename in Permission.objects.values_list("pk", "content_type__app_label", "codename")
    }
    given: dict[str, set[str]] = {}
    for detail in AuditEvent.objects.filter(event=EVENT).values_list("detail", flat=True):
        given.setdefault(detail["role"], set()).update(detail["rights"])
    for role, patterns in FIRST_RIGHTS.items():
        group = Group.objects.select_for_update().filter(name=role.value).first()
        if group is None or (role.value not in given and group.permissions.exists()):
            continue
        new = sorted(set(_matching(patterns, known)) - given.get(role.value, set()))
        if not new:
            continue
        group.permissions.add(*(known[right] for right in new))
        audit.record(event=EVENT, action=AuditAction.UPDATE, who="set-up", detail={"role": role.value, "rights": new})


def after_migrate(sender: AppConfig, **_: Any) -> None:
    """Receiver of `post_migrate`: acts once the last app is done, when the rights on all models exist."""
    last = [app for app in apps.get_app_configs() if app.models_module is not None][-1]
    tables = {Group._meta.db_table, Permission._meta.db_table, AuditEvent._meta.db_table}
    if sender is last and tables <= set(connection.introspection.table_names()):
        give_first_rights()


def _matching(patterns: str, known: dict[str, int]) -> list[str]:
    exact = set(patterns.split())
    apps = {pattern.removesuffix(".*") for pattern in exact if pattern.endswith(".*")}
    return [
        right for right in known if right in exact or (right.partition(".")[0] in apps and right not in _BY_NAME_ONLY)
    ]
