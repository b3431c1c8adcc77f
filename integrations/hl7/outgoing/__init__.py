"""HL7 v2 out: what is told to whom (telling), how it is written (orders, patients), and how it gets there (queue)."""
