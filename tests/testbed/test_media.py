"""Files: what a recipient could not open is found, whatever is wrong with it."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from pyaileys.media import encrypt_media_bytes

from testbed.whatsapp_web.content import Attachment, read
from testbed.whatsapp_web.media import Damaged, MediaStore
from testbed.whatsapp_web.protobufs import Message

DATA = b"%PDF-1.4 a file" * 100


def uploaded(store: MediaStore) -> Attachment:
    """A file as another library seals it, and what its message says."""
    sealed = encrypt_media_bytes(DATA, media_type="document")
    token = base64.urlsafe_b64encode(sealed.file_enc_sha256).decode()
    store.upload(f"/mms/document/{token}?auth=x&token={token}", sealed.enc_bytes)
    return Attachment(
        kind="document",
        path=f"/v/{sealed.file_enc_sha256.hex()}",
        key=sealed.media_key,
        sha256=sealed.file_sha256,
        sealed_sha256=sealed.file_enc_sha256,
        length=len(DATA),
        mime="application/pdf",
        file_name="a.pdf",
    )


def test_a_file_is_opened_as_it_was_sealed(tmp_path: Path) -> None:
    store = MediaStore(tmp_path)
    opened = store.open(uploaded(store))
    assert opened == hashlib.sha256(DATA).hexdigest()
    assert store.opened(opened) == DATA
    assert store.uploads == {"document": 1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"path": f"/v/{'0' * 64}"}, "never uploaded"),
        ({"path": "/v/../../etc/passwd"}, "never uploaded"),
        ({"key": bytes(32)}, "check sum"),
        ({"kind": "image"}, "check sum"),
        ({"sha256": bytes(32)}, "opened file has another hash"),
        ({"sealed_sha256": bytes(32)}, "uploaded file has another hash"),
        ({"length": 3}, "the message says 3"),
    ],
)
def test_a_message_that_lies_about_its_file_is_found_out(tmp_path: Path, change: dict[str, object], why: str) -> None:
    store = MediaStore(tmp_path)
    with pytest.raises(Damaged, match=why):
        store.open(replace(uploaded(store), **change))  # type: ignore[arg-type]


def test_an_upload_must_be_what_its_address_says(tmp_path: Path) -> None:
    store = MediaStore(tmp_path)
    with pytest.raises(Damaged, match="another hash"):
        store.upload("/mms/image/AAAA", b"data")
    with pytest.raises(Damaged, match="nothing is uploaded"):
        store.upload("/etc/passwd", b"data")
    assert store.sealed("/nothing") is None


def test_a_document_inside_a_caption_is_a_document() -> None:
    message = Message()
    inner = message.documentWithCaptionMessage.message.documentMessage
    inner.caption, inner.fileName, inner.mimetype = "The list", "prices.pdf", "application/pdf"
    content = read(message.SerializeToString())
    assert (content.kind, content.text) == ("document", "The list")
    assert content.attachment is not None
    assert content.attachment.file_name == "prices.pdf"


def test_what_is_no_message_for_people_is_called_by_its_name() -> None:
    message = Message()
    message.reactionMessage.text = "👍"
    assert read(message.SerializeToString()).kind == "reactionMessage"
    assert read(b"").kind == "empty"
