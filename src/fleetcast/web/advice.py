"""Whether trying a message again makes sense, by why it was not sent: what a person wants to know of a failure.

Separate from the words of reasons because this is advice and not a translation; a new reason without any fails a test.
"""

from fleetcast.domain.message import Reason

AGAIN: dict[str, tuple[str, str]] = {
    Reason.OPT_OUT: ("No", "They asked for no more messages."),
    Reason.DEVICE_OFFLINE: ("Yes", "Once the device is online again."),
    Reason.DEVICE_REMOVED: ("No", "The device is gone. A copy of the campaign reaches them from another."),
    Reason.LEAD_REMOVED: ("No", "The person was taken off the list."),
    Reason.EXPIRED: ("Yes", "There was not enough time: it gets as much as it had again."),
    Reason.MISSING_VARIABLE: ("Later", "Fill in what these leads lack, or give the text a stand-in, in a copy."),
    Reason.RESTORED: ("Perhaps", "It may have gone out before the backup was restored: look at the device first."),
    Reason.NOT_ON_WHATSAPP: ("No", "These numbers have no WhatsApp."),
    Reason.RECIPIENT_REFUSED: ("No", "They block the number, or cannot get its messages."),
    Reason.CONTENT_REFUSED: ("No", "The same text is refused again: change it in a copy."),
    Reason.DEVICE_REFUSED: ("Later", "The number may not send now: see its device first."),
    Reason.RETRIES_EXHAUSTED: ("Yes", "Four attempts met trouble on the way; it may be over."),
    Reason.POISON: ("No", "Something about these messages stops the sender: tell who runs this machine."),
    Reason.CONTENT_CHANGED: ("No", "A copy of the campaign sends the text as it is now."),
    Reason.DELIVERY_FAILED: ("Perhaps", "WhatsApp took them and could not deliver them."),
    Reason.UNCONFIRMED: ("Only by hand", "They may have arrived; a copy may arrive twice."),
}
"""Reason of what failed or was skipped → whether a retry makes sense, and why or when."""
