"""Dates and times as Indonesian hospitals write them, in both languages."""
