"""The REST API, version 1: one module a resource, an edge over the services and nothing else.

What holds for every route is here: `guard` (who may), `problems` (what is said when not), `paging`, `app` (all of it
together, its description and its documentation).
"""
