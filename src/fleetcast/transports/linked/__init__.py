"""Linked devices: sessions of WhatsApp Web, held by child processes that the transport owns."""
