"""How messages leave: one contract, one conformance suite, and a package for each way."""
