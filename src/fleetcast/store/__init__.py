"""PostgreSQL: the truth. Every SQL statement of the product is in this package, grouped by noun.

Functions take an open connection (a transaction belongs to the service or loop that calls) and the workspace first.
"""
