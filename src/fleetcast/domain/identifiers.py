"""Names for the numbers that point at rows, so that a lead's id cannot be passed where a device's is meant."""

from typing import NewType

WorkspaceId = NewType("WorkspaceId", int)
DeviceId = NewType("DeviceId", int)
LeadId = NewType("LeadId", int)
CampaignId = NewType("CampaignId", int)
SequenceId = NewType("SequenceId", int)
StepId = NewType("StepId", int)
EnrolmentId = NewType("EnrolmentId", int)
ContentId = NewType("ContentId", int)
MessageId = NewType("MessageId", int)
ShardId = NewType("ShardId", int)
Epoch = NewType("Epoch", int)
"""A shard's lease number. It only grows; whoever holds an older one has been fenced off."""
Phone = NewType("Phone", str)
"""A telephone number in E.164, `+` and digits."""
Reference = NewType("Reference", str)
"""Our opaque name of one attempt, `install-message-attempt`; transports that can carry it give it back as evidence."""
