"""Makes an unmodified client library trust the testbed: swaps the one key that is compiled into it. Test code only.

WhatsApp Web proves who it is with certificates that end in a root key, 32 bytes that every client carries. In neonize
they lie in the writable memory of a Go library; in pyaileys in a module. Nothing else of a client is touched. The swap
happens as the library is imported, in any process started with `environment`, so that the code around the library is
tested as it is. The product never imports this.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT_VARIABLE: Final = "WHATSAPP_TESTBED_ROOT"
"""The key to trust instead, hexadecimal."""
WHATSAPPS_ROOT: Final = bytes.fromhex("142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b")
_PROJECT: Final = Path(__file__).resolve().parents[2]
_PRELOAD: Final = Path(__file__).resolve().parent / "preload"


class NotFound(Exception):
    """The key is not where it should be: another version of the library, or another platform."""


def environment(root: str, authority: str, before: str = "") -> dict[str, str]:
    """Variables for a child process whose client library is to trust the testbed; `before` is its PYTHONPATH.

    They must be there when the process starts: Go reads the environment that the process was given, not what Python
    adds to it.
    """
    path = [str(_PRELOAD), str(_PROJECT), *([before] if before else [])]
    return {"SSL_CERT_FILE": authority, ROOT_VARIABLE: root, "PYTHONPATH": ":".join(path)}


def install(root: bytes) -> None:
    """Swap the key in each library that is imported from now on."""
    sys.meta_path.insert(0, _AfterImport(root))


def _in_neonize(_: ModuleType, root: bytes) -> None:
    """Replace the key in the memory of the loaded library."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        raise NotFound("The testbed's key is swapped through /proc, which this platform has not.")
    swapped = 0
    for line in maps.read_text().splitlines():
        span, rights, *_rest = line.split()
        if "neonize" in line and line.endswith(".so") and rights.startswith("rw"):
            begin, end = (int(part, 16) for part in span.split("-"))
            at = ctypes.string_at(begin, end - begin).find(WHATSAPPS_ROOT)
            if at >= 0:
                ctypes.memmove(begin + at, root, len(root))
                swapped += 1
    if swapped != 1:
        raise NotFound(f"WhatsApp's root key was found {swapped} times in the memory of neonize, expected once.")


def _in_pyaileys(module: ModuleType, root: bytes) -> None:
    """Replace the key in the module that checks certificates."""
    if getattr(module, "WA_CERT_PUBLIC_KEY", None) != WHATSAPPS_ROOT:
        raise NotFound("WhatsApp's root key is not where pyaileys had it.")
    vars(module)["WA_CERT_PUBLIC_KEY"] = root


_SWAPS: Final[dict[str, Callable[[ModuleType, bytes], None]]] = {
    "neonize._binder": _in_neonize,
    "pyaileys.crypto.noise": _in_pyaileys,
}


class _AfterImport(MetaPathFinder):
    """Finds the modules that hold the key as they would be found anyway, and swaps it once they are loaded."""

    def __init__(self, root: bytes) -> None:
        self._root = root

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _SWAPS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Swapping(spec.loader, _SWAPS[fullname], self._root)
        return spec


class _Swapping(Loader):
    def __init__(self, loader: Loader, swap: Callable[[ModuleType, bytes], None], root: bytes) -> None:
        self._loader, self._swap, self._root = loader, swap, root

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._swap(module, self._root)
