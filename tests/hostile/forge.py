"""Vaults as an attacker makes them: any line anywhere, and every checksum right."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from world import World, noise

from regvault.cli.main import run
from regvault.storage.local import LocalStore
from regvault.vault.envelope import write_document
from regvault.vault.frames import compress
from regvault.vault.keys import root_key, tree_key

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from regvault.model.store import ObjectStore

#: What steers a terminal.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Forge:
    """Rewrites one snapshot: trees are made anew, and `seal` makes the root and the list fit."""

    def __init__(self, store: ObjectStore, registry: str = "prod", sequence: int = 1) -> None:
        self.store = store
        self.key = root_key(registry, sequence)
        self.body: dict[str, Any] = json.loads(store.get(self.key).partition(b"\n")[0])
        self.listed = self._lines("objects", self.body["objects"]["base"]["sha256"])

    def _lines(self, kind: str, hexed: str) -> list[bytes]:
        import zstandard

        text = zstandard.ZstdDecompressor().decompress(self.store.get(tree_key(hexed)))
        head, _, rest = text.partition(b"\n")
        assert head == b"regvault-tree 1 %s 0" % kind.encode(), head
        return rest[:-1].split(b"\n") if rest else []

    def repositories(self) -> dict[str, str]:
        """Name -> digest of the state."""
        hexed = self.body["repositories"]["tree"].partition(":")[2]
        lines = (line.decode().split(" ") for line in self._lines("repositories", hexed))
        return {name: state for name, state, _ in lines}

    def state(self, name: str) -> list[bytes]:
        return self._lines("state", self.repositories()[name].partition(":")[2])

    def chunk(self, data: bytes, *, plain: bool = True) -> str:
        """Store a chunk (compressed here) that the object list names; return its digest."""
        stored = compress(data) if plain else data
        self.put(tree_key(sha256(stored)), stored)
        return f"sha256:{sha256(stored)}"

    def put(self, key: str, data: bytes) -> None:
        """Store an object and put it into the object list."""
        if key.startswith("trees/") and any(line.startswith(key.encode()) for line in self.listed):
            return
        self.store.put(key, data)
        self.listed.append(f"{key} {len(data)} {sha256(data)}".encode())

    def tree(self, kind: str, lines: list[bytes]) -> str:
        return self.chunk(text(kind, 0, lines))

    def set_state(self, name: str, state: str) -> None:
        self.set_repositories({**self.repositories(), name: state})

    def set_repositories(self, found: dict[str, str]) -> None:
        lines = sorted(f"{name} {state} -".encode() for name, state in found.items())
        self.body["repositories"] = {
            "tree": self.tree("repositories", lines),
            "entries": len(lines),
        }

    def seal(self) -> None:
        """Write the object list and the root."""
        stored = compress(text("objects", 0, sorted(self.listed)))
        key = tree_key(sha256(stored))
        self.store.put(key, stored)
        self.body["objects"] |= {
            "base": {
                "key": key,
                "size": len(stored),
                "sha256": sha256(stored),
                "entries": len(self.listed),
            },
            "delta": None,
            "count": len(self.listed),
        }
        self.seal_root()

    def seal_root(self) -> None:
        self.store.put(self.key, write_document(self.body)[0])


def text(kind: str, level: int, lines: list[bytes]) -> bytes:
    """Return the text of a chunk, whatever the lines are."""
    head = b"regvault-tree 1 %s %d\n" % (kind.encode(), level)
    return head + b"".join(line + b"\n" for line in lines)


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    def error(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])["error"]


#: `ru_maxrss` would tell what the process had that made this one.
_MEASURED = """
import re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
peak = sys.argv.pop(1)
try:
    from regvault.cli.main import run
    code = run(sys.argv[1:])
finally:
    with open("/proc/self/status") as status, open(peak, "w") as file:
        file.write(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1])
sys.exit(code)
"""


class Place:
    """The registry `fs:registry`, the vault `vault` and what commands do to them.

    Two repositories: `good`, which nobody touches, and `team/app`.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.world = World(
            LocalStore(base / "registry", create=True), LocalStore(base / "vault", create=True)
        )
        push = self.world.push
        push.image("good", "1", layers=(noise(3000, 1), noise(1 << 20, "raw")))
        one = push.image("team/app", "1", "latest", layers=(noise(3000, 2), noise(700, 3)))
        push.index("team/app", "all", children=(one,))
        assert self.world.snapshot().exit_code() == 0

    def forge(self) -> Forge:
        return Forge(self.world.store)

    def run(self, capfd: pytest.CaptureFixture[str], *args: str) -> Ran:
        """Run a command in this process."""
        capfd.readouterr()
        code = run([*args])
        return Ran(code, *capfd.readouterr())

    def measured(self, *args: str, timeout_s: float = 300) -> tuple[Ran, float, float]:
        """Run a command in a process of its own; return also its CPU seconds and its peak MiB."""
        out = self.base / "out"
        began = _children_s()
        with open(out, "wb") as file, open(f"{out}.err", "wb") as errors:
            done = subprocess.run(
                [sys.executable, "-c", _MEASURED, str(self.base / "peak"), *args],
                stdout=file,
                stderr=errors,
                cwd=self.base,
                timeout=timeout_s,
                check=False,
            )
        ran = Ran(done.returncode, out.read_text(), (self.base / "out.err").read_text())
        peak_kib = int((self.base / "peak").read_text())
        return ran, _children_s() - began, peak_kib / 1024

    def files(self, name: str) -> dict[str, bytes]:
        """Every file below a directory of the base."""
        found: dict[str, bytes] = {}
        for directory, _, names in os.walk(self.base / name):
            for each in names:
                path = os.path.join(directory, each)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, self.base / name)] = file.read()
        return found


def _children_s() -> float:
    """CPU seconds of all processes that were waited for; wall time would be that of the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


#: Every verb that reads a vault; `{n}` makes targets new.
VERBS = (
    ("verify", "--vault", "./vault"),
    ("verify", "--quick", "--vault", "./vault"),
    ("verify", "--read-data", "--vault", "./vault"),
    ("ls", "1", "--vault", "./vault"),
    ("ls", "1", "team/app", "--vault", "./vault"),
    ("ls", "1", "team/app:1", "--vault", "./vault"),
    ("snapshots", "--vault", "./vault"),
    ("info", "--vault", "./vault"),
    ("diff", "1", "fs:registry", "--vault", "./vault"),
    ("find", "team/app:1", "--vault", "./vault"),
    ("find", "sha256:" + "ab" * 32, "--vault", "./vault"),
    ("restore", "1", "--to", "fs:restored-{n}", "--vault", "./vault"),
    ("restore", "1", "--to", "oci:layout-{n}", "--vault", "./vault"),
    ("copy", "--from", "./vault", "--to", "./copy-{n}"),
    ("prune", "--vault", "./vault", "--yes"),
    ("snapshot", "fs:registry", "--vault", "./vault", "--registry", "prod"),
)
OF_ARCHIVES = tuple(
    words
    for words in VERBS
    if words[0] in ("restore", "snapshot") or words[1] in ("--read-data", "--from")
)
