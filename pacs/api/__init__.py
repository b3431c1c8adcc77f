"""`/api/v1`: the archive for hospital systems and scripts. Views decode, call one service, encode."""
