"""Retrieval as a request wants it: to this archive, or by a node to a third one."""

from typing import Any

from django.http import HttpResponse

from integrations.models import OrthancJob
from integrations.orthanc.access import OrthancView
from integrations.orthanc.moving import KIND
from integrations.orthanc.retrieval import MOST_RESOURCES, fetched, is_here
from integrations.orthanc.starting import answered, begin
from pacs.models import ApplicationEntity
from pacs.services import transfers
from radiology.dicom import is_uid
from radiology.errors import InvalidValue, NotFound, Unreachable
from radiology.models import AuditAction


def retrieved(
    view: OrthancView, node: ApplicationEntity, given: dict[str, Any], wanted: list[tuple[str, str]]
) -> HttpResponse:
    """Studies, or series of them, from `node` to `TargetAet`: a node of this site, else this archive.

    Raises NotFound for a title that nobody registered: a node is not told to send to whoever is named.
    """
    target = given.get("TargetAet")
    if is_here(target):
        return fetched(view.request, view.here, node, given, wanted)
    third = transfers.archives_for(who=view.here).filter(title=str(target)).first()
    if third is None:
        raise NotFound("There is no node of the title TargetAet: nodes are registered in the administration.")
    if not wanted or len(wanted) > MOST_RESOURCES:
        raise InvalidValue(f"Name 1 to {MOST_RESOURCES} resources.", field="Resources")
    if not all(is_uid(study) and (not series or is_uid(series)) for study, series in wanted):
        raise InvalidValue("A study or series is not named by a UID.", field="Resources")
    studies: dict[str, set[str]] = {}
    for study, series in wanted:
        studies.setdefault(study, set()).add(series)
    selections = [[study, [] if "" in series else sorted(series), []] for study, series in studies.items()]
    row = begin(
        view, given, kind=OrthancJob.Kind.MOVE, work=KIND, node=node, target=third.title, total=len(selections),
        selections=selections,
    )  # fmt: skip
    for study in studies:
        view.record(
            "move", AuditAction.EXECUTE, study_instance_uid=study, detail={"node": node.title, "target": third.title}
        )
    return answered(row, given, Unreachable)
