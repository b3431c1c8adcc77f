"""What others must know of the worklist, told by plain Django signals (see radiology/signals.py)."""

from django.dispatch import Signal

# A scheduled step moved to another state. Sent within the transaction. Keywords: step, before (its state), who.
step_moved = Signal()
# A scheduled step was made, or its time, room or device changed. Sent within the transaction. Keywords: step, who.
step_scheduled = Signal()
# The procedures that a study serves changed: a link was made or taken back. Sent within the transaction.
# Keywords: study, procedures (of now, the study's own first; none when it was taken back), before (those until then),
# who.
study_linked = Signal()
# A device says that it had chosen the wrong entry of its worklist: the images of a performed step are another
# examination's. Sent within the transaction. Keywords: performed, studies (their Study Instance UIDs).
performed_step_wrong_entry = Signal()
# A performed step began, changed or ended. Sent within the transaction. Keywords: performed, before (its status).
performed_step_changed = Signal()
# A study is complete: the device says so, or had all of it committed to storage, or its quiet period has passed. Sent
# within the transaction. Keywords: study, performed (the performed steps behind it), completion.
study_completed = Signal()
# Images arrived for a study that was complete. Sent within the transaction. Keywords: study, completion.
study_reopened = Signal()
