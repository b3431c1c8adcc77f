"""What others must know of the archive, told by plain Django signals (see radiology/signals.py)."""

from django.dispatch import Signal

# Sent within the transaction that stores a batch, at most once per batch. Keywords: studies (primary keys),
# new (primary keys of studies that are new, or were hidden until now).
studies_stored = Signal()
# A storage commitment request was checked, and its result is about to be told. Sent within the transaction. Keyword:
# commitment (StorageCommitment).
commitment_checked = Signal()
