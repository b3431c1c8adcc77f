"""What others must know of, to the right of us, told by plain Django signals.

What can be made again later is told with `send_robust` in `transaction.on_commit`: a listener that fails
changes nothing here. What must change together is told within the transaction, and says so.
"""

from django.dispatch import Signal

# A patient's row was written. Sent within the transaction. Keywords: patient, is_new, changes (by field: before and
# after), who.
patient_saved = Signal()

# An order with its procedures was placed. Sent within the transaction. Keywords: order, procedures, who.
order_placed = Signal()
# Asked before an accession number is given out: a receiver that knows of something with this number answers True.
# Keywords: site, accession_number.
accession_number_chosen = Signal()
# An order, or one of its procedures, changed or moved to another state. Sent within the transaction.
# Keywords: order, procedures (those concerned), changes (by field: before and after), who; reason of a move.
order_changed = Signal()
# A version of a report was published: preliminary, signed, changed, added to or withdrawn. Sent within the transaction.
# Keywords: report, version (ReportVersion), who.
report_published = Signal()
# A resident asked for a second signature, or a supervisor sent the report back. Sent within the transaction.
# Keywords: co_signature (CoSignature), who.
co_signature_changed = Signal()
# A report is held because its images were moved, they were moved again, or it was let go. Sent within the transaction.
# Keywords: report, hold (ReportHold), who.
report_hold_changed = Signal()
# Images came after their study was reported, or somebody answered that. Sent within the transaction.
# Keywords: report, late (LateImages), who.
late_images_changed = Signal()
# One patient was merged into another; what the movers know has moved. Sent within the transaction.
# Keywords: merge (PatientMerge), survivor (Patient), merged (Patient), who.
patient_merged = Signal()

# A merge was taken back; what it had moved is the merged patient's again. Sent within the transaction.
# Keywords: merge (PatientMerge), survivor (Patient), merged (Patient), who.
patient_unmerged = Signal()

# A critical result was raised, escalated, acknowledged or withdrawn. Sent within the transaction.
# Keywords: result (CriticalResult), change (CriticalEventKind), who.
critical_result_changed = Signal()
