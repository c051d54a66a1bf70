"""Videos and audio are read in a process of their own, and whatever a file does to it ends in a sentence, soon."""

import asyncio
import base64
import io
import json
import os
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.recordings import Container, Facts
from fleetcast.errors import InvalidInput, Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services import media
from fleetcast.services import recordings as reading
from fleetcast.store import media as stored_media
from tests import recordings

DAMAGED = "The video is damaged: it cannot be read to its end"


async def read(data: bytes, container: Container = Container.MP4) -> Facts:
    return await reading.read(data, container, asyncio.Semaphore(1))


async def refusal(data: bytes, container: Container = Container.MP4) -> str:
    with pytest.raises(InvalidInput) as refused:
        await read(data, container)
    assert refused.value.field == "media"
    return refused.value.problem


async def instead(source: str, *, patience: float = 60.0, data: bytes = b"a film") -> str:
    """What is said when this program runs in place of the reader."""
    with pytest.raises(InvalidInput) as refused:
        await reading.read(
            data,
            Container.MP4,
            asyncio.Semaphore(1),
            program=(sys.executable, "-I", "-c", source),
            patience=patience,
        )
    assert refused.value.field == "media"
    return refused.value.problem


async def stored(runtime: Runtime, workspace: WorkspaceId, data: bytes, name: str = "") -> tuple[object, ...]:
    found = await media.from_bytes(runtime, workspace, data, name)
    return found.mime, found.filename, found.width, found.height, found.duration_ms


# --- what is stored --------------------------------------------------------------------------------------------------


async def test_videos_and_audio_are_stored_with_what_a_phone_has_to_know(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    assert await stored(runtime, workspace, recordings.video(), "a.mp4") == ("video/mp4", "a.mp4", 64, 48, 1022)
    silent = recordings.video(audio=None)
    assert await stored(runtime, workspace, silent, "b.mp4") == ("video/mp4", "b.mp4", 64, 48, 1000)
    old = recordings.video(container="3gp")
    assert await stored(runtime, workspace, old) == ("video/3gpp", "video.3gp", 64, 48, 1022)
    for data, mime, name in (
        (recordings.audio(), "audio/mp4", "audio.m4a"),
        (recordings.mp3(), "audio/mpeg", "audio.mp3"),
        (recordings.audio("libmp3lame", "mp3", rate=22_050), "audio/mpeg", "audio.mp3"),
        (recordings.aac(), "audio/aac", "audio.aac"),
        (recordings.amr(), "audio/amr", "audio.amr"),
        (recordings.opus(), "audio/ogg", "audio.ogg"),
    ):
        found = await media.from_bytes(runtime, workspace, data, "")
        assert (found.mime, found.filename, found.width, found.height) == (mime, name, None, None)
        assert found.duration_ms is not None
        assert 990 <= found.duration_ms <= 1_150


async def test_a_video_is_kept_with_its_first_picture_upright_and_small(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    for turned, size in ((False, (64, 48)), (True, (48, 64))):
        found = await media.from_bytes(runtime, workspace, recordings.video(turned=turned), "")
        assert (found.width, found.height) == size
        async with runtime.db.connection() as connection:
            held = await stored_media.get(connection, workspace, found.sha256)
        assert held is not None
        assert held.thumbnail is not None
        with Image.open(io.BytesIO(held.thumbnail)) as picture:
            assert (picture.format, picture.size) == ("JPEG", size)
            first, last = picture.getpixel((3, 3)), picture.getpixel((size[0] - 3, size[1] - 3))
        assert isinstance(first, tuple)
        assert isinstance(last, tuple)
        assert first[0] > 200 > 50 > first[2], "it begins with red"
        assert last[2] > 200 > 50 > last[0], "and ends with blue"


async def test_a_data_url_of_a_video_says_so_or_is_refused(runtime: Runtime, workspace: WorkspaceId) -> None:
    encoded = base64.b64encode(recordings.opus()).decode()
    found = await media.from_data_url(runtime, workspace, f"data:audio/ogg;codecs=opus;base64,{encoded}")
    assert (found.mime, found.filename) == ("audio/ogg", "audio.ogg")
    with pytest.raises(InvalidInput, match="declares video/mp4, but the bytes are audio/ogg"):
        await media.from_data_url(runtime, workspace, f"data:video/mp4;base64,{encoded}")


async def test_a_refused_recording_leaves_nothing_behind(runtime: Runtime, workspace: WorkspaceId) -> None:
    with pytest.raises(InvalidInput, match="HEVC"):
        await media.from_bytes(runtime, workspace, recordings.video("libx265"), "a.mp4")
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM media") == 0


async def test_what_happened_is_in_the_audit_trail_with_its_length(runtime: Runtime, workspace: WorkspaceId) -> None:
    await media.from_bytes(runtime, workspace, recordings.mp3(), "a.mp3", actor="somebody")
    async with runtime.db.connection() as connection:
        after = await connection.fetchval("SELECT after FROM audit WHERE action = 'media.add'")
    assert after == {"mime": "audio/mpeg", "size": len(recordings.mp3()), "duration_ms": 1071}


# --- hostile files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD><BaseURL>http://169.254.169.254/</BaseURL></MPD>",
        b"[playlist]\nFile1=/etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ],
)
async def test_s11_a_list_of_addresses_is_damaged_whatever_it_is_called(script: bytes) -> None:
    for container in Container:
        assert "is damaged" in await refusal(script, container)
        dressed = b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + script
        assert "is damaged" in await refusal(dressed, container)


async def test_s11_even_a_reader_of_lists_opens_nothing(tmp_path: Path) -> None:
    """The second lock: what would happen if the kind of reader were ever chosen by the file."""
    secret = tmp_path / "secret.ts"
    secret.write_bytes(recordings.video(container="mpegts"))
    secret.chmod(0o644)
    script = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n".encode()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(reading.PROGRAM), "hls", "1000000", "10"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate(script)
    assert json.loads(said) == {"problem": "damaged"}


async def test_s15_a_video_that_is_cut_anywhere_is_refused(runtime: Runtime, workspace: WorkspaceId) -> None:
    for whole in (recordings.video(), recordings.video(movflags="frag_keyframe+empty_moov")):
        for place in range(60, len(whole) - 8, len(whole) // 9):
            with pytest.raises(InvalidInput, match=DAMAGED):
                await media.from_bytes(runtime, workspace, whole[:place], "a.mp4")
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM media") == 0


def put(data: bytes, box: bytes, offset: int, *words: int) -> bytes:
    """The same file with other numbers, of four bytes each, so far behind the name of a box."""
    at = data.index(box, data.index(b"moov")) + 4 + offset
    return data[:at] + struct.pack(f">{len(words)}I", *words) + data[at + 4 * len(words) :]


async def test_s15_a_box_that_claims_a_huge_picture_is_not_believed() -> None:
    data = recordings.video(audio=None)
    claims = put(data, b"avc1", 24, 65_535 << 16 | 65_535)
    assert claims != data
    assert [(t.width, t.height) for t in (await read(claims)).tracks] == [(64, 48)], "the stream itself says so"


async def test_s15_a_video_that_is_too_large_is_refused_and_never_decoded(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    large = recordings.video(width=4_112, height=2_304, frames=2, audio=None)
    assert (await read(large)).still is None
    with pytest.raises(InvalidInput, match="4,112 x 2,304 pixels; at most 4,096 x 2,304"):
        await media.from_bytes(runtime, workspace, large, "a.mp4")


async def test_s15_samples_that_last_for_years_are_refused(runtime: Runtime, workspace: WorkspaceId) -> None:
    endless = put(recordings.video(audio=None), b"stts", 8, 12, 2**31 - 1)
    with pytest.raises(InvalidInput, match="The video says that it lasts 49 hours; at most 12 are sent: shorten it"):
        await media.from_bytes(runtime, workspace, endless, "a.mp4")


async def test_s15_an_index_of_four_thousand_million_samples_is_damaged(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    for size in (0, 1):
        many = put(recordings.video(audio=None), b"stsz", 4, size, 2**32 - 1)
        with pytest.raises(InvalidInput, match=DAMAGED):
            await media.from_bytes(runtime, workspace, many, "a.mp4")


async def test_s15_an_index_that_leads_beyond_the_end_is_damaged() -> None:
    assert not (await read(put(recordings.audio(), b"stco", 8, 2**31))).is_whole
    data = recordings.video(frames=60)
    last = 8 + 4 * (int.from_bytes(data[(at := data.index(b"stco") + 8) : at + 4], "big") - 1)
    assert last > 8
    assert not (await read(put(data, b"stco", last, 2**31))).is_whole, "most of it is there, and the end is not"


async def test_rubbish_behind_a_right_signature_is_damaged() -> None:
    for number in range(8):
        rubbish = bytes((n * 31 + number * 7) % 256 for n in range(4_000))
        for container, head in (
            (Container.MP4, b"\0\0\0\x18ftypisom\0\0\2\0isommp41"),
            (Container.OGG, b"OggS\0\2"),
        ):
            assert "is damaged" in await refusal(head + rubbish, container)


async def test_a_flipped_byte_anywhere_gives_facts_or_a_refusal() -> None:
    data = recordings.video()
    for place in range(0, len(data), len(data) // 16):
        torn = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        with suppress(InvalidInput):
            await read(torn)


# --- the reader itself -----------------------------------------------------------------------------------------------


async def test_a_reader_that_crashes_or_talks_nonsense_is_a_refusal() -> None:
    assert DAMAGED in await instead("import os; os.abort()")
    assert DAMAGED in await instead("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert DAMAGED in await instead("pass")
    for said in (
        "", "[]", "null", "{}", "1e999", '{"facts": null}', '{"facts": []}', '{"problem": "another"}', "[" * 100_000,
        '{"facts": {"tracks": 5}}',
        '{"facts": {"tracks": [{}], "duration_ms": 1, "declared_ms": 1, "is_whole": true, "still": null}}',
        '{"facts": {"tracks": [], "duration_ms": -1, "declared_ms": 1, "is_whole": true, "still": null}}',
        '{"facts": {"tracks": [], "duration_ms": true, "declared_ms": 1, "is_whole": true, "still": null}}',
        (
            '{"facts": {"tracks": [], "duration_ms": 1, "declared_ms": 1, "is_whole": true, "still": '
            '{"width": 9000, "height": 9000, "turn": 0, "rgb": ""}}}'
        ),
    ):  # fmt: skip
        assert DAMAGED in await instead(f"print({said!r})")


async def test_a_reader_that_does_not_stop_talking_is_ended() -> None:
    assert DAMAGED in await instead("import sys\nwhile True: sys.stdout.write('x' * 65536)")


async def test_a_reader_that_hangs_or_works_for_ever_is_ended_in_time(tmp_path: Path) -> None:
    whose = tmp_path / "pid"
    source = f"import os, time\nopen({str(whose)!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)"
    async with asyncio.timeout(20):
        assert "could not be read within 2 seconds: export it again" in await instead(source, patience=2.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(whose.read_text()), 0)
    async with asyncio.timeout(20):
        assert "within 1 seconds" in await instead("while True: pass", patience=1.0, data=bytes(8_000_000))


async def test_a_reader_whose_caller_is_gone_is_ended(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = f"import os, time\nopen({str(pipe)!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)"
    asked = asyncio.create_task(
        reading.read(b"", Container.MP4, asyncio.Semaphore(1), program=(sys.executable, "-I", "-c", source))
    )
    pid = int(await asyncio.to_thread(pipe.read_text))
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


async def test_where_the_library_is_missing_it_is_said_what_to_install(tmp_path: Path) -> None:
    hidden = reading.PROGRAM.read_text().replace("import av\n", "import av_that_is_not_there\n")
    program = tmp_path / "reader.py"
    program.write_text(hidden)
    with pytest.raises(InvalidInput, match=r"need the Python package av \(pip install av\)") as refused:
        await reading.read(
            recordings.mp3(), Container.MP3, asyncio.Semaphore(1), program=(sys.executable, "-I", str(program))
        )
    assert refused.value.problem.startswith("The audio cannot be looked at on this machine")


async def test_the_reader_can_open_no_file_no_connection_and_no_process(tmp_path: Path) -> None:
    """What a file that took it over would try first."""
    attempts = """
    failed = []
    for name, attempt in {
        "read": lambda: open("/etc/passwd"),
        "write": lambda: open("/tmp/written-by-a-reader", "w"),
        "connect": socket.socket,
        "start": os.fork,
        "memory": lambda: bytearray(2**30),
    }.items():
        try:
            if attempt() == 0:
                os._exit(9)
        except (OSError, MemoryError):
            failed.append(name)
    sys.stdout.write(json.dumps({"failed": failed, "user": os.getuid(), "cpu": resource.getrlimit(0)[1]}))
    sys.stdout.flush()
    os._exit(0)
"""
    source = reading.PROGRAM.read_text().replace("import sys\n", "import sys\nimport socket\nimport resource\n", 1)
    assert "    data = sys.stdin.buffer.read()\n" in source
    tried = tmp_path / "tried.py"
    tried.write_text(source.replace("    data = sys.stdin.buffer.read()\n", attempts))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(tried), "mov", "1000", "10"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    told = json.loads((await process.communicate())[0])
    assert told["failed"] == ["read", "write", "connect", "start", "memory"]
    assert told["cpu"] == 10
    assert told["user"] != 0


async def test_the_reader_is_told_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:password@host/name")
    monkeypatch.setenv("FLEETCAST_SECRET_KEY", "x" * 32)
    seen = tmp_path / "seen"
    await instead(f"import os\nopen({str(seen)!r}, 'w').write(' '.join(os.environ))")
    assert not {name for name in seen.read_text().split() if name.startswith(("DATABASE", "FLEETCAST"))}


async def test_a_machine_that_starts_no_process_is_not_the_files_fault() -> None:
    with pytest.raises(Unavailable, match=r"starts no process for it \(No such file or directory\). Try again"):
        await reading.read(recordings.mp3(), Container.MP3, asyncio.Semaphore(1), program=("/nowhere/python",))


async def test_only_so_many_readers_run_at_once(tmp_path: Path) -> None:
    places = asyncio.Semaphore(1)
    async with places:
        waiting = asyncio.create_task(reading.read(recordings.mp3(), Container.MP3, places))
        done, _ = await asyncio.wait({waiting}, timeout=0.01)
        assert not done
    assert (await waiting).duration_ms == 1071
