"""Whom something reaches and at what pace, as options: the same for a campaign and for a sequence."""

from typing import Annotated

import typer

from fleetcast.domain.campaign import NicheMatch, TargetStatus

Match = Annotated[NicheMatch | None, typer.Option(help="Whether a lead needs any or all of the niches.")]
Target = Annotated[TargetStatus | None, typer.Option(help="Whom: by default all.")]
MinDelay = Annotated[float | None, typer.Option(help="Shortest gap of a device in seconds; without: its own pace.")]
MaxDelay = Annotated[float | None, typer.Option(help="Longest gap of a device in seconds.")]
