"""Row 50: what is installed is what was looked at, and installing it runs nothing."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")

LICENCES = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",  # of files that are used as they are: whatsmeow in neonize, tqdm, what builds the package
        "PSF-2.0",
    }
)
"""Licences that go with Apache 2.0. Another one is a decision, not an upgrade."""
SPOKEN = {
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "ISC License": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""Words that older packages use."""
READ = {"neonize": {"Apache-2.0", "MPL-2.0"}, "tqdm": {"MPL-2.0", "MIT"}}
"""What the licence files of packages say whose metadata do not. The library in neonize holds whatsmeow."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """A line of a lock file."""

    name: str
    version: str
    hashes: int


def pinned(lock: str) -> list[Pinned]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-zA-Z0-9])", "\n" + text)[1:]
    found = []
    for entry in entries:
        head = re.match(r"([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", entry)
        assert head, f"{lock}: not pinned to a version: {entry.splitlines()[0]}"
        found.append(Pinned(head[1], head[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))))
    return found


def installed(lock: str) -> Iterator[tuple[Pinned, Distribution]]:
    """What of a lock file is installed here: some of it is for other systems."""
    for pin in pinned(lock):
        try:
            yield pin, distribution(pin.name)
        except PackageNotFoundError:
            continue


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name, maxsplit=1)[0]).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_s50_every_package_is_pinned_by_version_and_hash_and_comes_from_the_index(lock: str) -> None:
    pins = pinned(lock)
    assert len(pins) > 50
    assert [p.name for p in pins if p.hashes == 0] == []
    text = "\n".join(
        line for line in (ROOT / lock).read_text("utf-8").splitlines() if not line.lstrip().startswith("#")
    )
    assert re.findall(r"https?:|git\+|file:|^-e |--index-url|--find-links|--trusted-host| @ ", text, re.MULTILINE) == []


def test_s50_every_dependency_is_locked_and_both_files_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    run, dev = ({(p.name, p.version) for p in pinned(lock)} for lock in LOCKS)
    names, dev_names = ({name for name, _ in pins} for pins in (run, dev))
    wanted = {plain(d) for d in project["project"]["dependencies"] + project["dependency-groups"]["build"]}
    assert wanted - names == set()
    for group in ("dev", "testbed"):
        assert {plain(d) for d in project["dependency-groups"][group]} - dev_names == set()
    assert run - dev == set()


def test_s50_installing_checks_hashes_and_runs_nothing_of_a_package() -> None:
    """A wheel is unpacked. A source distribution is a program that is run, so none is taken."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in makefile.splitlines() if "pip install" in line]
    from_locks = [line for line in lines if " -r " in line]
    assert len(from_locks) == len(LOCKS)
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in from_locks)
    ours = [line for line in lines if line not in from_locks]
    assert all("--no-deps --no-build-isolation -e ." in line for line in ours), ours


def test_s50_what_is_installed_here_was_not_built_here() -> None:
    for pin, found in installed(LOCKS[0]):
        wheel = found.read_text("WHEEL") or ""
        tags = re.findall(r"^Tag: (.+)$", wheel, re.MULTILINE)
        assert tags, f"{pin.name} did not come as a wheel"
        built_here = [tag for tag in tags if tag.rsplit("-", 1)[-1].startswith("linux_")]
        assert built_here == [], f"{pin.name} was compiled on this machine"
        assert found.read_text("direct_url.json") is None, f"{pin.name} was not taken from the index"


def test_s50_what_runs_here_is_what_is_locked() -> None:
    versions: dict[str, set[str]] = {}
    for pin in pinned(LOCKS[0]):  # some have one for each version of Python
        versions.setdefault(pin.name, set()).add(pin.version)
    assert {p.name: f.version for p, f in installed(LOCKS[0]) if f.version not in versions[p.name]} == {}


def licences(found: Distribution) -> set[str]:
    """The licences of which each must be allowed; of a choice, those that are."""
    told: Any = found.metadata
    if found.name in READ:
        return READ[found.name]
    said = told.get("License-Expression") or ""
    if not said:
        classifiers = [c.rsplit(" :: ", 1)[-1] for c in told.get_all("Classifier") or () if c.startswith("License ::")]
        first_line = (told.get("License") or "").strip().split("\n", 1)[0].strip()
        words = classifiers or [first_line]
        return {SPOKEN.get(word, word) for word in words}
    needed = set()
    for part in re.split(r"\s+AND\s+", said.strip("()")):
        choices = set(re.split(r"\s+OR\s+", part.strip("()")))
        needed |= (choices & LICENCES) or choices
    return needed


def test_s50_every_licence_is_one_that_was_agreed_to() -> None:
    found = {pin.name: licences(each) - LICENCES for pin, each in installed(LOCKS[0])}
    assert {name: left for name, left in found.items() if left} == {}
    assert len(found) > 50
