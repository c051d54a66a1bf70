"""Pure rules: no input or output, no clock, no randomness that is not an argument."""
