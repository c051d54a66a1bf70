"""`python -m fleetcast`: the same as the command `fleetcast`."""

from fleetcast.cli.main import run

if __name__ == "__main__":
    run()
