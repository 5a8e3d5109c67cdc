"""Invariants 5, 7, 8 and 9 against whoever may write the vault: all checksums here are right."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from attacks import BESIDE, WHOLE
from forge import CONTROL, OF_ARCHIVES, VERBS

from regvault.errors import EXIT_CODES
from regvault.storage.local import LocalStore
from regvault.vault.create import create_vault

#: What nothing may delete, whatever a vault says of it.
NEVER = ("vault.json", "leases/", "snapshots/", "locks/", "records/", "condemned/")


def settle(place):
    """Let everything be so old that a prune may take it."""
    then = time.time() - 3 * 86400
    for directory, _, names in os.walk(place.base / "vault"):
        for name in names:
            os.utime(os.path.join(directory, name), (then, then))


def every_verb(place, capfd, verbs=VERBS):
    """Run every verb; yield the verb's words and what it did. Nothing outside may change."""
    outside = place.base / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    for number, words in enumerate(verbs):
        args = [word.format(n=number) for word in words]
        if args[0] == "copy":
            create_vault(LocalStore(place.base / args[-1], create=True))
        before = place.files("vault")
        began = time.monotonic()
        ran = place.run(capfd, *args)
        assert time.monotonic() - began < 20, args
        after = place.files("vault")
        for key, data in before.items():
            if key.startswith(NEVER) and not key.startswith(("leases/", "locks/")):
                assert after.get(key) == data or "damaged" in key, (args, key)
            if key.startswith(("leases/", "locks/")):
                assert key in after
        yield args, ran
    assert os.listdir(outside) == ["secret"]
    names = {"registry", "vault", "outside", "cache", "out"}
    made = {name for name in os.listdir(place.base) if name not in names}
    assert all(name.startswith(("restored-", "layout-", "copy-")) for name in made), made


def is_clear(args, ran):
    """Assert that a command ended as commands end, and said nothing that steers a terminal."""
    assert ran.code in EXIT_CODES, (args, ran)
    for stream in (ran.out, ran.err):
        assert "unexpected" not in stream, (args, stream[-2000:])
        assert "Traceback" not in stream, (args, stream[-2000:])
        assert not CONTROL.search(stream), (args, stream[-2000:])
    assert len(ran.err) < 100_000, args
    if ran.code not in (0, 3):
        assert (ran.err + ran.out).strip(), (args, ran)


def test_without_an_attack_every_verb_does_what_it_is_for(place, capfd):
    settle(place)
    for args, ran in every_verb(place, capfd):
        is_clear(args, ran)
        assert ran.code == (10 if "sha256:" in args[1] else 0), (args, ran)


@pytest.mark.parametrize("name", [*BESIDE, *WHOLE])
def test_every_verb_says_what_is_wrong_and_nothing_else_happens(place, capfd, name):
    ({**BESIDE, **WHOLE})[name](place)
    settle(place)
    # Members of an archive are looked at by few of them.
    few = name.startswith(("pack: ", "meta: "))
    for args, ran in every_verb(place, capfd, OF_ARCHIVES if few else VERBS):
        is_clear(args, ran)


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_good_beside_it_is_restored(place, capfd, name):
    whole = place.files("registry")
    BESIDE[name](place)
    ran = place.run(
        capfd, "restore", "prod@1", "--repo", "good", "--to", "fs:beside", "--vault", "./vault"
    )
    assert ran.code == 0, ran
    found = place.files("beside")
    assert {key: data for key, data in whole.items() if "/good/" in key}.items() <= found.items()
    assert all(whole.get(key) == data for key, data in found.items())
    shutil.rmtree(place.base / "beside")
