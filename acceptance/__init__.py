"""Long proofs that Fleetcast keeps its promises while everything around it breaks: `python -m acceptance`.

Beside the product, not in it: nothing here is installed, and the product never imports it.
"""
