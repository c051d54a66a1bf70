"""Fleetcast in a few tests, to be read from top to bottom by whoever meets it for the first time.

Rules: one idea a test; only what a person could ask for, never a table or a key; the real thing from file to ledger,
with the simulator in WhatsApp's place. Edge cases belong elsewhere.
"""
