"""Invariant 8: hostile input costs neither memory nor time without bounds. It is measured."""

from __future__ import annotations

import json
import os

import pytest
from attacks import bomb, condemn
from forge import _MEASURED, sha256
from world import OCI_IMAGE, OCI_INDEX, blob_key, current_key, digest_of, noise, revision_key

from regvault.vault.frames import compress
from regvault.vault.keys import condemned_key
from regvault.vault.pack import member_header
from regvault.vault.segment import Location, write_segment

#: MiB that a command may take; one that does nothing takes 60 to 80.
MEMORY_MIB = 420
SECONDS = 40
SPARSE = 8 << 30


def bounded(place, *args):
    """Run a command; assert that it ended by itself, soon, and in little memory."""
    ran, seconds, mib = place.measured(*args, timeout_s=300)
    assert seconds < SECONDS, (args, seconds)
    assert mib < MEMORY_MIB, (args, mib)
    assert "unexpected" not in ran.err, ran.err[-2000:]
    assert "out of memory" not in ran.err, ran.err[-2000:]
    return ran


def grow(place, key, size=SPARSE):
    """Make a file of the vault or the registry large, without taking any space."""
    path = place.base / key
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab"):
        os.truncate(path, size)


def test_what_takes_more_is_noticed(place, monkeypatch):
    """The measuring can fail: a reader without bounds reads all of this file."""
    grow(place, "vault/vault.json", 600 << 20)
    monkeypatch.setattr("forge._MEASURED", _MEASURED.replace("try:", _UNBOUNDED, 1))
    with pytest.raises(AssertionError, match="verify"):
        bounded(place, "verify", "--vault", "./vault")


_UNBOUNDED = """
import regvault.vault.vault as module
module.fetch_document = lambda store, key: store.get(key)
try:"""


def test_a_command_that_is_not_attacked_stays_far_below(place):
    ran, seconds, mib = place.measured("verify", "--read-data", "--vault", "./vault")
    assert ran.code == 0
    assert mib < MEMORY_MIB / 3
    assert seconds < SECONDS / 2


def write(place, key, text):
    """Write a file of the registry, quickly."""
    path = place.base / "registry" / key
    path.parent.mkdir(parents=True)
    path.write_text(text)


class TestLargeObjects:
    @pytest.mark.parametrize(
        ("key", "args", "code"),
        [
            ("vault.json", ("verify",), 4),
            ("snapshots/prod/00000001.json", ("ls", "1"), 4),
            ("snapshots/prod/00000001.json", ("verify",), 4),
            ("snapshots/prod/00000001.json", ("prune", "--yes"), 4),
            (f"leases/{'f' * 24}.json", ("prune", "--yes"), 4),
            (f"leases/{'f' * 24}.json", ("verify",), 4),
            (f"records/pins/{'f' * 24}.json", ("snapshots",), None),
            ("records/amendments/00000001.json", ("verify",), 4),
            ("condemned/00000001.zst", ("verify", "--quick"), None),
            ("condemned/00000001.zst", ("verify",), 4),
        ],
    )
    def test_documents(self, place, key, args, code):
        grow(place, f"vault/{key}")
        ran = bounded(place, *args, "--vault", "./vault")
        assert code is None or ran.code == code, ran

    def test_objects(self, place):
        for entry in list(place.world.store.list()):
            if entry.key.startswith(("trees/", "meta/", "packs/", "catalog/")):
                grow(place, f"vault/{entry.key}")
        for args in (("verify",), ("ls", "1"), ("find", "team/app:1")):
            assert bounded(place, *args, "--vault", "./vault").code in (3, 4, 10)

    def test_packs_and_meta_that_no_catalog_tells_of(self, place):
        for entry in list(place.world.store.list()):
            if entry.key.startswith(("meta/", "packs/")):
                grow(place, f"vault/{entry.key}")
        place.world.lose("catalog/")
        ran = bounded(place, "restore", "1", "--to", "fs:x", "--vault", "./vault")
        assert ran.code == 4, ran


class TestRepair:
    """It reads what is damaged, to see what is whole of it; so does a purge what it moves."""

    def grow(self, place, *, keep=True):
        for entry in list(place.world.store.list()):
            if entry.key.startswith(("packs/", "meta/")):
                grow(place, f"vault/{entry.key}", SPARSE if keep else 0)
                grow(place, f"vault/{entry.key}")

    def test_a_root(self, place):
        grow(place, "vault/snapshots/prod/00000001.json")
        ran = bounded(place, "repair", "--dry-run", "--vault", "./vault")
        assert ran.code == 4, ran

    def test_a_root_of_the_place_that_is_asked(self, place, capfd):
        assert place.run(capfd, "init", "./copy").code == 0
        assert place.run(capfd, "copy", "--from", "./vault", "--to", "./copy").code == 0
        place.world.lose("snapshots/prod/00000001.json")
        place.world.lose("records/", "leases/")
        grow(place, "vault/snapshots/prod/00000002.json", 1)  # so that there is a gap
        grow(place, "copy/snapshots/prod/00000001.json")
        args = ("repair", "--from", "./copy", "--dry-run", "--vault", "./vault")
        assert bounded(place, *args).code == 4

    def test_packs_and_meta(self, place):
        self.grow(place)
        ran = bounded(place, "purge", digest_of(noise(3000, 1)), "--yes", "--vault", "./vault")
        assert ran.code == 4, ran
        # What was there before is whole.
        assert bounded(place, "repair", "--yes", "--vault", "./vault").code == 0
        self.grow(place, keep=False)
        place.world.lose("catalog/")
        assert bounded(place, "repair", "--dry-run", "--vault", "./vault").code == 4


class TestBombs:
    def test_condemned_lists(self, place):
        for data in (
            compress(b"\n" * ((1 << 30) - 1)),
            compress(b"{}\n" + b"packs/x\n" * (100 << 20)),
            bomb(1 << 30, 8192),
            bomb(100, 1 << 20),
        ):
            place.world.store.put(condemned_key(1), data)
            assert bounded(place, "verify", "--vault", "./vault").code == 4
            assert bounded(place, "prune", "--yes", "--vault", "./vault").code == 4

    def test_a_condemned_list_that_names_what_must_stay(self, place):
        kept = sorted(place.world.keys("packs/") + place.world.keys("meta/"))
        condemn(place, *sorted(kept))
        ran = bounded(place, "prune", "--yes", "--vault", "./vault")
        assert ran.code == 4, ran
        assert set(kept) <= set(place.world.keys())

    def test_a_meta_object_of_many_large_blobs(self, place):
        """Each is right by its digest, and a few bytes; together they are gigabytes."""
        blob = b'{"a":"' + b" " * (3 << 20) + b'"}'
        digest = digest_of(blob)
        frame = compress(member_header(digest, len(blob)) + blob + b"\0" * (-len(blob) % 512))
        data = frame * 200
        forge = place.forge()
        key = f"meta/{sha256(data)}.tar.zst"
        forge.put(key, data)
        forge.seal()
        lines = [
            Location(f"sha256:{n:064x}", key, n * len(frame), len(frame), 5, "regvault").line()
            for n in range(200)
        ]
        write_segment(place.world.store, lines, level=0, run="f" * 24)
        assert bounded(place, "verify", "--vault", "./vault").code == 4


class TestRegistries:
    def snapshot(self, place, *args):
        return bounded(
            place, "snapshot", "fs:registry", "--vault", "./vault", "--registry", "prod", *args
        )

    def restored(self, place):
        """What was good before is restored beside it."""
        ran = bounded(
            place, "restore", "latest", "--repo", "good", "--to", "fs:beside", "--vault", "./vault"
        )
        assert ran.code == 0, ran

    def test_links_blobs_and_manifests_of_terabytes(self, place):
        image = digest_of(b"huge")
        for key in (
            current_key("team/app", "huge"),
            revision_key("team/app", digest_of(b"other")),
            revision_key("team/app", image),
            blob_key(image),
        ):
            grow(place, f"registry/{key}", 8 << 30)
        ran = self.snapshot(place)
        assert ran.code == 3, ran
        self.restored(place)

    def test_many_manifests_of_four_megabytes(self, place):
        push = place.world.push
        layers = [
            {"mediaType": "a/b", "digest": f"sha256:{n:064x}", "size": 1, "urls": ["http://x"]}
            for n in range(25_000)
        ]
        config = {"mediaType": "a/b", "digest": push.blob(b"{}"), "size": 2}
        for number in range(3):
            body = {"schemaVersion": 2, "mediaType": OCI_IMAGE, "config": config, "layers": layers}
            data = json.dumps({**body, "annotations": {"n": str(number)}}).encode()
            assert 3 << 20 < len(data) < 4 << 20
            push.manifest("team/app", data, f"large{number}")
        ran = self.snapshot(place)
        assert ran.code in (0, 3), ran
        for args in (
            ("verify",),
            ("ls", "latest", "team/app:large1"),
            ("find", "sha256:" + "0" * 60),
        ):
            assert bounded(place, *args, "--vault", "./vault").code in (0, 10)
        ran = bounded(
            place, "restore", "latest", "--repo", "team/app", "--tag", "1", "--to", "fs:one",
            "--vault", "./vault",
        )  # fmt: skip
        assert ran.code == 0, ran
        self.restored(place)

    @pytest.mark.parametrize(
        "data",
        [
            b"[" * (4 << 20),
            b'{"a":' * 700_000,
            b'{"schemaVersion":2,"x":' + b"9" * (3 << 20) + b"}",
            b'{"schemaVersion":2,"x":' + b"[]," * (1 << 20) + b"}",
            b'{"schemaVersion":2,"config":{},"config":{}}',
            b'{"schemaVersion":2,"mediaType":"\\ud800","config":{"digest":"\\ud800"}}',
            b'{"schemaVersion":1e999,"layers":NaN}',
            b'"' + b'\\"' * (2 << 20),
            b"\xff" * (4 << 20),
            b"x" * (64 << 20),
        ],
        ids=[
            "deep",
            "objects",
            "number",
            "brackets",
            "twice",
            "half",
            "nan",
            "quotes",
            "bytes",
            "x",
        ],
    )
    def test_manifests_that_are_none(self, place, data):
        digest = place.world.push.blob(data)
        place.world.push.link(revision_key("team/app", digest), digest)
        place.world.push.tag("team/app", "bad", digest)
        ran = self.snapshot(place)
        assert ran.code == 3, ran
        assert "manifest-invalid" in ran.out + ran.err or "bad" in ran.out + ran.err, ran
        assert bounded(place, "verify", "--vault", "./vault").code == 0
        assert bounded(place, "ls", "latest", "team/app:bad", "--vault", "./vault").code in (0, 10)
        self.restored(place)

    def test_three_thousand_indexes_in_each_other(self, place):
        push = place.world.push
        below = push.image("deep", layers=(b"layer",))
        digest, size, kind = below.digest, len(below.data), OCI_IMAGE
        for _ in range(3000):
            child = {"mediaType": kind, "digest": digest, "size": size}
            data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]})
            digest, size, kind = digest_of(data.encode()), len(data), OCI_INDEX
            write(place, blob_key(digest), data)
            write(place, revision_key("deep", digest), digest)
        push.tag("deep", "top", digest)
        os.unlink(place.base / "registry" / blob_key(below.digest))
        ran = self.snapshot(place)
        assert ran.code == 3, ran
        for args in (
            ("verify",),
            ("ls", "latest", "deep:top"),
            ("diff", "1", "2"),
            ("find", "deep:top"),
            ("find", below.digest),
            ("restore", "latest", "--repo", "deep", "--tag", "top", "--to", "fs:deep"),
            ("restore", "latest", "--repo", "deep", "--tag", "top", "--to", "oci:deep-layout"),
        ):
            ran = bounded(place, *args, "--vault", "./vault")
            assert ran.code in (0, 1, 3, 5), (args, ran)
        self.restored(place)
