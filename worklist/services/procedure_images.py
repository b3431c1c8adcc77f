"""Which studies show the images of a requested procedure: those linked to it, and one that also serves it."""

from typing import Any

from django.db.models import Q, QuerySet, Subquery

from pacs.models import Study
from radiology.models import RequestedProcedure
from worklist.models import Reading


def of_procedure(procedure: RequestedProcedure) -> Q:
    """For a filter of studies. The subquery stands alone, so that either side is found by an index."""
    listed = Reading.objects.filter(requested_procedure_ref=procedure).values("study_ref")
    return Q(requested_procedure_ref=procedure) | Q(pk=Subquery(listed[:1]))


def studies_of(procedure: RequestedProcedure, who: Any) -> QuerySet[Study]:
    """Those of them that `who` may see, each once, the latest first."""
    return Study.objects.visible_to(who).filter(of_procedure(procedure)).order_by("-sort_at", "-pk")
