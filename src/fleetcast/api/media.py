"""Media: pictures, videos, audio and documents that messages carry, stored once a workspace under their hash."""

from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.api.limits import with_medium
from fleetcast.api.paging import After, Limit, Page
from fleetcast.domain.access import Scope
from fleetcast.domain.media import ALLOWED
from fleetcast.errors import InvalidInput
from fleetcast.services import media
from fleetcast.services.outbound import LONGEST_URL
from fleetcast.settings import Settings

router = APIRouter(route_class=GuardedRoute, tags=["media"])

LARGEST_TEXT = 2**28
POLICY = "default-src 'none'; sandbox"
"""Of what somebody uploaded: nothing in it may run or load anything, wherever it is opened."""

Hash = Annotated[str, Path(max_length=64, description="SHA-256 in hex.", examples=["9f86d081884c7d65…"])]


def media_bytes(settings: Settings) -> int:
    """The most bytes of a medium."""
    return settings.media_max_bytes


class StoredMedia(BaseModel):
    """A picture, video, audio or document."""

    model_config = ConfigDict(from_attributes=True)

    sha256: str = Field(description="Its name everywhere: of the bytes, in hex.")
    mime: str = Field(description="What the bytes are, whatever was said of them.", examples=["image/png"])
    filename: str = Field(examples=["offer.png"])
    size: int = Field(description="Bytes.")
    width: int | None = Field(description="Pixels, as it is seen; null for audio and documents.")
    height: int | None
    duration_ms: int | None = Field(
        description="How long a video or audio lasts, in milliseconds; null for pictures and documents.",
        examples=[12_480],
    )
    created_at: datetime


class MediaSource(BaseModel):
    """Where it is: one of the two."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(
        default=None,
        max_length=LONGEST_URL,
        description="An https address, fetched once and now.",
        examples=["https://example.com/offer.png"],
    )
    data_url: str | None = Field(
        default=None,
        max_length=LARGEST_TEXT,
        description="`data:image/png;base64,…`, `data:video/mp4;base64,…`",
        examples=["data:image/png;base64,"],
    )


@router.post(
    "/media",
    status_code=201,
    **needs(Scope.SEND, takes=(*ALLOWED, "application/octet-stream"), largest=media_bytes),
)
async def upload_media(
    request: Request,
    access: Caller,
    runtime: Open,
    response: Response,
    filename: Annotated[str, Query(max_length=1_000, description="A label for people.")] = "",
) -> StoredMedia:
    """Store the content of the request; its bytes say what it is. The same bytes are stored once.

    Pictures: JPEG, PNG, WebP. Videos: MP4 or 3GP with H.264, and AAC or no sound. Audio: MP3, M4A, AAC, AMR, and Ogg
    with Opus in one channel; a message with audio has no text. Documents: PDF. At most 16 MB.
    """
    data = await request.body()
    stored = await media.from_bytes(runtime, access.workspace_id, data, filename, actor=access.actor)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/media/{stored.sha256}"
    return StoredMedia.model_validate(stored)


@router.post("/media/from", status_code=201, **needs(Scope.SEND, largest=with_medium))
async def fetch_media(
    source: MediaSource, request: Request, access: Caller, runtime: Open, response: Response
) -> StoredMedia:
    """Store what an address or a data URL holds. Nothing is fetched again when messages go out."""
    if (source.url is None) == (source.data_url is None):
        raise InvalidInput("url", "give either url or data_url")
    if source.url is not None:
        stored = await media.from_url(runtime, access.workspace_id, source.url, actor=access.actor)
    else:
        stored = await media.from_data_url(runtime, access.workspace_id, source.data_url or "", actor=access.actor)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/media/{stored.sha256}"
    return StoredMedia.model_validate(stored)


@router.get("/media", **needs(Scope.READ))
async def list_media(access: Caller, runtime: Open, limit: Limit = 50, after: After = None) -> Page[StoredMedia]:
    """Media of the workspace, the newest first."""
    found, following = await media.list_media(runtime, access.workspace_id, after=after, limit=limit)
    return Page(items=[StoredMedia.model_validate(each) for each in found], next=following)


@router.get("/media/{sha256}", **needs(Scope.READ))
async def show_media(sha256: Hash, access: Caller, runtime: Open) -> StoredMedia:
    """What is known of one."""
    return StoredMedia.model_validate(await media.show_medium(runtime, access.workspace_id, sha256))


@router.get(
    "/media/{sha256}/content",
    response_class=Response,
    responses={200: {"description": "The bytes", "content": {kind: {} for kind in ALLOWED}}},
    **needs(Scope.READ),
)
async def download_media(sha256: Hash, access: Caller, runtime: Open) -> Response:
    """Its bytes, always as a download."""
    found = await media.read_medium(runtime, access.workspace_id, sha256)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.filename, safe='')}",
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
    }
    return Response(found.data, media_type=found.mime, headers=headers)
