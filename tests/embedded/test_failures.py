"""What a server printed becomes one sentence that says what to do."""

import os
import pwd
from collections import namedtuple
from pathlib import Path

import pytest

from fleetcast.embedded import failures, memory
from fleetcast.embedded.account import server_account
from fleetcast.errors import ConfigurationError

Disk = namedtuple("Disk", "free")


@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        ('2026-01-01 FATAL:  could not write lock file "p.pid": No space left on device', "because its disk is full"),
        ("initdb: error: could not write file: Disk quota exceeded", "because its disk is full"),
        (
            'LOG: x\nFATAL:  could not open file "/d/a": Permission denied\n',
            r'refused by the system \(could not open file "/d/a": Permission denied\): correct owner or mode of /d',
        ),
        ("FATAL:  cannot create /d/x: Read-only file system", r"refused by the system .*Read-only file system\)"),
        (
            "LOG:  starting\nPANIC:  could not locate a valid checkpoint record\nLOG:  shut down",
            r"did not start on /d: could not locate a valid checkpoint record; more in /l\.$",
        ),
        (
            "FATAL:  cannot start /d/bin/initdb: Permission denied\n",
            r"was not allowed to run \(cannot start /d/bin/initdb: Permission denied\)\. .*noexec.*CAP_SETUID",
        ),
        ("something odd", "did not start on /d: something odd; more in /l"),
        ("", "did not start on /d: it printed nothing; more in /l"),
    ],
)
def test_last_words_become_one_sentence(printed: str, sentence: str) -> None:
    error = failures.why_not("PostgreSQL", printed, Path("/d"), Path("/l"))
    assert isinstance(error, ConfigurationError)
    with pytest.raises(ConfigurationError, match=f"^PostgreSQL .*{sentence}"):
        raise error
    assert "\n" not in str(error)


def test_a_disk_too_full_for_last_words_is_still_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Disk(free=4096))
    assert "its disk is full" in str(failures.why_not("Valkey", "", Path("/d")))


def test_a_user_without_a_name_is_told_that_postgres_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(pwd, "getpwuid", missing)
    with pytest.raises(ConfigurationError, match=r"user id 54321 has no entry in /etc/passwd.*DATABASE_URL"):
        server_account()


def test_servers_think_of_the_containers_memory_not_the_machines(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.mkdir()
    (fresh / "limit").write_text(f"{512 * memory.MEGABYTE}\n")
    (fresh / "none").write_text("max\n")
    monkeypatch.setattr(memory, "_LIMITS", (fresh / "none", fresh / "limit", fresh / "absent"))
    assert memory.share(8, least=16, most=256) == 64
    assert memory.share(8, least=128, most=256) == 128
    assert memory.share(1, least=16, most=256) == 256
