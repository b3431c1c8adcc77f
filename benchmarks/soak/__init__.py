"""`make soak`: a mixed load for as long as told, processes killed meanwhile, and a ledger that must come true.

What the product acknowledges is written down outside of it; at the end each entry must be there exactly once,
identical, through the doors. On the way memory, handles and latencies are watched for what grows.
"""
