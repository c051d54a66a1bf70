"""Fleetcast: self-hosted WhatsApp broadcasts."""
