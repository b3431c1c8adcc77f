"""The part of `/api/v1` about what is scheduled and performed."""
