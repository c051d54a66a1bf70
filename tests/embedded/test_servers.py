"""The embedded servers start, answer, survive and stop; whatever a crash left behind, the next start works."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from fleetcast.embedded import children
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.errors import ConfigurationError, Conflict
from fleetcast.queue.client import check_server as check_redis
from fleetcast.store.connection import check_server as check_postgres
from tests.embedded.processes import Holder, OrdinaryUser, gone, wait_until

Hold = Callable[..., Holder]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as another account")


async def both_answer(servers: EmbeddedServers | Holder) -> None:
    """Both servers answer a real client."""
    database_url, redis_url = (
        (servers.database_url, servers.redis_url)
        if isinstance(servers, EmbeddedServers)
        else (str(servers.said["database_url"]), str(servers.said["redis_url"]))
    )
    assert (await check_postgres(database_url)).startswith("18.")
    assert (await check_redis(redis_url)).startswith("9.")


async def write_a_row(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE kept AS SELECT 'here' AS word")
    await connection.close()


async def read_the_row(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        word: str = await connection.fetchval("SELECT word FROM kept")
        return word
    finally:
        await connection.close()


def remove(data: Path) -> None:
    shutil.rmtree(data, ignore_errors=True)


async def test_both_servers_answer_on_sockets_and_open_no_port(data: Path) -> None:
    with EmbeddedServers(data) as servers:
        await both_answer(servers)
        for pid in (servers.postgres_pid, servers.valkey_pid):
            tree = psutil.Process(pid).children(recursive=True)
            for process in (psutil.Process(pid), *tree):
                assert process.net_connections(kind="inet") == []


async def test_commits_are_durable_by_default(data: Path) -> None:
    with EmbeddedServers(data, postgres_settings={"shared_buffers": "32MB"}) as servers:
        connection = await asyncpg.connect(servers.database_url)
        shown = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in (
                "fsync",
                "synchronous_commit",
                "full_page_writes",
                "listen_addresses",
                "dynamic_shared_memory_type",
                "shared_buffers",
                "server_encoding",
                "data_directory_mode",
            )
        }
        await connection.close()
    assert shown == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "dynamic_shared_memory_type": "mmap",
        "shared_buffers": "32MB",
        "server_encoding": "UTF8",
        "data_directory_mode": "0700",
    }


@as_root
def test_root_runs_the_servers_as_nobody_and_leaves_nothing_open(fresh: Path, request: pytest.FixtureRequest) -> None:
    nobody = pwd.getpwnam("nobody")
    groups_before = os.getgroups()
    os.setgroups([*groups_before, 12345])
    request.addfinalizer(lambda: os.setgroups(groups_before))
    with EmbeddedServers(fresh) as servers:
        for pid in (servers.postgres_pid, servers.valkey_pid):
            process = psutil.Process(pid)
            assert process.uids() == (nobody.pw_uid,) * 3
            assert process.gids() == (nobody.pw_gid,) * 3
            groups = Path(f"/proc/{pid}/status").read_text().split("Groups:")[1].splitlines()[0]
            assert groups.strip() == ""
            assert fresh.resolve() / "bin" in Path(process.exe()).parents
        for name, owner, mode in (
            (".", 0, 0o711),
            ("run", 0, 0o711),
            ("log", 0, 0o700),
            ("spool", 0, 0o700),
            ("simulator", 0, 0o700),
            ("postgres", nobody.pw_uid, 0o700),
            ("valkey", nobody.pw_uid, 0o700),
            ("run/sockets", nobody.pw_uid, 0o700),
        ):
            status = (fresh / name).stat()
            assert (name, status.st_uid, status.st_mode & 0o777) == (name, owner, mode)


@as_root
def test_root_without_the_unprivileged_account_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", missing)
    with pytest.raises(ConfigurationError, match="no unprivileged account `nobody`"):
        EmbeddedServers(data).__enter__()


@as_root
def test_root_is_told_which_folder_the_account_cannot_enter(data: Path) -> None:
    closed = data / "closed"
    closed.mkdir(parents=True, mode=0o700)
    with pytest.raises(ConfigurationError, match=rf"`nobody`, which may not enter {closed}.*FLEETCAST_DATA"):
        EmbeddedServers(closed / "data").__enter__()
    assert closed.stat().st_mode & 0o777 == 0o700


async def test_an_ordinary_user_runs_the_servers_as_himself(ordinary_user: OrdinaryUser, hold: Hold) -> None:
    data = ordinary_user.folder / "mine"
    holder = hold(data, *ordinary_user.options)
    assert "error" not in holder.said, holder.said
    await both_answer(holder)
    for pid in holder.pids:
        assert psutil.Process(pid).uids().real == ordinary_user.uid
    assert data.stat().st_mode & 0o777 == 0o700
    assert not list((data / "bin").iterdir())
    holder.finish()
    assert all(gone(pid) for pid in holder.pids)
    remove(data)


async def test_stopping_twice_is_stopping_once_and_data_stays(made: Path) -> None:
    with EmbeddedServers(made) as servers:
        await write_a_row(servers.database_url)
        pids = servers.postgres_pid, servers.valkey_pid
        servers.stop()
        servers.stop()
    assert all(pid is not None and gone(pid) for pid in pids)
    assert not (made / "postgres" / "postmaster.pid").exists()
    with servers:  # the same object may be started again
        assert await read_the_row(servers.database_url) == "here"


async def test_a_server_that_was_killed_is_named_and_started_again_on_its_data(made: Path) -> None:
    with EmbeddedServers(made) as servers:
        await write_a_row(servers.database_url)
        assert servers.check() == []
        old = servers.postgres_pid, servers.valkey_pid
        for pid in old:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: servers.check() == ["PostgreSQL", "Valkey"], "both are named")
        assert servers.restart_dead() == ["PostgreSQL", "Valkey"]
        assert servers.check() == []
        assert servers.restart_dead() == []
        assert {servers.postgres_pid, servers.valkey_pid}.isdisjoint(old)
        await both_answer(servers)
        assert await read_the_row(servers.database_url) == "here"


async def test_postgres_restarts_though_a_backend_of_the_killed_one_is_still_busy(made: Path) -> None:
    with EmbeddedServers(made) as servers:
        connection = await asyncpg.connect(servers.database_url)
        backend = connection.get_server_pid()
        os.kill(backend, signal.SIGSTOP)  # it cannot notice that its postmaster is gone
        assert servers.postgres_pid is not None
        os.kill(servers.postgres_pid, signal.SIGKILL)
        wait_until(lambda: servers.check() == ["PostgreSQL"], "it is named")
        assert servers.restart_dead() == ["PostgreSQL"]
        assert gone(backend)
        connection.terminate()
        await both_answer(servers)


async def test_servers_started_from_a_passing_thread_outlive_it(made: Path) -> None:
    servers = EmbeddedServers(made)
    thread = threading.Thread(target=servers.__enter__)
    thread.start()
    await asyncio.to_thread(thread.join)
    with servers_of(servers):
        assert servers.check() == []
        await both_answer(servers)


class servers_of:  # noqa: N801 (reads as a block)
    """Stops servers that were started elsewhere."""

    def __init__(self, servers: EmbeddedServers) -> None:
        self._servers = servers

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._servers.stop()


def test_a_second_owner_is_refused_with_the_first_ones_pid(made: Path, hold: Hold) -> None:
    holder = hold(made)
    with pytest.raises(
        Conflict, match=rf"process {holder.process.pid}\).*FLEETCAST_DATA|process {holder.process.pid}: "
    ):
        EmbeddedServers(made).__enter__()
    assert not any(gone(pid) for pid in holder.pids)
    holder.finish()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_servers_end_with_a_killed_parent(made: Path, hold: Hold) -> None:
    holder = hold(made)
    holder.process.kill()
    wait_until(lambda: all(gone(pid) for pid in holder.pids), "both servers have ended")
    assert not (made / "postgres" / "postmaster.pid").exists()  # a clean stop


async def test_nothing_blocks_the_start_after_the_parent_was_killed(made: Path, hold: Hold) -> None:
    holder = hold(made)
    await write_a_row(str(holder.said["database_url"]))
    holder.process.kill()
    holder.process.wait()
    with EmbeddedServers(made) as servers:  # at once: the old servers may still be stopping
        await both_answer(servers)
        assert await read_the_row(servers.database_url) == "here"
        assert all(gone(pid) for pid in holder.pids)


async def test_servers_that_outlived_their_parent_are_stopped_cleanly_first(made: Path, hold: Hold) -> None:
    holder = hold(made, "--deaf")  # as where the kernel sends no signal at a parent's death
    await write_a_row(str(holder.said["database_url"]))
    holder.process.kill()
    holder.process.wait()
    assert not any(gone(pid) for pid in holder.pids)
    with EmbeddedServers(made) as servers:
        assert all(gone(pid) for pid in holder.pids)
        assert await read_the_row(servers.database_url) == "here"
    assert "not properly shut down" not in (made / "log" / "postgres.log").read_text()


@pytest.fixture
def bystander() -> Iterator[int]:
    """A program that has nothing to do with us, run by the account of the servers."""
    user = "nobody" if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "300"], user=user) as process:
        yield process.pid
        process.kill()


async def test_a_pid_file_that_names_another_program_blocks_nothing_and_harms_nobody(
    made: Path, bystander: int
) -> None:
    with EmbeddedServers(made) as servers:
        await write_a_row(servers.database_url)
        kept = (made / "postgres" / "postmaster.pid").read_text().splitlines()
        record = (made / "run" / "valkey.pid").read_text().split(" ", 1)
    kept[0] = str(bystander)
    (made / "postgres" / "postmaster.pid").write_text("\n".join(kept))
    (made / "run" / "valkey.pid").write_text(f"{bystander} {record[1]}")
    (made / "run" / "sockets" / ".s.PGSQL.5432.lock").write_text("\n".join(kept))
    with EmbeddedServers(made) as servers:
        assert await read_the_row(servers.database_url) == "here"
    assert not gone(bystander)


async def test_a_pid_file_of_nobody_or_of_rubbish_blocks_nothing(made: Path) -> None:
    with EmbeddedServers(made) as servers:
        await write_a_row(servers.database_url)
        dead = str(servers.postgres_pid)
        kept = (made / "postgres" / "postmaster.pid").read_text().splitlines()
    for text in ("\n".join([dead, *kept[1:]]), ""):
        (made / "postgres" / "postmaster.pid").write_text(text)
        (made / "run" / "valkey.pid").write_text("rubbish")
        for name in (".s.PGSQL.5432", "valkey.sock"):
            (made / "run" / "sockets" / name).touch()
        with EmbeddedServers(made) as servers:
            await both_answer(servers)
            assert await read_the_row(servers.database_url) == "here"


def test_a_shell_standing_in_the_data_is_no_remains_of_a_server(made: Path) -> None:
    with EmbeddedServers(made):
        pass
    with subprocess.Popen(["sleep", "300"], cwd=made / "postgres") as shell:
        with EmbeddedServers(made):
            assert shell.poll() is None
        shell.kill()


async def test_an_initdb_that_was_killed_half_way_is_forgotten(data: Path) -> None:
    half = data / "postgres.new-half"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    (data / "postgres").mkdir()  # empty: made by hand, or a mount point
    with EmbeddedServers(data) as servers:
        await both_answer(servers)
    assert not half.exists()


def test_a_killed_start_never_leaves_data_that_looks_whole(fresh: Path, hold: Hold) -> None:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("holder.py")), str(fresh)], stdin=subprocess.PIPE
    )
    try:
        wait_until(
            lambda: any(fresh.glob("postgres.new-*/PG_VERSION")) or (fresh / "postgres").exists(), "initdb works"
        )
    finally:
        process.kill()
        process.communicate()
    holder = hold(fresh)
    assert "error" not in holder.said, holder.said
    holder.finish()


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda d: (d / "PG_VERSION").write_text("17\n"), "made by PostgreSQL 17.*brings PostgreSQL 18.*DATABASE_URL"),
        (lambda d: (d / "PG_VERSION").unlink(), "holds no PostgreSQL data.*move it away"),
        (lambda d: (d / "global" / "pg_control").unlink(), "PostgreSQL did not start on .*pg_control"),
    ],
    ids=["other major", "something else", "damaged"],
)
def test_data_that_cannot_be_used_gives_one_sentence(
    made: Path, break_it: Callable[[Path], object], sentence: str
) -> None:
    break_it(made / "postgres")
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        EmbeddedServers(made, valkey=False).__enter__()
    assert "\n" not in str(caught.value)


@as_root
def test_data_of_another_user_gives_one_sentence(made: Path) -> None:
    for path in ((made / "postgres"), *(made / "postgres").rglob("*")):
        os.chown(path, 12345, 12345)
    with pytest.raises(ConfigurationError, match=r"belongs to the user with id 12345.*`nobody`"):
        EmbeddedServers(made, valkey=False).__enter__()


def test_a_directory_that_cannot_be_written_gives_one_sentence(ordinary_user: OrdinaryUser, hold: Hold) -> None:
    closed = ordinary_user.folder / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(closed, 0, 0)
    holder = hold(closed / "data", *ordinary_user.options)
    assert holder.said["kind"] == "ConfigurationError"
    assert "cannot be used: Permission denied" in str(holder.said["error"])
    closed.chmod(0o755)
    remove(closed)


def test_a_disk_that_fills_up_gives_one_sentence_and_leaves_nothing_half_made(
    ordinary_user: OrdinaryUser, hold: Hold
) -> None:
    """A limit on the size of files stands in for the disk: the programs meet it at the same places."""
    data = ordinary_user.folder / "full"
    holder = hold(data, *ordinary_user.options, "--file-size", str(2**20))
    assert holder.said["kind"] == "ConfigurationError"
    assert "its disk is full: free some space" in str(holder.said["error"])
    assert not list(data.glob("postgres*"))
    whole = hold(data, *ordinary_user.options)
    assert "error" not in whole.said
    whole.finish()
    remove(data)


@as_root
@pytest.mark.parametrize("megabytes", [20, 60])
def test_a_full_disk_gives_one_sentence_and_room_mends_it(short_directory: Path, megabytes: int) -> None:
    small = short_directory / f"disk-{megabytes}"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=711", "none", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this root may not mount a small disk")
    try:
        with pytest.raises(ConfigurationError, match="its disk is full: free some space"):
            EmbeddedServers(small / "data").__enter__()
        subprocess.run(["mount", "-o", "remount,size=400m", small], check=True)
        with EmbeddedServers(small / "data") as servers:
            assert servers.check() == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(made: Path) -> None:
    with EmbeddedServers(made) as servers:
        for pid in (servers.postgres_pid, servers.valkey_pid):
            assert pid is not None
            assert os.getsid(pid) == pid
            assert os.getpgid(pid) == pid


async def test_only_the_missing_server_is_started(data: Path) -> None:
    with EmbeddedServers(data, postgres=False) as servers:
        assert servers.postgres_pid is None
        assert (await check_redis(servers.redis_url)).startswith("9.")
        with pytest.raises(RuntimeError, match="PostgreSQL is not started"):
            _ = servers.database_url
    assert not (data / "postgres").exists()


async def test_a_path_with_spaces_commas_quotes_and_letters_works(data: Path) -> None:
    with EmbeddedServers(data / "Karl's Büro, + 100 %{pid}") as servers:
        await both_answer(servers)


async def test_a_data_directory_too_deep_for_a_socket_works(data: Path) -> None:
    deep = data / ("d" * 100)
    with EmbeddedServers(deep) as servers:
        await both_answer(servers)
        folder = Path(servers.redis_url.removeprefix("unix://")).parent
        assert deep not in folder.parents
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_identity_tells_a_process_from_a_later_one_with_its_pid() -> None:
    assert children.identity(os.getpid()) == children.identity(os.getpid())
    with subprocess.Popen(["sleep", "300"]) as other:
        assert children.identity(other.pid) not in (None, children.identity(os.getpid()))
        other.kill()
        wait_until(lambda: gone(other.pid), "it is gone before anybody reads its status")
    assert children.identity(other.pid) is None
    assert children.identity(0) is None
