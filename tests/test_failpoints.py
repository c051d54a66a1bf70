"""Failpoints: what is armed happens where and when it was asked for, everything else is refused in a sentence."""

import ast
import asyncio
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetcast import failpoints
from fleetcast.errors import ConfigurationError, Unavailable
from fleetcast.failpoints import Point, Unforeseen
from fleetcast.settings import load_settings

SOURCE = Path(__file__).resolve().parents[1] / "src" / "fleetcast"
MODULE = SOURCE / "failpoints.py"


@pytest.fixture(autouse=True)
def _disarmed_afterwards() -> Iterator[None]:
    yield
    failpoints.arm("")


async def test_nothing_happens_at_a_point_that_is_not_armed() -> None:
    failpoints.arm("hints.read=raise")
    await failpoints.passing(Point.CLAIM_COMMITTED)
    failpoints.arm("")
    await failpoints.passing(Point.HINTS_READ)
    assert not failpoints.armed


async def test_a_fault_with_a_number_happens_at_that_passing_and_never_again() -> None:
    failpoints.arm("claim.committed=raise@3")
    for _ in range(2):
        await failpoints.passing(Point.CLAIM_COMMITTED)
    with pytest.raises(Unforeseen):
        await failpoints.passing(Point.CLAIM_COMMITTED)
    for _ in range(3):
        await failpoints.passing(Point.CLAIM_COMMITTED)


async def test_a_fault_without_a_number_happens_each_time() -> None:
    failpoints.arm("results.committed=timeout, claim.committed=raise")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await failpoints.passing(Point.RESULTS_COMMITTED)
        with pytest.raises(Unforeseen):
            await failpoints.passing(Point.CLAIM_COMMITTED)


async def test_a_hang_goes_on_until_it_is_cancelled() -> None:
    failpoints.arm("hints.read=hang")
    hanging = asyncio.ensure_future(failpoints.passing(Point.HINTS_READ))
    await asyncio.wait([hanging], timeout=0.05)
    assert not hanging.done()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


def test_a_kill_ends_the_process_at_the_place_and_says_so_first() -> None:
    program = (
        "import asyncio; from fleetcast import failpoints as f; f.arm('hints.read=kill'); "
        "asyncio.run(f.passing(f.Point.HINTS_READ)); print('went on')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == -9
    assert "failpoint hints.read: kill" in ended.stdout + ended.stderr
    assert "went on" not in ended.stdout


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("claim.comitted=kill", "'claim.comitted'"),
        ("claim.committed", "''"),
        ("claim.committed=explode", "'explode'"),
        ("claim.committed=kill@0", "from 1"),
        ("claim.committed=kill@x", "from 1"),
        ("claim.committed=kill@", "from 1"),
        ("hints.read=timeout", "hints.read"),
        ("claim.committed=kill;hints.read=kill", "'kill;hints.read=kill'"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(text: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.SETTING, text)
    with pytest.raises(ConfigurationError, match=r"^FLEETCAST_FAILPOINTS: .*\.$") as refused:
        load_settings()
    assert named in str(refused.value)


def test_production_mode_refuses_to_start_with_failpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETCAST_MODE", "production")
    assert load_settings().failpoints == ""
    monkeypatch.setenv(failpoints.SETTING, "hints.read=hang")
    ended = subprocess.run(
        [sys.executable, "-m", "fleetcast", "sender"], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == ConfigurationError.exit_code
    assert "FLEETCAST_FAILPOINTS makes processes fail on purpose" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_every_point_stands_at_one_place_and_names_its_crash_point() -> None:
    passed = Counter(
        Point[node.attr]
        for path in SOURCE.rglob("*.py")
        if path != MODULE
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "Point"
    )
    assert passed == dict.fromkeys(Point, 1)
    [points] = [n for n in ast.parse(MODULE.read_text()).body if isinstance(n, ast.ClassDef) and n.name == "Point"]
    said = [n.value.value for n in points.body[1:] if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    assert len(said) == len(Point)
    assert all(re.match(r"C\d+(, C\d+)*[:, ]", str(text)) for text in said)
