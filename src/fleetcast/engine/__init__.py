"""The long-running loops, one a module."""
