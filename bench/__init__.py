"""Benchmarks: what is fast, measured on this machine, written to a report that anyone can make again.

Outside the layers of `fleetcast`: they stand above it like tests do, drive its real processes and read its tables.
"""
