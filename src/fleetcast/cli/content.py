"""What a message says, as options: the same for a campaign and for a step of a sequence."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fleetcast.errors import InvalidInput
from fleetcast.services.media import LocalFile

Body = Annotated[str | None, typer.Option(help="The text, in Liquid: 'Hello {{ name }}'.")]
BodyFile = Annotated[Path | None, typer.Option(help="A UTF-8 file with the text.")]
Media = Annotated[
    str | None,
    typer.Option(
        help="A picture, video, audio or document: a file, an https address or a data URL. Audio goes without a text."
    ),
]
NoMedia = Annotated[bool, typer.Option("--no-media", help="Take the picture, video, audio or document away.")]


def content_fields(body_file: Path | None, media: str | None, **given: object) -> dict[str, Any]:
    """The options that were given, as fields; what was not given is not there. Raises InvalidInput."""
    fields = {name: value for name, value in given.items() if value is not None}
    if body_file is not None:
        if "body" in fields:
            raise InvalidInput("body", "give --body or --body-file, not both")
        fields["body"] = read_text("body", body_file)
    if media is not None:
        is_file = media.strip() and "://" not in media and not media.lower().startswith("data:")
        fields["media"] = LocalFile(Path(media)) if is_file else media
    return fields


def read_text(field: str, path: Path) -> str:
    """A file of text. Raises InvalidInput."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(field, f"{path} is not a UTF-8 text; save it as one") from None
    except OSError as error:
        raise InvalidInput(field, f"{path} cannot be read: {error.strerror}") from None
