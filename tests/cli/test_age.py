"""Sealed vaults on the real command line, beside Debian's `age`: what people type and keep.

What one of them sealed, the other opens; and no secret is ever shown, whatever is typed wrong.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from regvault.ops.sample import build_sample, change_sample
from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

SECRET = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]", re.IGNORECASE)
MAGIC = b"age-encryption.org/v1\n"
TOOLS = ("age", "age-keygen", "zstd")


@pytest.fixture(scope="module", autouse=True)
def _tools():
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        words = f"these tests need {', '.join(missing)} (Debian: apt-get install age zstd)"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)


class Site:
    """A directory with a registry, identities and vaults, and who works in it."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, *arguments: str, expect: int = 0, program=("-m", "regvault"), **env: str):
        """Run regvault as said, and with `-v`; return its document, or lines of them."""
        done = subprocess.run(
            [sys.executable, *program, *arguments, "-v", "--json"],
            cwd=self.place,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("REGVAULT_")},
                "HOME": str(self.place),
                "REGVAULT_CACHE": str(self.place / "cache"),
                **env,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        said = done.stdout + done.stderr
        assert not SECRET.search(said), said
        assert "unexpected" not in done.stdout or program[0] == "-c", said
        assert done.returncode == expect, f"{arguments} ended with {done.returncode}: {said}"
        self.said = said
        documents = [json.loads(line) for line in done.stdout.splitlines()]
        if expect not in (0, 3, 4):
            assert documents[0]["error"]["message"]
            assert documents[0]["error"]["hint"], f"an error without a next step: {said}"
        return documents[0] if len(documents) == 1 else documents

    def people(self, *arguments: str, expect: int = 0) -> str:
        """Run it as a person does, who reads text."""
        done = subprocess.run(
            [sys.executable, "-m", "regvault", *arguments],
            cwd=self.place,
            env={**os.environ, "HOME": str(self.place)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        said = done.stdout + done.stderr
        assert not SECRET.search(said), said
        assert done.returncode == expect, said
        return said

    def age(self, identity: str, data: bytes) -> bytes | None:
        """Open an age file with Debian's tool; None where it does not open."""
        done = subprocess.run(
            [shutil.which("age"), "--decrypt", "--identity", self.place / identity],
            input=data,
            capture_output=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            assert b"no identity matched" in done.stderr, done.stderr
            return None
        return done.stdout

    def blobs(self, where: str = "registry") -> dict[str, bytes]:
        """Return what a registry holds: hex -> bytes."""
        data = (self.place / where / "docker/registry/v2/blobs").glob("*/*/*/data")
        return {path.parent.name: path.read_bytes() for path in data}

    def files(self, kind: str, vault: str = "vault") -> list[Path]:
        return sorted(path for path in (self.place / vault / kind).rglob("*") if path.is_file())


HOST, RECOVERY = ("--identity", "file:host.txt"), ("--identity", "file:recovery.txt")
AT = ("--vault", "./vault")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A sealed vault with two snapshots, made as docs/sealed.md says."""
    site = Site(tmp_path_factory.mktemp("sealed"))
    registry = LocalStore(site.place / "registry", create=True)
    build_sample(registry, images=1)
    recipient = site("key", "generate", "--identity", "recovery.txt")["recipient"]
    site("key", "generate", "--identity", "host.txt")
    made = site("init", "./vault", "--recipient", recipient, *HOST)
    assert (made["sealed"], made["recipients"]) == (True, [recipient])
    first = ("snapshot", "fs:registry", "--registry", "prod", *AT)
    site(*first, REGVAULT_IDENTITY="file:host.txt")
    change_sample(registry)
    site("snapshot", "fs:registry", *AT, *HOST)
    return site


@pytest.fixture
def site(sealed, tmp_path):
    """Return a copy of it, to be changed."""
    shutil.copytree(sealed.place, tmp_path / "site", copy_function=os.link)
    return Site(tmp_path / "site")


def keygen(site: Site, name: str) -> str:
    """Make an identity with Debian's tool; return its recipient."""
    tool = shutil.which("age-keygen")
    subprocess.run([tool, "-o", site.place / name], check=True, capture_output=True, timeout=60)
    shown = subprocess.run(
        [tool, "-y", site.place / name], check=True, capture_output=True, text=True, timeout=60
    )
    return shown.stdout.strip()


# -- what people do -------------------------------------------------------------------------------


def test_the_host_lists_and_a_recipient_restores_and_nobody_verifies(site):
    listed = {line["repository"] for line in site("ls", *AT, *HOST)}
    assert "team/app" in listed
    assert {line["repository"] for line in site("ls", "latest", *AT, *RECOVERY)} == listed
    restore = ("restore", "latest", *AT, "--to")
    site(*restore, "fs:by-host", *HOST, expect=12)
    assert site.blobs("by-host") == {}
    site(*restore, "fs:back", *RECOVERY)
    back = site.blobs("back")
    assert back
    assert back.items() <= site.blobs().items()
    for depth in ((), ("--quick",), ("--read-data",)):
        assert site("verify", *AT, *depth)["problems"] == []
    rows = site("snapshots", *AT)
    assert [row["sequence"] for row in rows] == [1, 2]
    assert not any("prod" in json.dumps(row) for row in rows)
    assert {row["registry"] for row in site("snapshots", *AT, *HOST)} == {"prod"}


def test_files_of_identities_are_for_their_owner_alone(sealed):
    for name in ("host.txt", "recovery.txt"):
        assert (sealed.place / name).stat().st_mode & 0o777 == 0o600


def test_recipients_come_and_go(site):
    other = keygen(site, "other.txt")
    (mine,) = site("key", "list", *AT)["sealing"]["recipients"]
    site("key", "add-recipient", other, *AT, expect=12)
    assert site("key", "add-recipient", other, *AT, *HOST)["recipients"] == [mine, other]
    site("key", "remove-recipient", mine, *AT, *HOST)
    sealing = site("key", "list", *AT)["sealing"]
    assert (sealing["recipients"], sealing["before"]) == ([other], [mine])
    site("key", "remove-recipient", other, *AT, *HOST, expect=5)  # nobody would be left
    site("key", "remove-recipient", mine, *AT, *HOST, expect=10)
    assert mine in site.people("key", "list", *AT)


def test_a_vault_for_two_that_age_keygen_made_opens_for_each(site):
    one, two = keygen(site, "one.txt"), keygen(site, "two.txt")
    site("init", "./two", "--recipient", one, "--recipient", two, *HOST)
    site("snapshot", "fs:registry", "--vault", "./two", *HOST)
    for name in ("one", "two"):
        again = ("restore", "latest", "--vault", "./two", "--to", f"fs:by-{name}")
        site(*again, "--identity", f"file:{name}.txt")
        assert site.blobs(f"by-{name}").items() <= site.blobs().items()
        assert site.blobs(f"by-{name}")


def test_the_host_s_identity_is_rotated(site):
    site("key", "rotate", "new.txt", *AT, expect=12)
    assert not (site.place / "new.txt").exists()
    new = site("key", "rotate", "new.txt", *AT, *HOST)["writer"]
    assert site("key", "list", *AT)["sealing"]["writer"] == new
    site("key", "rotate", "new.txt", *AT, *HOST, expect=2)  # it is there
    before = set(site.files("blobs"))
    site("snapshot", "fs:registry", "--registry", "prod", *AT, "--identity", "file:new.txt")
    assert set(site.files("blobs")) == before
    site("restore", "latest", *AT, "--to", "fs:no", "--identity", "file:new.txt", expect=12)
    site("restore", "latest", *AT, "--to", "fs:back", *RECOVERY)


def test_a_copy_is_made_and_verified_without_an_identity(site):
    site("init", "./second", "--sealed-as", "./vault")
    site("copy", "--from", "./vault", "--to", "./second")
    site("verify", "--vault", "./second", "--read-data")
    site("restore", "latest", "--vault", "./second", "--to", "fs:back", *RECOVERY)
    assert site.blobs("back").items() <= site.blobs().items()
    site("init", "./plain")
    site("copy", "--from", "./vault", "--to", "./plain", expect=5)
    site("init", "./third", "--sealed-as", "./plain", expect=2)


# -- what people type wrong -----------------------------------------------------------------------


def test_what_is_typed_wrong_has_an_exit_code_and_a_next_step(site):
    nobody = keygen(site, "nobody.txt")
    secret = (site.place / "recovery.txt").read_text().splitlines()[-1]
    (site.place / "half.txt").write_text(secret[:40])
    (site.place / "swapped.txt").write_text(secret[:20] + secret[21] + secret[20] + secret[22:])
    (site.place / "empty.txt").write_text("# public key: age1\n")
    ls, restore = ("ls", *AT), ("restore", "latest", *AT, "--to", "fs:x")
    snapshot = ("snapshot", "fs:registry", "--registry", "prod", *AT)
    for command in (snapshot, restore, ls, ("find", "team/app:latest", *AT)):
        site(*command, expect=12)
        site(*command, "--identity", "file:nobody.txt", expect=12)
    for wrong in ("half", "swapped", "empty", "gone"):
        site(*ls, "--identity", f"file:{wrong}.txt", expect=12)
    for reference in ("host.txt", secret, f"file:{secret.lower()}", "file:", "env:A-B"):
        site(*ls, "--identity", reference, expect=2)
    site(*restore, REGVAULT_IDENTITY=secret, expect=2)
    site(*restore, "--identity", "env:NOT_SET", expect=12)
    assert not (site.place / "x").exists() or not site.blobs("x")
    new = ("init", "./new")
    for recipient in ("nonsense", nobody[:-1], secret, secret.lower(), ""):
        site(*new, "--recipient", recipient, *HOST, expect=2)
    for change in ("add-recipient", "remove-recipient"):
        site("key", change, secret, *AT, *HOST, expect=2)
    site(*new, "--recipient", nobody, expect=2)
    site(*new, "--recipient", nobody, "--sealed-as", "./vault", *HOST, expect=2)
    assert not (site.place / "new/vault.json").exists()
    site("key", "generate", "--identity", "host.txt", expect=2)  # it is there


def test_a_fault_of_regvault_shows_where_it_is_and_no_secret(site):
    """The traceback of `-v`, from among the keys."""
    broken = (
        "import regvault.vault.keyring as k\n"
        "def broken(data, identities): raise RuntimeError(f'{identities} {identities[0].key!r}')\n"
        "k.open_sealed = broken\n"
        "from regvault.cli.main import entry\n"
        "entry()"
    )
    site("ls", *AT, *RECOVERY, program=("-c", broken), expect=1)
    assert "RuntimeError" in site.said
    assert "_naming_key" in site.said


# -- what the age tool opens ----------------------------------------------------------------------


def frames(data: bytes) -> list[bytes]:
    """Cut a row of age files where each begins."""
    at = [found.start() for found in re.finditer(re.escape(MAGIC), data)]
    assert at[0] == 0
    return [data[start:end] for start, end in pairwise([*at, len(data)])]


def segment_frames(data: bytes) -> list[bytes]:
    text = data[-16 - int(data[-16:-8], 16) : -16].decode()
    table = [line.split()[2:] for line in text.splitlines() if line.startswith("frame ")]
    return [data[int(at) : int(at) + int(length)] for at, length in table]


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), ignore_zeros=True) as tar:
        return {each.name.split("/")[-1]: tar.extractfile(each).read() for each in tar}


def unpacked(frame: bytes) -> bytes:
    return subprocess.run(
        [shutil.which("zstd"), "-dcq"], input=frame, capture_output=True, check=True, timeout=60
    ).stdout


def body(path: Path) -> dict:
    return json.loads(path.read_bytes().split(b"\n")[0])


def test_age_opens_every_content_for_a_recipient_and_none_for_the_host(sealed):
    meta = [part for path in sealed.files("meta") for part in frames(path.read_bytes())]
    packs = [m for path in sealed.files("packs") for m in members(path.read_bytes()).values()]
    raw = [path.read_bytes() for path in sealed.files("blobs")]
    assert meta
    assert packs
    assert raw
    found: dict[str, bytes] = {}
    for part in meta:
        opened = sealed.age("recovery.txt", part)
        assert opened is not None
        found |= members(unpacked(opened))
    for part in packs + raw:
        opened = sealed.age("recovery.txt", part)
        assert opened is not None
        found[hashlib.sha256(opened).hexdigest()] = opened
    assert all(hashlib.sha256(data).hexdigest() == hexed for hexed, data in found.items())
    assert sealed.blobs().keys() - found.keys() == set()
    assert [part for part in meta + packs + raw if sealed.age("host.txt", part) is not None] == []


def test_age_opens_all_names_for_both_and_for_nobody_else(sealed):
    keygen(sealed, "nobody.txt")
    trees = [path.read_bytes() for path in sealed.files("trees") if ".zst.age." in path.name]
    catalog = [f for path in sealed.files("catalog") for f in segment_frames(path.read_bytes())]
    roots = [base64.b64decode(body(path)["sealed"]) for path in sealed.files("snapshots")]
    (record,) = [body(path) for path in sealed.files("records/keys")]
    key = base64.b64decode(record["k"])
    for name in ("host.txt", "recovery.txt"):
        texts = [unpacked(sealed.age(name, part)) for part in trees]
        assert all(text.startswith(b"regvault-tree 1 ") for text in texts)
        lines = [unpacked(sealed.age(name, part)) for part in catalog]
        assert all(text.startswith(b"hmac-sha256:") for text in lines)
        assert {json.loads(sealed.age(name, part))["name"] for part in roots} == {"prod"}
        naming = sealed.age(name, key)
        assert len(naming) == 32
        whole = hashlib.sha256(b"regvault naming key " + naming).hexdigest()
        assert whole[:32] == record["key"]
    for part in [*trees, *catalog, *roots, key]:
        assert sealed.age("nobody.txt", part) is None


def test_nothing_is_sealed_that_these_tests_do_not_open(sealed):
    """Age files lie only where the two tests above look."""
    coded = base64.b64encode(MAGIC)[:-4]
    holds = {"binary": set(), "coded": set()}
    for path in sealed.files(""):
        data = path.read_bytes()
        kind = path.relative_to(sealed.place / "vault").parts[0]
        if MAGIC in data:
            holds["binary"].add(kind)
        if coded in data:
            holds["coded"].add(kind)
    assert holds == {
        "binary": {"blobs", "catalog", "meta", "packs", "trees"},
        "coded": {"records", "snapshots"},
    }
    plain = [path.name for path in sealed.files("trees") if MAGIC not in path.read_bytes()]
    assert plain
    assert all(re.fullmatch(r"[0-9a-f]{64}\.zst", name) for name in plain)  # object lists
