"""Doubles of the outside world, at the level of bytes on the wire. For tests, demos and proofs.

Nothing here imports the product, and nothing of the product imports this.
"""
