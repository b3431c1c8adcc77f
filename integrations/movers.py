"""What stays when patients are merged: a message tells what was said, and of whom."""

from radiology.services.patient_moves import stays

stays("integrations.hl7message.patient_ref")
