"""Who may come in: users and passwords, sessions, second factor, members and invitations, keys of the API.

A folder of its own because all of it changes together, and because nothing else in the services needs to know how
somebody proved who they are: they are given an `Access`.
"""
