"""Redis or Valkey: hints, nudges and live events. It may be emptied at any moment and nothing is lost."""
