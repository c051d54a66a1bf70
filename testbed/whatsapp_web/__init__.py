"""A local server that speaks the wire protocol of WhatsApp Web, and the phones behind it. Loopback only.

A real client library, unmodified, pairs with it, logs in, sends, and is told what became of its messages; every message
is decrypted as its recipient would and kept in an append-only record. It says how that library and the code around it
behave. It says nothing about how WhatsApp's own servers do (docs/testbed.md).
"""
