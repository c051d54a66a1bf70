"""Videos and audio: recognised by their bytes, judged by what is in them, refused in words that say what to do."""

from collections.abc import Callable

import pytest

from fleetcast.domain.media import examine, recording_in, sniff, takes_text
from fleetcast.domain.recordings import LONGEST_MS, MOST_PIXELS, Container, Facts, Recording, Still, Track, judge
from fleetcast.errors import InvalidInput
from tests import recordings

LIMIT = 16 * 1024 * 1024
MP4 = b"\0\0\0\x20ftypisom\0\0\2\0"
THREE_GP = MP4.replace(b"isom", b"3gp5")
H264 = Track("video", "h264", width=640, height=480)
AAC = Track("audio", "aac", channels=2)


def facts(*tracks: Track, duration_ms: int = 5_000, declared_ms: int = 0, still: Still | None = None) -> Facts:
    return Facts(tracks, duration_ms, declared_ms, is_whole=True, still=still)


def refused(container: Container, found: Facts, data: bytes = MP4) -> str:
    with pytest.raises(InvalidInput) as refusal:
        judge(container, data, found)
    assert refusal.value.field == "media"
    return refusal.value.problem


def bare_mp3() -> bytes:
    """Of half the usual rate and without a tag, as speech often is: the library of signatures does not know it."""
    data = recordings.audio("libmp3lame", "mp3", rate=22_050)
    return data[data.index(b"\xff\xf3") :]


@pytest.mark.parametrize(
    ("make", "container"),
    [
        (recordings.video, Container.MP4),
        (lambda: recordings.video(container="3gp"), Container.MP4),
        (lambda: recordings.video(movflags="frag_keyframe+empty_moov"), Container.MP4),
        (recordings.audio, Container.MP4),
        (recordings.mp3, Container.MP3),
        (bare_mp3, Container.MP3),
        (recordings.aac, Container.AAC),
        (recordings.amr, Container.AMR),
        (recordings.opus, Container.OGG),
    ],
)
def test_what_encoders_write_is_recognised(make: Callable[[], bytes], container: Container) -> None:
    assert recording_in(make(), LIMIT) is container


def test_pictures_and_documents_are_no_recordings() -> None:
    assert recording_in(b"%PDF-1.7\n", LIMIT) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            lambda: recordings.video(container="mov"),
            "QuickTime film .MOV., which WhatsApp does not play: save it as plain MP4",
        ),
        (lambda: recordings.video().replace(b"ftypisom", b"ftypXAVC"), "It is an MP4 of an unusual kind .XAVC., which"),
        (lambda: recordings.video("libvpx-vp9", container="webm", audio="libopus"), "It looks like video/webm: send"),
        (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "send a JPEG"),
        (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", "send a JPEG"),
        (lambda: b"#!AMR-WB\n" + bytes(100), "send a JPEG"),
        (lambda: MP4.replace(b"isom", b"heic") + bytes(100), "send a JPEG|unusual kind .heic."),
        (lambda: recordings.audio("pcm_s16le", "wav"), "It looks like audio/wave?: send|It looks like audio"),
    ],
)
def test_what_whatsapp_does_not_play_is_refused_before_anything_reads_it(data: Callable[[], bytes], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        sniff(data())


def test_a_video_that_breaks_off_is_refused_before_anything_reads_it() -> None:
    whole = recordings.video()
    assert sniff(whole) is Container.MP4
    for length in range(whole.index(b"moov") + 8, len(whole) - 1, 97):
        with pytest.raises(InvalidInput, match="The video is damaged: it cannot be read to its end"):
            sniff(whole[:length])


def test_h264_with_aac_or_silent_is_a_video() -> None:
    assert judge(Container.MP4, MP4, facts(H264, AAC)) == Recording("video/mp4", 640, 480, 5_000)
    assert judge(Container.MP4, MP4, facts(H264)).mime == "video/mp4"
    assert judge(Container.MP4, THREE_GP, facts(H264, AAC)).mime == "video/3gpp"
    data = Track("data", "")
    assert judge(Container.MP4, MP4, facts(H264, AAC, data)).mime == "video/mp4", "phones add where it was filmed"


def test_a_video_that_was_filmed_upright_is_as_wide_as_it_is_seen() -> None:
    turned = judge(Container.MP4, MP4, facts(H264, still=Still(2, 1, 270, bytes(6))))
    assert (turned.width, turned.height) == (480, 640)


@pytest.mark.parametrize(
    ("container", "codec", "mime"),
    [
        (Container.MP4, "aac", "audio/mp4"),
        (Container.MP3, "mp3", "audio/mpeg"),
        (Container.AAC, "aac", "audio/aac"),
        (Container.AMR, "amr_nb", "audio/amr"),
        (Container.OGG, "opus", "audio/ogg"),
    ],
)
def test_audio_has_no_size_and_takes_no_text(container: Container, codec: str, mime: str) -> None:
    sound, cover = Track("audio", codec, channels=1), Track("video", "mjpeg", 500, 500, is_cover=True)
    found = judge(container, b"", facts(cover, sound) if container is not Container.OGG else facts(sound))
    assert (found.mime, found.width, found.height, found.duration_ms) == (mime, None, None, 5_000)
    assert not takes_text(mime)


@pytest.mark.parametrize(
    ("tracks", "words"),
    [
        ((Track("video", "hevc", 640, 480), AAC), "is HEVC (H.265); WhatsApp plays H.264 with AAC: convert it"),
        ((Track("video", "vp9", 640, 480),), "is VP9; WhatsApp plays H.264 with AAC: convert it"),
        ((Track("video", "odd", 640, 480),), "is ODD; WhatsApp plays"),
        ((Track("video", "", 640, 480),), "of an unknown kind; WhatsApp plays"),
        ((H264, Track("audio", "opus")), "The video's sound is Opus; WhatsApp plays H.264 with AAC"),
        ((H264, AAC, AAC), "has 2 sound tracks; WhatsApp plays one or none"),
        ((H264, H264), "has 2 pictures at once"),
        ((Track("video", "h264", 0, 480),), "is damaged"),
        ((Track("video", "h264", 30_000, 30_000),), "has 30,000 x 30,000 pixels; at most 4,096 x 2,304"),
        ((), "is damaged"),
        ((Track("subtitle", "mov_text"),), "is damaged"),
        (
            (Track("audio", "alac"),),
            "is Apple Lossless in an M4A file, which WhatsApp does not play: convert it to MP3",
        ),
        ((AAC, AAC), "has 2 sound tracks; WhatsApp plays one"),
    ],
)
def test_another_codec_is_named_with_what_to_do(tracks: tuple[Track, ...], words: str) -> None:
    assert words in refused(Container.MP4, facts(*tracks))


def test_ogg_is_opus_in_one_channel_or_refused() -> None:
    vorbis, stereo = Track("audio", "vorbis", channels=1), Track("audio", "opus", channels=2)
    assert "is Vorbis in an Ogg file, which WhatsApp does not play" in refused(Container.OGG, facts(vorbis), b"OggS")
    assert "with 2 channels; WhatsApp plays it with one: convert it to mono" in refused(
        Container.OGG, facts(stereo), b"OggS"
    )
    assert "is damaged" in refused(Container.OGG, facts(Track("video", "theora", 10, 10)), b"OggS")


def test_what_is_too_large_too_long_or_empty_is_refused_and_the_limits_are_exact() -> None:
    largest = Track("video", "h264", MOST_PIXELS // 2_304, 2_304)
    assert judge(Container.MP4, MP4, facts(largest)).width == 4_096
    assert judge(Container.MP4, MP4, facts(H264, duration_ms=LONGEST_MS)).duration_ms == LONGEST_MS
    assert "hours; at most 12" in refused(Container.MP4, facts(H264, duration_ms=LONGEST_MS + 1))
    assert "lasts 1,000 hours" in refused(Container.MP4, facts(H264, declared_ms=3_600_000_000))
    assert "is empty: it lasts less than a tenth of a second" in refused(Container.MP4, facts(H264, duration_ms=99))
    broken = Facts((H264,), 5_000, 5_000, is_whole=False)
    assert "is damaged" in refused(Container.MP4, broken)


def test_a_recording_is_not_examined_without_facts() -> None:
    with pytest.raises(ValueError, match="facts"):
        examine(recordings.mp3(), "a.mp3", LIMIT)


def test_the_name_of_a_recording_has_an_ending_that_tells_the_truth() -> None:
    medium = examine(recordings.mp3(), "song.exe", LIMIT, facts(Track("audio", "mp3", channels=1)))
    assert (medium.mime, medium.filename, medium.thumbnail) == ("audio/mpeg", "song.exe.mp3", None)
    assert examine(recordings.video(), "", LIMIT, facts(H264)).filename == "video.mp4"
    assert examine(recordings.opus(), "note.opus", LIMIT, facts(Track("audio", "opus", channels=1))).filename == (
        "note.opus"
    )
