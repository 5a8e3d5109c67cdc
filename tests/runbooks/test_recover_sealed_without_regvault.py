"""Executes the code blocks of the runbook for sealed vaults, as a person would paste them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from pasting import (
    RAW_BYTES,
    TOOLS,
    Case,
    assert_recovered,
    blocks,
    flip,
    places_told,
    recovered,
    require,
)
from pasting import paste as paste_blocks

from regvault.ops.keys import change_recipients, rotate_writer
from regvault.storage.local import LocalStore
from regvault.vault.age import AGE_MAGIC, Identity, identities_text
from regvault.vault.create import Sealing, create_vault
from regvault.vault.envelope import write_document
from regvault.vault.keys import amendment_key
from regvault.vault.signing import Keys
from regvault.vault.vault import Vault

RUNBOOKS = Path(__file__).parents[2] / "restore-runbooks"
RUNBOOK = RUNBOOKS / "recover-sealed-without-regvault.md"
MORE_TOOLS = ("age", "base64", "basenc", "od", "seq")

#: Of the host that takes snapshots, of two who may restore, and of nobody.
HOST, ALICE, BOB, EVE = (Identity.generate() for _ in range(4))


@pytest.fixture(scope="module", autouse=True)
def _tools():
    require((*TOOLS, *MORE_TOOLS), "age zstd jq")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    place = tmp_path_factory.mktemp("runbook")
    with pytest.MonkeyPatch.context() as patch:  # so that there is more than one of each
        patch.setattr("regvault.vault.pack.FRAME_BYTES", 4 << 10)
        patch.setattr("regvault.vault.segment._FRAME_BYTES", 4 << 10)
        return Case(place, Keys(identities=(HOST,)), Sealing((ALICE.public, BOB.public)))


@pytest.fixture
def vault(case, tmp_path):
    """Return a copy of the vault, to be broken."""
    shutil.copytree(case.vault, tmp_path / "vault", copy_function=os.link)
    return tmp_path / "vault"


def paste(
    tmp_path, vault, reference, *, identity=ALICE, shell="sh", snapshot=1, repo="team/app/tools"
):
    """Run the blocks; return the layout and what was said."""
    out, file = tmp_path / "out", tmp_path / "identity.txt"
    if identity is not None:
        file.write_text(identities_text([identity]))
    values = {
        "VAULT": vault,
        "IDENTITY": file,
        "REGISTRY": "",
        "SNAPSHOT": snapshot,
        "REPOSITORY": repo,
        "REFERENCE": reference,
        "OUT": out,
    }
    said = paste_blocks(RUNBOOK, tmp_path, values, shell=shell, tools=(*TOOLS, *MORE_TOOLS))
    assert "AGE-SECRET-KEY" not in said
    return out, said


def opened(vault: Path) -> Vault:
    return Vault(LocalStore(vault), Keys(identities=(HOST,)))


def first_root(vault: Path):
    sealed = opened(vault)
    (registry,) = sealed.registries()
    return next(root for root in sealed.roots(registry) if root.name.sequence == 1)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_an_older_image_comes_back_without_regvault_and_without_the_catalog(
    case, vault, tmp_path, shell
):
    shutil.rmtree(vault / "catalog")
    out, said = paste(tmp_path, vault, "bundle", shell=shell)
    digest = case.tag["bundle"]
    assert_recovered(case, out, said, digest, "bundle")
    assert places_told(said) == 0
    assert "  sample\n" in said  # the registry's name, which only those see who can open the vault
    # It is the image that was promised: an index in an index, a raw layer and a packed one.
    top = json.loads(case.blobs[digest.partition(":")[2]])
    inner = [json.loads(case.blobs[m["digest"].partition(":")[2]]) for m in top["manifests"]]
    assert any("manifests" in body for body in inner)
    assert "from packs/" in said
    assert "from meta/" in said
    raw = {one for one, data in recovered(out).items() if len(data) >= RAW_BYTES}
    assert raw
    assert said.count("from blobs/") == len(raw)


def test_another_recipient_uses_the_catalog_and_nothing_is_written(case, vault, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in vault.rglob("*")}
    out, said = paste(tmp_path, vault, "bundle", identity=BOB)
    assert_recovered(case, out, said, case.tag["bundle"], "bundle")
    # The catalog tells all: a sealed blob has no plain key that is known without it.
    assert places_told(said) == len(case.blobs)
    for kind in ("catalog", "meta"):
        assert any(p.read_bytes().count(AGE_MAGIC) > 1 for p in (vault / kind).iterdir())
    assert {path: path.stat().st_mtime_ns for path in vault.rglob("*")} == before


def test_a_tag_that_moved_since_and_a_digest_come_back_as_they_were(case, vault, tmp_path):
    out, said = paste(tmp_path, vault, "latest", snapshot=3)
    (top,) = json.loads((out / "index.json").read_text())["manifests"]
    assert top["digest"] != case.tag["latest"], said
    again = tmp_path / "again"
    again.mkdir()
    out, said = paste(again, vault, case.tag["latest"])
    assert_recovered(case, out, said, case.tag["latest"], "recovered")


def test_keys_that_changed_since_change_nothing_for_who_could_open_it(case, vault, tmp_path):
    change_recipients(opened(vault), remove=[ALICE.public], add=[EVE.public])
    rotate_writer(opened(vault), Identity.generate().public)
    out, said = paste(tmp_path, vault, "bundle")
    assert_recovered(case, out, said, case.tag["bundle"], "bundle")


def test_a_key_record_that_is_damaged_is_passed_over_where_another_is_whole(case, vault, tmp_path):
    (record,) = (vault / "records/keys").iterdir()
    change_recipients(opened(vault), add=[EVE.public])
    flip(record, record.read_bytes().index(b'"k":"') + 200)
    out, said = paste(tmp_path, vault, "bundle")
    assert_recovered(case, out, said, case.tag["bundle"], "bundle")


def test_renamed_and_amended_objects_are_found(case, vault, tmp_path):
    shutil.rmtree(vault / "catalog")
    sealed = opened(vault)
    changes = []
    for ref in sealed.object_list(first_root(vault)):
        renamed = f"{ref.key[:-2]}-9"
        if not ref.key.startswith("trees/"):
            changes.append([ref.key, renamed, ref.size, ref.sha256])
        (vault / ref.key).rename(vault / renamed)
    half = len(changes) // 2
    for number, part in enumerate((changes[:half], changes[half:]), start=1):
        body = {"type": "amendment", "format": 1, "features": [], "vault": sealed.id}
        sealed.store.put(amendment_key(number), write_document({**body, "changes": part})[0])
    out, said = paste(tmp_path, vault, "bundle")
    assert_recovered(case, out, said, case.tag["bundle"], "bundle")


# -- wrong keys -----------------------------------------------------------------------------------


def test_a_wrong_identity_stops_at_once_and_says_to_whom_it_is_sealed(vault, tmp_path):
    out, said = paste(tmp_path, vault, "bundle", identity=EVE)
    stop = said[said.index("STOP: the identity in") :].splitlines()[0]
    assert "does not open this vault" in stop
    assert ALICE.public in stop
    assert BOB.public in stop
    assert not out.exists() or not recovered(out)


def test_the_host_s_identity_lists_and_stops_before_any_content(case, vault, tmp_path):
    out, said = paste(tmp_path, vault, "bundle", identity=HOST)
    assert "tag bundle sha256:" in said
    assert "opens names only" in said
    assert f"STOP: no whole {case.tag['bundle']} in the vault" in said
    assert "THE IMAGE IS NOT COMPLETE" in said
    assert not recovered(out)


def test_no_identity_at_all_is_said(vault, tmp_path):
    _, said = paste(tmp_path, vault, "bundle", identity=None)
    assert "STOP: there is no identity at" in said


def test_lost_key_records_are_said(vault, tmp_path):
    shutil.rmtree(vault / "records/keys")
    _, said = paste(tmp_path, vault, "bundle")
    assert "STOP: the key records are gone" in said


def test_a_vault_that_is_not_sealed_has_another_page(tmp_path):
    create_vault(LocalStore(tmp_path / "plain", create=True))
    _, said = paste(tmp_path, tmp_path / "plain", "bundle")
    assert "is no sealed vault of format 1: see recover-without-regvault.md" in said


# -- damage ---------------------------------------------------------------------------------------


def damaged(vault: Path, what: str) -> None:
    root, sealed = first_root(vault), opened(vault)
    if what == "root":
        flip(vault / root.name.key, 100)
    elif what == "chunk":
        hexed = root.repositories.top.digest.partition(":")[2]
        (file,) = vault.glob(f"{sealed.seal.chunk_key(hexed)}*")
        flip(file, -5)
    elif what == "list":
        flip(vault / str(root.objects.base.top.key), 20)
    elif what == "key":
        (file,) = (vault / "records/keys").iterdir()
        flip(file, file.read_bytes().index(b'"k":"') + 200)
    else:  # all of this kind that the snapshot has: which one the image needs is not known here
        for ref in sealed.object_list(root).with_prefix(what):
            data = bytearray((vault / ref.key).read_bytes())
            (vault / ref.key).unlink()
            for at in range(len(data) // 3, len(data), 1000):
                data[at] ^= 1
            (vault / ref.key).write_bytes(data)


@pytest.mark.parametrize("what", ["root", "chunk", "list", "key", "blobs/", "packs/", "meta/"])
def test_it_stops_where_a_byte_is_wrong(case, vault, tmp_path, what):
    damaged(vault, what)
    out, said = paste(tmp_path, vault, "bundle")
    assert "STOP" in said
    assert "recovered team/app/tools@" not in said
    if out.exists():  # what is there is right all the same
        whole = {one: case.blobs[one.partition(":")[2]] for one in recovered(out)}
        assert recovered(out) == whole


def test_a_damaged_catalog_is_passed_over(case, vault, tmp_path):
    for file in (vault / "catalog").iterdir():
        flip(file, -3)
    out, said = paste(tmp_path, vault, "bundle")
    assert "passed over: " in said
    assert_recovered(case, out, said, case.tag["bundle"], "bundle")


@pytest.mark.parametrize(("reference", "number"), [("no-such-tag", 1), ("bundle", 9)])
def test_what_is_not_there_is_said(vault, tmp_path, reference, number):
    _, said = paste(tmp_path, vault, reference, snapshot=number)
    assert "STOP" in said


def test_both_pages_say_the_same_where_nothing_is_sealed():
    """Who mends one of them mends the other."""
    plain = blocks(RUNBOOKS / "recover-without-regvault.md")
    sealed = blocks(RUNBOOK)
    assert len(set(plain) & set(sealed)) >= 7
    assert plain[-2:] == sealed[-2:]
