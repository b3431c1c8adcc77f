"""Which status a peer is told of an error: what radiology.errors says, and for DIMSE-N what PS3.7 Annex C has."""

from collections.abc import Mapping

from pacs.dimse.message import NORMALIZED, CommandField, Status
from radiology import errors
from radiology.errors import outcome_of

# Of DIMSE-N: those of DIMSE-C (A700, C000 and so on) mean nothing there.
_NORMALIZED: Mapping[type[Exception], int] = {
    errors.InvalidValue: Status.INVALID_ATTRIBUTE_VALUE,
    errors.NotAuthenticated: Status.NOT_AUTHORISED,
    errors.NotAllowed: Status.NOT_AUTHORISED,
    errors.NotFound: Status.NO_SUCH_SOP_INSTANCE,
    errors.Conflict: Status.DUPLICATE_SOP_INSTANCE,
    errors.TooLarge: Status.RESOURCE_LIMITATION,
    errors.OutOfResources: Status.RESOURCE_LIMITATION,
}
# These have arguments where the others have attributes.
_WITH_ARGUMENTS = (CommandField.N_ACTION_RQ, CommandField.N_EVENT_REPORT_RQ)


def status_of(error: BaseException, command_field: int) -> int:
    """The status that answers a request of that kind which ended in `error`."""
    if command_field not in NORMALIZED:
        return outcome_of(error).dimse
    if isinstance(error, errors.InvalidValue) and command_field in _WITH_ARGUMENTS:
        return Status.INVALID_ARGUMENT_VALUE
    return next((_NORMALIZED[kind] for kind in type(error).__mro__ if kind in _NORMALIZED), Status.PROCESSING_FAILURE)
