"""What others must know of the archive, told by plain Django signals (see radiology/signals.py)."""

from django.dispatch import Signal

# Sent within the transaction that stores a batch, at most once per batch. Keywords: studies (primary keys),
# new (primary keys of studies that are new, or were hidden until now), returned (those of `new` that were hidden),
# instances (primary keys of the new objects), is_ours (whether all of them were made here, of a report or of a
# rejection).
studies_stored = Signal()
# What studies or their series say was corrected, they became another patient's, or series moved between them. Sent
# within the transaction, also when objects were only hidden or shown. Keyword: studies (primary keys).
studies_changed = Signal()
# A storage commitment request was checked, and its result is about to be told. Sent within the transaction. Keyword:
# commitment (StorageCommitment).
commitment_checked = Signal()
# Asked for the studies that serve a procedure besides those that are linked to it: a receiver that knows of some
# answers their primary keys. Keyword: procedure (RequestedProcedure).
studies_sought = Signal()
