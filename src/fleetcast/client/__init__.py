"""The Python client of the REST API: typed, asynchronous, and careful where networks are not.

    from fleetcast.client import Client

    async with Client("http://127.0.0.1:8080", key) as fleet:
        device = await fleet.devices.create("Shop KL", min_delay=10, max_delay=30)

Each attribute of `Client` is a resource of the API, each method one operation of its description. Results are frozen
dataclasses, lists are gone through with `async for`, refusals are exceptions (`ApiError` and below). It knows nothing
of the rest of Fleetcast and can be used from another machine.
"""

from fleetcast.client.audit import Entry
from fleetcast.client.campaigns import Audience, Campaign, CampaignDetails, Counts
from fleetcast.client.devices import Device, LoggedOut, Pairing, PairingCode, Proxy, ShownPairing
from fleetcast.client.enrolments import Enrolled, Enrolment, EnrolmentDetails, StepProgress
from fleetcast.client.errors import (
    ApiError,
    ClientError,
    Conflict,
    FieldError,
    Forbidden,
    InvalidInput,
    NotFound,
    ServerFault,
    TooMany,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from fleetcast.client.fleet import Client, Resources
from fleetcast.client.imports import (
    ImportCheck,
    ImportCounts,
    LeadImport,
    LeadImportDetails,
    Preview,
    PreviewedLead,
    PreviewedRow,
    RowProblem,
)
from fleetcast.client.keys import Key, MadeKey
from fleetcast.client.leads import Lead, LeadDetails, LeadsAdded, NewLead
from fleetcast.client.media import StoredMedia
from fleetcast.client.members import Invitation, MadeInvitation, Member
from fleetcast.client.messages import Attempt, Message, MessageStory, Resent, TimelineEntry
from fleetcast.client.pages import Page, Pages
from fleetcast.client.reports import (
    CampaignFigures,
    CampaignReport,
    DeviceFigures,
    DeviceFunnel,
    DevicePart,
    Failure,
    Fleet,
    Funnel,
    History,
    HistoryCounts,
    HistoryPeriod,
    Need,
    Overview,
    SequenceReport,
    StepFunnel,
)
from fleetcast.client.sequences import (
    ComingStep,
    EnrolmentRun,
    People,
    SequenceDetails,
    SequenceStep,
    StoredSequence,
)
from fleetcast.client.suppressions import Suppressed, Suppression
from fleetcast.client.workspace import Me, Workspace, WorkspaceFacts

__all__ = [
    "ApiError",
    "Attempt",
    "Audience",
    "Campaign",
    "CampaignDetails",
    "CampaignFigures",
    "CampaignReport",
    "Client",
    "ClientError",
    "ComingStep",
    "Conflict",
    "Counts",
    "Device",
    "DeviceFigures",
    "DeviceFunnel",
    "DevicePart",
    "Enrolled",
    "Enrolment",
    "EnrolmentDetails",
    "EnrolmentRun",
    "Entry",
    "Failure",
    "FieldError",
    "Fleet",
    "Forbidden",
    "Funnel",
    "History",
    "HistoryCounts",
    "HistoryPeriod",
    "ImportCheck",
    "ImportCounts",
    "InvalidInput",
    "Invitation",
    "Key",
    "Lead",
    "LeadDetails",
    "LeadImport",
    "LeadImportDetails",
    "LeadsAdded",
    "LoggedOut",
    "MadeInvitation",
    "MadeKey",
    "Me",
    "Member",
    "Message",
    "MessageStory",
    "Need",
    "NewLead",
    "NotFound",
    "Overview",
    "Page",
    "Pages",
    "Pairing",
    "PairingCode",
    "People",
    "Preview",
    "PreviewedLead",
    "PreviewedRow",
    "Proxy",
    "Resent",
    "Resources",
    "RowProblem",
    "SequenceDetails",
    "SequenceReport",
    "SequenceStep",
    "ServerFault",
    "ShownPairing",
    "StepFunnel",
    "StepProgress",
    "StoredMedia",
    "StoredSequence",
    "Suppressed",
    "Suppression",
    "TimelineEntry",
    "TooMany",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "Workspace",
    "WorkspaceFacts",
]
