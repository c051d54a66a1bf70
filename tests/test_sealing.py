"""The key of sealed secrets: made once, readable by its owner alone, and known again."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from fleetcast.errors import ConfigurationError
from fleetcast.sealing import FILE, Seal, load_seal
from fleetcast.settings import Settings

MAKES = """
import sys
from pathlib import Path
from fleetcast.sealing import load_seal
from fleetcast.settings import Settings
print(load_seal(Settings(data=Path(sys.argv[1]))).check.hex())
"""


def test_the_file_is_for_its_owner_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    load_seal(Settings(data=data))
    assert [path.name for path in data.iterdir()] == [FILE]
    assert (data / FILE).stat().st_mode & 0o777 == 0o600
    assert len((data / FILE).read_bytes()) == 64


def test_the_same_file_is_the_same_key_and_two_are_never_alike(tmp_path: Path) -> None:
    one, again, two = (load_seal(Settings(data=tmp_path / name)) for name in ("one", "one", "two"))
    assert again.open(one.close(b"secret")) == b"secret"
    assert (one.check == again.check, one.check == two.check) == (True, False)
    with pytest.raises(ConfigurationError, match=r"FLEETCAST_SECRET_KEY.*secret\.key"):
        two.open(one.close(b"secret"))


def test_processes_that_start_at_once_make_one_key(tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", MAKES, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {process.communicate(timeout=60)[0].strip() for process in started}
    assert said == {load_seal(Settings(data=tmp_path)).check.hex()}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_setting_comes_before_the_file(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, secret_key=SecretStr("kZ3v9QmX2pL7tR5wB8nY4cF6hJ1dG0sA"))
    assert load_seal(settings).check == Seal(b"kZ3v9QmX2pL7tR5wB8nY4cF6hJ1dG0sA").check
    assert list(tmp_path.iterdir()) == []


def test_a_sealed_value_that_was_changed_does_not_open(tmp_path: Path) -> None:
    seal = load_seal(Settings(data=tmp_path))
    sealed = seal.close(b"secret")
    assert b"secret" not in sealed
    assert seal.close(b"secret") != sealed
    for wrong in (sealed[:-1], sealed[::-1], b"", b"secret"):
        with pytest.raises(ConfigurationError):
            seal.open(wrong)


def test_the_check_and_digests_say_nothing_without_the_key() -> None:
    one, two = Seal(b"1" * 40), Seal(b"2" * 40)
    assert one.digest(b"guess") == one.digest(b"guess") != two.digest(b"guess")
    assert b"1" * 40 not in one.check


@pytest.mark.parametrize("content", [b"", b"   \n", b"short"])
def test_a_file_that_holds_no_key_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ConfigurationError, match="holds no key"):
        load_seal(Settings(data=tmp_path))
    assert (tmp_path / FILE).read_bytes() == content


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot be kept in .*secret\.key: [A-Z][a-z ]+\.$"):
        load_seal(Settings(data=tmp_path / "file"))


def test_looking_at_the_key_loads_no_large_library(tmp_path: Path) -> None:
    """`fleetcast up` looks at it and stays in memory."""
    asked = MAKES + "\nprint('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "False"
