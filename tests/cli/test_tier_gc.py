"""`regvault tier gc`, as one runs it: on a disk, with a program that takes what it is told to."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "ops"))

from world import BASE, Pusher, blob_key, noise, tree

from regvault.cli.commands.tier import tier
from regvault.cli.main import run
from regvault.config.load import InvalidConfigurationError, parse_config
from regvault.storage.local import LocalStore
from regvault.vault.lease import Lease
from regvault.vault.vault import Vault

#: Options that have no key: how one looks at a run, and what is never agreed to beforehand.
ELSEWHERE = {
    *("quiet", "verbose", "json", "help", "dry_run", "yes"),
    *("allow_fresh", "without_vault"),
    *("identity", "endpoint_url"),
}
STILL = ("--still-for", "0")
TAKE = """
import shutil, sys
for path in sys.argv[1:]:
    print("taking", path)
    shutil.rmtree(path.rpartition("/")[0])
"""


class Place:
    """A registry with garbage, its vault, and what collects."""

    def __init__(self, base, capsys):
        self.base = base
        self.capsys = capsys
        self.store = LocalStore(base / "registry", create=True)
        self.push = Pusher(self.store)
        self.image = self.push.image("app", "1", "latest", layers=(noise(3000, 1), noise(90, 2)))
        self.index = self.push.index("app", "all", children=(self.image,))
        self.orphan = self.push.blob(noise(5000, "orphan"))
        self.untagged = self.push.image("app", layers=(noise(700, 3),))
        (base / "take.py").write_text(TAKE)
        self.age()
        assert run(["init", "./vault"]) == 0
        assert run(["snapshot", "fs:registry", "--vault", "./vault", "--registry", "prod"]) == 0

    def age(self):
        then = time.time() - 7200
        for path in (self.base / "registry").rglob("*"):
            os.utime(path, (then, then))

    def take(self, *digests):
        paths = [str(self.base / "registry" / blob_key(digest)) for digest in digests]
        return shlex.join([sys.executable, str(self.base / "take.py"), *paths])

    def gc(self, *options, code=0, collect=None, vault=("--vault", "./vault")):
        """Run it; return what was printed."""
        self.capsys.readouterr()
        words = ["tier", "gc", "fs:registry", *vault, *STILL, *options]
        words += ["--collect", self.take(self.orphan) if collect is None else collect]
        assert run(list(words)) == code, self.capsys.readouterr()
        return self.capsys.readouterr()

    def json(self, *options, **words):
        return json.loads(self.gc("--json", *options, **words).out)


@pytest.fixture
def place(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("REGVAULT_CACHE", str(tmp_path / "cache"))
    return Place(tmp_path, capsys)


def files(base):
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in base.rglob("*")
        if path.is_file() and "cache" not in path.parts
    }


def test_looks_before_it_does(place):
    before = files(place.base)
    told = place.gc("--dry-run")
    assert "1 repository, 3 tags, 3 manifests need 8 blobs" in told.out
    assert "Nothing needs 1 blob, 4.88 KiB: < 0.01 USD a month in STANDARD" in told.out
    assert place.orphan in told.out
    assert "snapshots keep 0 blobs, 0 B; 1 blob, 4.88 KiB, will be nowhere" in told.out
    found = place.json("--dry-run")
    assert found["dry_run"] is True
    assert found["plan"]["unneeded"]["largest"] == [{"digest": place.orphan, "bytes": 5000}]
    assert found["plan"]["vault"]["lacking_blobs"] == 0
    after = files(place.base)
    assert {
        path for path in before if before[path] != after.get(path) and "/cache/" not in path
    } == set()


def test_asks_and_then_does(place):
    told = place.gc(code=2)
    assert "nobody can be asked" in told.err
    assert place.store.head(blob_key(place.orphan)).size == 5000
    told = place.gc("--yes")
    assert "Freed 1 blob, 4.88 KiB; still there: 0 blobs" in told.out
    assert "Proven: all 8 blobs that images need and had are there" in told.out
    assert "taking " in told.err
    assert "Restart the registry" in told.err
    assert "There is nothing to free." in place.gc("--yes").out


def test_quiet(place):
    told = place.gc("--yes", "-q")
    assert told.err == ""
    assert "Proven" in told.out


def test_what_it_takes_wrongly_is_told_with_what_brings_it_back(place):
    everything = tree(place.store)
    take = place.take(place.orphan, place.image.blobs[1])
    told = place.gc("--yes", code=3, collect=take)
    assert "images lost 1 thing that they need" in told.err
    for tag in ("1", "latest", "all"):
        assert f"app:{tag} cannot be pulled" in told.out
    (line,) = [each.strip() for each in told.out.splitlines() if "regvault restore" in each]
    base = place.base
    where = f"--vault {base}/vault --to fs:{base}/registry --repo app --no-referrers --digest "
    assert line.startswith(f"regvault restore prod@1 {where}")
    assert run(shlex.split(line)[1:]) == 0
    del everything[blob_key(place.orphan)]
    assert tree(place.store) == everything
    found = place.json("--dry-run")
    assert found["plan"]["missing_blobs"] == 0


def test_and_at_once(place):
    everything = tree(place.store)
    take = place.take(place.orphan, *place.image.blobs, place.image.digest)
    found = place.json("--yes", "--repair", code=3, collect=take)
    assert found["loss_count"] == 4
    assert found["repaired"] == {"loss_count": 0, "losses": []}
    del everything[blob_key(place.orphan)]
    assert tree(place.store) == everything
    place.push.blob(b"more garbage")
    place.age()
    told = place.gc("--yes", "--repair", code=3, collect=place.take(place.image.blobs[0]))
    assert "All of it was brought back" in told.out


def test_a_tag_that_moved_since_the_snapshot_comes_back_where_it_pointed(place):
    """A restore by its name would bring back another image."""
    place.push.tag("app", "1", place.untagged.digest)
    link = f"{place.base}/registry/{BASE}/repositories/app/_manifests/tags/1/current/link"
    place.age()
    take = place.take() + f" {link}"
    told = place.gc("--yes", code=3, collect=take)
    assert f"app:1 is to point to {place.untagged.digest} again" in told.out
    assert "--tag" not in told.out
    place.push.tag("app", "1", place.untagged.digest)
    place.age()
    found = place.json("--yes", "--repair", code=3, collect=take)
    assert found["hurt"][0]["retagged"] == ["1"]
    assert found["repaired"]["loss_count"] == 0
    with open(link) as file:
        assert file.read() == place.untagged.digest


def test_what_cannot_be_brought_back_is_told_all_the_same(place):
    """The vault loses its packs while the registry collects."""
    take = place.take(place.orphan, place.image.blobs[1])
    lose = f"rm -r {place.base}/vault/packs {place.base}/vault/catalog"
    told = place.gc("--yes", "--repair", code=3, collect=f"sh -c {shlex.quote(f'{take}; {lose}')}")
    assert "did not come back" in told.err
    assert "regvault restore" in told.out


def test_a_command_that_fails(place):
    for command, words in [
        ("sh -c 'echo no; exit 9'", "exit code 9"),
        ("sh -c 'kill -TERM $$'", "SIGTERM"),
    ]:
        told = place.gc("--yes", code=1, collect=command)
        assert words in told.err
        assert "Proven" in told.out
    found = place.json("--yes", "--timeout", "500ms", code=1, collect="sleep 60")
    assert found["timed_out"] is True
    assert found["left"]["blobs"] == 1
    told = place.gc("--yes", code=3, collect="true")
    assert "Does COMMAND collect this registry?" in told.err
    # Killed amid its work: what it took by then is looked at.
    take = place.take(place.image.blobs[0])
    told = place.gc("--yes", code=3, collect=f"sh -c {shlex.quote(take + '; kill -9 $$')}")
    assert "app:1 cannot be pulled" in told.out


def test_what_is_in_the_way(place):
    place.push.image("new", "1", layers=(b"not in the vault",))
    told = place.gc("--yes", code=5)
    assert "lacks 3 blobs" in told.err
    assert "--without-vault" in told.err
    assert "it would not begin" in place.gc("--dry-run", code=5).err
    place.gc("--yes", "--without-vault", vault=())
    place.push.blob(b"fresh")
    assert run(["snapshot", "fs:registry", "--vault", "./vault"]) == 0
    assert "younger than an hour" in place.gc("--yes", code=5).err
    fresh = "sha256:" + hashlib.sha256(b"fresh").hexdigest()
    told = place.gc("--yes", "--allow-fresh", collect=place.take(fresh))
    assert "what is being pushed will be taken" in told.err


@pytest.mark.parametrize(
    ("words", "deletes"),
    [
        ("registry garbage-collect -m x.yml", True),
        ("docker exec r registry garbage-collect --delete-untagged=true x.yml", True),
        ("sh -c 'registry garbage-collect -q -m x.yml'", True),
        ("registry garbage-collect x.yml -m", True),
        ("registry garbage-collect x-m.yml --delete-untagged=false", False),
        ("python -m collect garbage-collect x.yml", False),
    ],
)
def test_what_deletes_untagged_manifests_has_to_be_said_to(place, words, deletes):
    """Else the plan would know nothing of what goes."""
    told = place.gc("--dry-run", code=2 if deletes else 0, collect=words)
    assert ("--untagged" in told.err) is deletes
    place.gc("--dry-run", "--untagged", collect=words)


def test_wrong_words(place):
    for options, code, words in [
        (("--yes", "--collect", "no-such-program"), 2, "no program"),
        (("--yes", "--collect", "sh 'x"), 2, "quotation"),
        (("--yes", "--repair", "--without-vault"), 2, "--repair"),
        (("--yes", "--registry", "other"), 10, "no snapshot of"),
        (("--yes", "--vault", "./elsewhere"), 10, "elsewhere"),
        (("--yes", "--prices", "nobody"), 2, "nobody"),
    ]:
        place.capsys.readouterr()
        words_ = ["tier", "gc", "fs:registry", "--vault", "./vault", "--collect", "true", *STILL]
        assert run([*words_, *options]) == code, options
        told = place.capsys.readouterr().err
        assert words in told
        assert "Hint: " in told
    assert run(["tier", "gc", "fs:nothing", "--vault", "./vault", "--collect", "true"]) == 10
    assert run(["tier", "gc", "fs:registry", "--collect", "true"]) == 2


def test_a_snapshot_at_work(place):
    store = LocalStore(place.base / "vault")
    run_id = f"{1:024x}"
    with Lease(store, Vault(store).id, run_id, role="writer", registry="prod"):
        told = place.gc("--yes", code=11)
        assert "--retry-lock" in told.err
        began = time.monotonic()
        place.gc("--yes", "--retry-lock", "1s", code=11)
        assert time.monotonic() - began >= 1
    place.gc("--yes")


def test_ended_by_a_signal_it_ends_the_collection_first(place):
    """And says that nothing is proven; the vault is free at once."""
    mark = place.base / "ended"
    collect = (
        f"trap 'sleep 0.5; touch {mark}; exit 0' TERM; echo begun; while :; do sleep 0.1; done"
    )
    words = ["tier", "gc", "fs:registry", "--vault", "./vault", "--yes", *STILL]
    process = subprocess.Popen(
        [sys.executable, "-m", "regvault", *words, "--collect", f"sh -c {shlex.quote(collect)}"],
        cwd=place.base,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "begun" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert mark.exists()
    assert "nothing is proven" in told
    assert "regvault scan" in told
    place.gc("--yes")


def test_killed_amid_the_collection_the_next_one_goes_on_at_once(place):
    words = ["tier", "gc", "fs:registry", "--vault", "./vault", "--yes", *STILL]
    collect = "sh -c 'echo begun $$; exec sleep 60'"
    process = subprocess.Popen(
        [sys.executable, "-m", "regvault", *words, "--collect", collect],
        cwd=place.base,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "begun" in line:
            child = int(line.split()[-1])
            break
    process.kill()
    process.communicate(timeout=60)
    os.kill(child, signal.SIGKILL)
    assert "Freed 1 blob" in place.gc("--yes").out
    assert run(["snapshot", "fs:registry", "--vault", "./vault"]) == 0


def test_untagged(place):
    gone = [place.untagged.digest, *place.untagged.blobs]
    link = f"{BASE}/repositories/app/_manifests/revisions/{gone[0].replace(':', '/')}/link"
    take = place.take(place.orphan, *gone) + f" {place.base}/registry/{link}"
    told = place.gc("--untagged", "--yes", collect=take)
    assert "1 manifest that no tag reaches would go, too." in told.out
    assert f"app@{gone[0]}" in told.err
    assert "1 manifest without a tag went." in told.out
    assert "Of what goes, snapshots keep 3 blobs" in told.out


def test_each_option_has_a_key(place):
    take = place.take(place.orphan)
    (place.base / "regvault.yaml").write_text(
        "vaults: {main: {location: ./vault}}\n"
        "registries: {live: {location: 'fs:./registry'}}\n"
        "tier:\n  prices: gcs-us-east1\n"
        f"  gc: {{source: live, collect: {json.dumps(take)}, still_for: 0s, registry: prod,\n"
        "    timeout: 1h, retry_lock: 1s, threads: 2, untagged: false, repair: false}\n"
    )
    assert run(["config", "check", "--json"]) == 0
    place.capsys.readouterr()
    assert run(["tier", "gc", "--dry-run", "--json"]) == 0
    assert json.loads(place.capsys.readouterr().out)["plan"]["saved"]["class"] == "STANDARD"
    assert run(["tier", "gc", "--yes"]) == 0
    assert "Freed 1 blob" in place.capsys.readouterr().out
    command = tier.get_command(click.Context(tier), "gc")
    section = parse_config("tier: {gc: {}}", "x").tier.gc
    flags = {max(o.opts, key=len).lstrip("-").replace("-", "_") for o in command.params}
    assert flags - ELSEWHERE == set(type(section).model_fields)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("tier: {gc: {collect: ''}}", "tier.gc.collect"),
        ("tier: {gc: {source: 'https:/x'}}", "tier.gc.source"),
        ("tier: {gc: {timeout: soon}}", "tier.gc.timeout"),
        ("tier: {gc: {allow_fresh: true}}", "tier.gc.allow_fresh"),
    ],
)
def test_wrong_keys(text, key):
    with pytest.raises(InvalidConfigurationError) as caught:
        parse_config(text, "regvault.yaml")
    assert key in str(caught.value)
