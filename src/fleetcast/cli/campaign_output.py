"""How a campaign and its audience look in a terminal; separate from the commands, which only ask."""

from fleetcast.cli.output import emit_json, local_time, number, say, seconds, table
from fleetcast.domain.message import MessageStatus
from fleetcast.services.audience import AudiencePreview
from fleetcast.services.campaigns import CampaignReport

DEVICES_SHOWN = 20


def show_report(report: CampaignReport, zone: str, *, as_json: bool) -> None:
    """Print a campaign with its counts; times by the clock of `zone`."""
    if as_json:
        emit_json(
            {
                "campaign": report.campaign,
                "content": report.content,
                "devices": report.device_names,
                "planned": report.counts.planned,
                "counts": report.counts,
                "seconds_left": report.seconds_left,
            }
        )
        return
    c, counts = report.campaign, report.counts
    pace = "each device's own" if c.min_delay is None else f"{c.min_delay:g}-{c.max_delay:g} s"
    niches = f" {c.niche_match} of ".join(("", ", ".join(c.niches))).strip() if c.niches else "everybody"
    table(
        ("", f"Campaign {c.id}"),
        [
            ("title", c.title),
            ("status", f"{c.status} ({c.paused_reason})" if c.paused_reason else c.status),
            ("niches", niches),
            ("target", c.target_status),
            ("devices", "all" if report.device_names is None else ", ".join(report.device_names)),
            ("pace", pace),
            ("start", local_time(c.started_at or c.starts_at, zone)),
            ("deadline", local_time(c.expires_at, zone) if c.expires_at else f"{c.deadline_after} after the start"),
            ("when offline", c.when_offline),
            ("media", report.content.media_sha256 or "-"),
        ],
    )
    say("")
    say(report.content.body)
    say("")
    rows: list[tuple[str, str]] = [("planned", number(counts.planned))]
    for status in MessageStatus:
        if n := counts.by_status.get(status, 0):
            rows.append((status, number(n)))
            reasons = counts.by_reason.get(status, {})
            rows += [(f"  {reason}", number(m)) for reason, m in sorted(reasons.items(), key=lambda pair: -pair[1])]
    rows += [("delivered", number(counts.delivered)), ("read", number(counts.read))]
    table(("messages", ""), rows, right=("",))
    if report.seconds_left is not None:
        say(f"About {seconds(report.seconds_left)} left, if all devices are online.")
    if c.retiring_at is not None:
        since = local_time(c.retiring_at, zone)
        say(f"Its messages are deleted since {since}, having been kept as long as was set. The counts stay.")
    if c.replan:
        say("An edit is being planned anew; resume the campaign when that is through.")


def show_preview(found: AudiencePreview) -> None:
    """Print an audience."""
    table(
        ("people", ""),
        [
            ("reached", number(found.recipients)),
            ("  of them without a needed variable, skipped", number(found.lacking)),
            ("left out: on the suppression list", number(found.suppressed)),
            ("left out: refused consent", number(found.refused)),
        ],
        right=("",),
    )
    if found.by_device:
        say("")
        shown = list(found.by_device.items())[:DEVICES_SHOWN]
        table(("device", "people"), [(name, number(n)) for name, n in shown], right=("people",))
        if len(found.by_device) > len(shown):
            say(f"and {number(len(found.by_device) - len(shown))} more devices")
    if found.seconds is not None:
        say(f"About {seconds(found.seconds)} from first to last, if all devices are online.")
    say("")
    say(found.sample if found.sample is not None else found.sample_problem or "")
