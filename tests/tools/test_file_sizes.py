"""The ceiling itself: it must see what it is there to see."""

from pathlib import Path

import pytest

from tools.file_sizes import SOURCE_CEILING, TEST_CEILING, main, offences

ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, lines: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x = 1\n" * lines)


def test_every_module_is_short_and_has_a_telling_name() -> None:
    assert offences(ROOT) == []


def test_a_module_may_reach_the_ceiling_and_not_pass_it(tmp_path: Path) -> None:
    write(tmp_path / "src/fleetcast/exact.py", SOURCE_CEILING)
    write(tmp_path / "src/fleetcast/over.py", SOURCE_CEILING + 1)
    write(tmp_path / "tests/test_exact.py", TEST_CEILING)
    write(tmp_path / "tests/test_over.py", TEST_CEILING + 1)
    assert [o.split(":")[0] for o in offences(tmp_path)] == ["src/fleetcast/over.py", "tests/test_over.py"]


@pytest.mark.parametrize(
    "name", ["src/fleetcast/utils.py", "src/fleetcast/common/leads.py", "testbed/_helpers.py", "tests/misc/test_a.py"]
)
def test_a_vague_name_is_refused_as_file_and_as_folder(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, 1)
    assert [o.split(":")[0] for o in offences(tmp_path)] == [name]


def test_the_exit_code_says_whether_anything_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tmp_path) == 0
    write(tmp_path / "src/manager.py", 1)
    assert main(tmp_path) == 1
    assert "src/manager.py" in capsys.readouterr().out
