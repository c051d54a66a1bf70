"""The simulator: plays WhatsApp for many devices in a process of its own, with an fsynced ledger as the judge."""
