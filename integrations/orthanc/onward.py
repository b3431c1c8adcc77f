"""Retrieval as a request wants it: to this archive, or by a node to a third one."""

from typing import Any

from django.http import HttpResponse

from integrations.models import OrthancJob
from integrations.orthanc.access import OrthancView
from integrations.orthanc.moving import KIND
from integrations.orthanc.retrieval import Named, asked_of, fetched, is_here
from integrations.orthanc.starting import answered, begin
from pacs.dimse.transfer_fetch import LIST
from pacs.models import ApplicationEntity
from pacs.services import transfers
from radiology.errors import NotFound, Unreachable
from radiology.models import AuditAction


def retrieved(view: OrthancView, node: ApplicationEntity, given: dict[str, Any], wanted: list[Named]) -> HttpResponse:
    """Studies, series or images of them, from `node` to `TargetAet`: a node of this site, else this archive.

    Raises NotFound for a title that nobody registered: a node is not told to send to whoever is named.
    """
    target = given.get("TargetAet")
    if is_here(target):
        return fetched(view.request, view.here, node, given, asked_of(wanted))
    third = transfers.archives_for(who=view.here).filter(title=str(target)).first()
    if third is None:
        raise NotFound("There is no node of the title TargetAet: nodes are registered in the administration.")
    selections = [
        [study, series, instances[start : start + LIST]]
        for study, series, instances in asked_of(wanted)
        for start in range(0, len(instances) or 1, LIST)
    ]
    row = begin(
        view, given, kind=OrthancJob.Kind.MOVE, work=KIND, node=node, target=third.title, total=len(selections),
        selections=selections,
    )  # fmt: skip
    for study in dict.fromkeys(study for study, *_ in selections):
        view.record(
            "move", AuditAction.EXECUTE, study_instance_uid=study, detail={"node": node.title, "target": third.title}
        )
    return answered(row, given, Unreachable)
