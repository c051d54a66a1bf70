"""What a running Fleetcast says about itself."""
