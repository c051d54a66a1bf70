"""The reasons of a device's state, in plain words: what happened, and what to do where somebody can do something."""

from fleetcast.domain.device import DeviceState

NO_SESSION = "there is no session of this device on this machine: link a phone to it"
HELD_ELSEWHERE = "another process of this machine still holds the session; it is opened as soon as that one lets go"
CONNECTION_LOST = "the connection to WhatsApp was lost; it comes back by itself"
NO_ANSWER = "WhatsApp does not answer on this connection; it is opened anew"
OUTDATED = "WhatsApp does not take this version any more: update Fleetcast"
REPLACED = (
    "the session was opened elsewhere, and Fleetcast does not fight for it. If a copy of its file runs on another "
    "machine, stop that one; else log the device out and link it again"
)
TIME_LOCK = (
    "WhatsApp locked new chats of this number for a while (error 463). Nothing is sent to people who have not written"
)
CHILD_ENDED = "the process that held the session ended; it is started again"
KEEPS_KILLING = (
    "the process that holds the session ended again while it worked on this device; it is tried in a process of its "
    "own. If that goes on, log the device out and link it again"
)
CONNECTING = "connecting"
NOBODY = "no phone took a code in time"
UNREACHABLE = "WhatsApp cannot be reached from this machine. Look at its network, and at the device's proxy"

_BANS = {
    "SEND_TO_TOO_MANY_PEOPLE": "too many people who do not have the number were written to",
    "BLOCKED_BY_USERS": "too many people blocked the number",
    "CREATED_TOO_MANY_GROUPS": "too many groups were made",
    "SENT_TOO_MANY_SAME_MESSAGE": "the same message was sent too often",
    "BROADCAST_LIST": "too many broadcast messages were sent",
}
_LOGOUTS = {
    "LOGGED_OUT": (DeviceState.LOGGED_OUT, "logged out on the phone: link it again"),
    "MAIN_DEVICE_GONE": (
        DeviceState.LOGGED_OUT,
        "logged out by WhatsApp: the phone's account is locked or gone (403). Look at the phone, then link it again",
    ),
    "UNKNOWN_LOGOUT": (DeviceState.BANNED, "WhatsApp banned the number (406): look at the phone"),
}


def logged_out(reason: str) -> tuple[DeviceState, str]:
    """What a logout means, by the library's name of its reason."""
    return _LOGOUTS.get(reason, (DeviceState.LOGGED_OUT, "logged out by WhatsApp or on the phone: link it again"))


def banned_for_now(code: str) -> str:
    """Why the number may not connect for a while."""
    return f"WhatsApp banned the number for a while: {_BANS.get(code, 'it does not say why')}"


def stream_error(code: str) -> str:
    """WhatsApp ended the connection."""
    return f"WhatsApp ended the connection (stream error {code or 'without a code'}); it comes back by itself"


def refused(reason: str, message: str) -> str:
    """WhatsApp did not take the connection."""
    said = message or reason.replace("_", " ").lower() or "without a reason"
    return f"WhatsApp refused the connection ({said}); it is tried again"


def unreachable(problem: str) -> str:
    """The library ended with these words."""
    if "proxy" in problem and ("refused" in problem or "proxyconnect" in problem or "socks" in problem):
        return "the device's proxy does not take the connection: check its address"
    if "unsupported proxy scheme" in problem:
        return "the device's proxy cannot be used: write it as http://… or socks5://…"
    if "dial" in problem or "handshake" in problem or "lookup" in problem:
        return UNREACHABLE
    return f"the connection to WhatsApp ended ({problem[:120]})"


def tried_again(reason: str) -> str:
    """The same, of what goes on by itself."""
    return f"{reason}; it is tried again"
