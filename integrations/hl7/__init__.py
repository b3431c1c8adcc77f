"""HL7 v2: frames on the wire (mllp), messages (message), answers (acknowledgment), and what they do here."""
