"""Pictures and documents: their kind by their bytes, data URLs, and names that are only labels."""

import base64
import io
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fleetcast.domain.media import ALLOWED, MOST_PIXELS, Medium, clean_filename, examine, parse_data_url, sniff
from fleetcast.errors import InvalidInput

LIMIT = 16 * 1024 * 1024
PDF = b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\ntrailer\n<< >>\n%%EOF\n"


def picture(kind: str, size: tuple[int, int] = (5, 3)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, kind)
    return buffer.getvalue()


def data_url(data: bytes, declared: str = "image/png") -> str:
    return f"data:{declared};base64,{base64.b64encode(data).decode()}"


def medium_in(url: str, limit: int = LIMIT) -> Medium:
    """As the service does it."""
    found = parse_data_url(url, limit)
    medium = examine(found.data, "", limit)
    found.agrees(medium.mime)
    return medium


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def webp_that_claims(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + sides
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(("kind", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")])
def test_f42_a_data_url_is_decoded_and_keeps_the_type_of_its_bytes(kind: str, mime: str) -> None:
    data = picture(kind)
    for declared in ("image/jpeg", "image/png", "IMAGE/JPG", "image/webp", "application/octet-stream", ""):
        medium = medium_in(data_url(data, declared))
        assert (medium.mime, medium.data, medium.width, medium.height) == (mime, data, 5, 3)
        assert medium.filename == "picture" + ALLOWED[mime][0]
        assert len(medium.sha256) == 64


def test_f42_a_document_has_no_pixels_and_keeps_its_name() -> None:
    medium = examine(PDF, "Preisliste März.pdf", LIMIT)
    assert (medium.mime, medium.filename, medium.size) == ("application/pdf", "Preisliste März.pdf", len(PDF))
    assert (medium.width, medium.height) == (None, None)


def test_lossless_and_plain_webp_tell_their_size() -> None:
    for lossless in (True, False):
        buffer = io.BytesIO()
        Image.new("RGB", (321, 123)).save(buffer, "WEBP", lossless=lossless)
        medium = examine(buffer.getvalue(), "a.webp", LIMIT)
        assert (medium.width, medium.height) == (321, 123)


@pytest.mark.parametrize(
    "data",
    [
        b"<html><script>alert(1)</script>",
        b"<!DOCTYPE html><p>",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a" + b"\0" * 20,
        b"MZ\x90\0" + b"\0" * 60,
        b"PK\x03\x04" + b"\0" * 40,
        b"#!/bin/sh\nrm -rf /\n",
        b"hello",
        b"\0",
        b" %PDF-1.7",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"x" + b"\xff\xd8\xff",
    ],
)
def test_s16_what_is_no_allowed_kind_by_its_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="send a JPEG, PNG or WebP picture, an MP4 or 3GP video") as refused:
        sniff(data)
    assert refused.value.field == "media"
    with pytest.raises(InvalidInput):
        medium_in(data_url(data, "image/png"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:text/html;base64,PGI+", "declares text/html"),
        ("data:image/svg+xml,<script>alert(1)</script>", "not base64"),
        ("data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode(), "declares image/svg"),
        ("data:image/gif;base64,R0lGODlh", "declares image/gif"),
        ("data:video/webm;base64,GkXfow==", "declares video/webm"),
        (data_url(PDF, "video/mp4"), "declares video/mp4, but the bytes are application/pdf"),
        ("data:image/png;base64,@@@@", "not valid base64"),
        ("data:image/png;base64,iVBOR", "not valid base64"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64", "not a data URL"),
        ("data:image/png," + "A" * 20, "not base64"),
        ("http://example.com/a.png", "not a data URL"),
        ("", "not a data URL"),
        ("data:" + ";" * 1_000_000, "not a data URL"),
        (data_url(PDF, "image/png"), "bytes are application/pdf"),
        (data_url(picture("PNG"), "application/pdf"), "bytes are image/png"),
    ],
)
def test_s16_a_data_url_that_is_damaged_or_lies_is_refused(url: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        medium_in(url)
    assert refused.value.field == "media"
    assert len(str(refused.value)) < 300


def test_s16_a_huge_data_url_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> bytes:
        raise AssertionError("decoded")

    monkeypatch.setattr(base64, "b64decode", forbidden)
    with pytest.raises(InvalidInput, match="more than 16 MB"):
        parse_data_url("data:image/png;base64," + "A" * 100_000_000, LIMIT)
    with pytest.raises(InvalidInput, match="more than 16 MB"):
        parse_data_url("data:image/png;base64," + "A" * (LIMIT // 3 * 4 + 8), LIMIT)


def test_the_size_limit_is_exact() -> None:
    data = picture("PNG")
    assert parse_data_url(data_url(data), len(data)).data == data
    assert parse_data_url(data_url(data).replace("iVBO", "\niV BO"), len(data)).data == data
    with pytest.raises(InvalidInput, match="make it smaller"):
        parse_data_url(data_url(data), len(data) - 1)
    with pytest.raises(InvalidInput, match="make it smaller"):
        examine(data, "a", len(data) - 1)


@pytest.mark.parametrize(
    "bomb", [png_that_claims(60_000, 60_000), webp_that_claims(16_000, 16_000), webp_that_claims(1 << 24, 1 << 24)]
)
def test_s15_a_pixel_bomb_is_refused_by_its_header_alone(bomb: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"pixels; at most 50 million"):
        examine(bomb, "bomb", LIMIT)


def test_s15_the_pixel_limit_is_exact() -> None:
    assert examine(png_that_claims(MOST_PIXELS // 5_000, 5_000), "a", LIMIT).width == MOST_PIXELS // 5_000
    with pytest.raises(InvalidInput, match="pixels"):
        examine(png_that_claims(MOST_PIXELS // 5_000 + 1, 5_000), "a", LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_with_a_torn_header_raises_nothing_but_a_refusal(kind: str) -> None:
    whole = picture(kind)
    for length in range(1, min(len(whole), 40)):
        with suppress(InvalidInput):
            examine(whole[:length], "a", LIMIT)


@settings(max_examples=100)
@given(
    prefix=st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"%PDF-1.4"]),
    rest=st.binary(max_size=80),
)
def test_rubbish_behind_a_right_signature_never_escapes_as_another_error(prefix: bytes, rest: bytes) -> None:
    with suppress(InvalidInput):
        examine(prefix + rest, "a", LIMIT)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../../etc/cron.d/x", "x.png"),
        ("..%2f..%2fetc%2fpasswd", "passwd.png"),
        ("..\\..\\windows\\a.png", "a.png"),
        ("/etc/passwd", "passwd.png"),
        ("a\0.png", "a.png"),
        ("a\r\nContent-Type: text.png", "aContent-Type_ text.png"),
        ("CON", "_CON.png"),
        ("con.png", "_con.png"),
        ("con .png", "_con.png"),
        ("lpt1.tar.gz", "_lpt1.tar.gz.png"),
        ("..", "picture.png"),
        ("", "picture.png"),
        ("   ", "picture.png"),
        (".png", "png.png"),
        (".htaccess", "htaccess.png"),
        ("photo.PNG", "photo.png"),
        ("photo.svg", "photo.svg.png"),
        ("evil\u202egnp.exe", "evilgnp.exe.png"),
        ('a<b>:"|?*.png', "a_b______.png"),
        ("图片.png", "图片.png"),
    ],
)
def test_s17_a_file_name_is_only_a_label(name: str, label: str) -> None:
    assert clean_filename(name, "image/png") == label


def test_s17_a_long_name_is_cut_between_characters_and_keeps_its_ending() -> None:
    label = clean_filename("é" * 5_000 + ".png", "image/png")
    assert len(label.encode()) <= 255
    assert label.endswith("é.png")


@settings(max_examples=100)
@given(name=st.text(max_size=400), mime=st.sampled_from(sorted(ALLOWED)))
def test_s17_no_name_at_all_becomes_a_path(name: str, mime: str) -> None:
    label = clean_filename(name, mime)
    assert 4 < len(label.encode()) <= 255
    assert label.endswith(ALLOWED[mime])
    assert not set(label) & set('/\\\0<>:"|?*\r\n')
    assert label[0] not in ". "
