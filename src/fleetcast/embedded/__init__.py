"""The embedded PostgreSQL and Valkey: programs from wheels, started and stopped as children of this process."""
