"""Use cases: one function, one transaction. Hints, nudges and events go out after the commit."""
