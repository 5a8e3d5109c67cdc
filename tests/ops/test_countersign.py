"""`key countersign`: a key that was stolen need not be trusted any more, and nothing is lost."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner
from world import Before, World, digest_of, noise, tree

from regvault.cli.app import App
from regvault.cli.commands.init import init
from regvault.cli.commands.key_signed import countersign_, list_
from regvault.errors import CredentialError, UsageError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.countersign import countersign
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.keys import rotate_writer
from regvault.ops.prune import plan_prune, prune
from regvault.ops.purge import plan_purge, purge
from regvault.ops.repair.past import recover_documents
from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore
from regvault.vault.age import Identity
from regvault.vault.create import Sealing, create_vault
from regvault.vault.envelope import write_document
from regvault.vault.keys import VAULT_JSON
from regvault.vault.root import RootName
from regvault.vault.signing import Keys, SigningKey, UntrustedError, VaultId
from regvault.vault.vault import Vault

STOLEN, NEW, EVE = (SigningKey.generate() for _ in range(3))
HOST, ALICE, NEXT = (Identity.generate() for _ in range(3))
SIGNED = ("snapshots/", "records/amendments/", "records/keys/", "condemned/", VAULT_JSON)


@pytest.fixture
def made() -> World:
    """A signed and sealed vault that has everything in it that is signed."""
    store = MemoryStore("vault")
    store.clock_ns = time.time_ns()
    keys = Keys(STOLEN, (), (HOST,))
    create_vault(store, keys, sealing=Sealing((ALICE.public,)))
    world = World(store=store)
    world.trust = keys
    for day in range(3):
        world.push.image("app", f"v{day}", layers=(noise(1 << 20, "base"), noise(900, day)))
        world.snapshot()
    vault = world.vault()
    rotate_writer(vault, NEXT.public)
    forget(vault, plan_forget_named(vault, [world.root(1)]), progress=NO_PROGRESS)
    plan = plan_prune(vault, progress=NO_PROGRESS, threads=1, grace_s=-1)
    prune(vault, plan, progress=NO_PROGRESS, threads=1, grace_s=-1)
    plan.close()
    found = plan_purge(vault, [digest_of(noise(900, 1))], progress=NO_PROGRESS)
    purge(vault, found, progress=NO_PROGRESS, threads=1)
    assert all(world.keys(prefix) for prefix in SIGNED)
    return world


def as_owner(world: World) -> Vault:
    return Vault(world.store, Keys(NEW, (STOLEN.public,)))


def run(world: World, **options):
    return countersign(as_owner(world), dry_run=False, progress=NO_PROGRESS, **options)


def documents(world: World) -> dict[str, bytes]:
    return {key: data for key, data in tree(world.store).items() if key.startswith(SIGNED)}


def test_who_trusts_the_new_key_alone_reads_the_whole_vault(made):
    """Else a key that was stolen is trusted for as long as the vault is read."""
    alone = Keys(None, (NEW.public,), (ALICE,))
    with pytest.raises(UntrustedError):
        Vault(made.store, alone)
    before = documents(made)
    result = run(made)
    assert (result.exit_code(), set(result.signed)) == (0, set(before))
    for trusted in (NEW, STOLEN):  # and whoever has not heard of the new one
        made.trust = alone._replace(trusted=(trusted.public,))
        assert made.verify().exit_code() == 0
        made.restored(3)
    # What thieves sign from now on is refused.
    key = RootName(made.chain(), 3).key
    body = json.loads(made.store.get(key).split(b"\n")[0])
    stolen = VaultId(str(made.vault().id), Keys(STOLEN))
    made.store.put(key, write_document({**body, "vault": stolen, "complete": False})[0])
    made.trust = alone
    assert made.verify().exit_code() == 4


def test_nothing_but_signatures_changes_and_once_is_enough(made):
    before = documents(made)
    assert countersign(as_owner(made), dry_run=True, progress=NO_PROGRESS).signed
    assert documents(made) == before
    run(made)
    after = documents(made)
    for key, data in before.items():
        if not key.startswith("condemned/"):
            assert after[key].split(b"\n")[0] == data.split(b"\n")[0], key
    again = run(made)
    assert (again.signed, again.already) == ([], len(before))
    assert documents(made) == after
    made.trust = Keys(NEW, (), (NEXT, HOST))  # and the writer goes on with it
    made.snapshot()
    assert made.verify().exit_code() == 0


def test_what_nobody_signed_who_is_trusted_is_not_vouched_for(made):
    """It may be what an intruder has forged."""
    key = RootName(made.chain(), 2).key
    body = json.loads(made.store.get(key).split(b"\n")[0])
    eves = VaultId(str(made.vault().id), Keys(EVE))
    forged = write_document({**body, "vault": eves, "complete": False})[0]
    made.store.put(key, forged)
    result = run(made)
    assert (result.exit_code(), [each for each, _ in result.refused]) == (4, [key])
    assert made.store.get(key) == forged
    with pytest.raises(UntrustedError):
        Vault(made.store, Keys(None, (NEW.public,), (ALICE,))).read_slot(RootName(made.chain(), 2))


def test_a_snapshot_that_is_forgotten_meanwhile_stays_forgotten(made):
    """An old root over its stub would bring back what the next prune deletes."""
    root = made.root(2)

    def meanwhile() -> None:
        vault = made.vault()
        forget(vault, plan_forget_named(vault, [root]), progress=NO_PROGRESS)

    store = Before(made.store, "put", root.name.key, meanwhile)
    vault = Vault(store, Keys(NEW, (STOLEN.public,)))
    result = countersign(vault, dry_run=False, progress=NO_PROGRESS)
    assert root.name.key in result.signed
    assert json.loads(made.store.get(root.name.key).split(b"\n")[0])["type"] == "stub"
    assert Vault(made.store, Keys(None, (NEW.public,))).read_slot(root.name, unopened=True) is None


def test_a_copy_is_countersigned_with_the_roots_that_were_brought_along(made):
    target = MemoryStore("copy")
    create_vault(target, Keys(STOLEN), sealing=Sealing(copy_of=made.vault()))
    copy(made.vault(), [Vault(target, Keys(STOLEN))], CopyOptions(threads=1), progress=NO_PROGRESS)
    vault = Vault(target, Keys(NEW, (STOLEN.public,)))
    assert countersign(vault, dry_run=False, progress=NO_PROGRESS).exit_code() == 0
    copied = World(store=target)
    copied.trust = Keys(None, (NEW.public,), (ALICE,))
    assert copied.verify().exit_code() == 0
    assert len(copied.roots(made.chain())) == 2


def test_who_cannot_countersign(made):
    with pytest.raises(CredentialError, match="no key to sign with"):
        countersign(
            Vault(made.store, Keys(None, (STOLEN.public,))), dry_run=False, progress=NO_PROGRESS
        )
    with pytest.raises(UntrustedError):  # the old key must be trusted still
        Vault(made.store, Keys(NEW))
    plain = World()
    with pytest.raises(UsageError, match="is not signed"):
        countersign(Vault(plain.store, Keys(NEW)), dry_run=False, progress=NO_PROGRESS)


# What people see


@pytest.fixture
def base(tmp_path, monkeypatch):
    for name in ("CONFIG", "VAULT", "IDENTITY", "SIGN_KEY", "TRUSTED_KEYS"):
        monkeypatch.delenv(f"REGVAULT_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(command, *args: str, as_json=False):
    result = CliRunner().invoke(command, args, obj=App(json=as_json), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    said = json.loads(result.stdout) if as_json else result.output
    return result.return_value or 0, said


def test_the_public_keys_that_are_known_here_are_shown(base, monkeypatch):
    """Who has the private key alone could not say which public one others are to trust."""
    create_vault(LocalStore("vault", create=True), Keys(STOLEN))
    for name, key in (("old.pem", STOLEN), ("new.pem", NEW)):
        (base / name).write_text(key.to_pem())
    monkeypatch.setenv("REGVAULT_SIGN_KEY", "file:new.pem")
    monkeypatch.setenv("REGVAULT_TRUSTED_KEYS", str(STOLEN.public))
    code, said = call(list_, "--vault", "./vault")
    assert code == 0
    (own,) = [line for line in said.splitlines() if str(NEW.public) in line]
    assert "signs what is written from here" in own
    assert any(str(STOLEN.public) in line for line in said.splitlines())
    _, document = call(list_, "--vault", "./vault", as_json=True)
    assert document["sign_key"] == str(NEW.public)
    assert str(STOLEN.public) in document["trusted_keys"]
    assert [(use["key"], use["vault"]) for use in document["keys"]] == [(STOLEN.public.id, True)]
    assert call(countersign_, "--vault", "./vault")[0] == 0
    monkeypatch.setenv("REGVAULT_TRUSTED_KEYS", str(NEW.public))
    code, document = call(list_, "--vault", "./vault", as_json=True)
    assert code == 0
    assert [use["trusted"] for use in document["keys"]] == [False, True]


def test_who_trusts_other_keys_is_shown_who_signed_it(base, monkeypatch):
    """Every other command refuses the vault, and says that `key list` helps."""
    create_vault(LocalStore("vault", create=True), Keys(STOLEN))
    monkeypatch.setenv("REGVAULT_TRUSTED_KEYS", str(EVE.public))
    code, said = call(list_, "--vault", "./vault")
    assert code == 4
    assert f"{STOLEN.public.id}  NOT TRUSTED" in said


def test_a_vault_without_signatures_shows_no_empty_table(base):
    (base / "host.txt").write_text(f"{HOST.secret()}\n")
    call(init, "./vault", "--recipient", ALICE.public, "--identity", "file:host.txt")
    _, said = call(list_, "--vault", "./vault")
    assert "snapshots  count" not in said
    assert "what it opens" in said
    assert f"{HOST.public}  takes snapshots; opens names only" in said


def test_a_host_that_is_a_recipient_is_listed_as_one(base):
    (base / "host.txt").write_text(f"{HOST.secret()}\n")
    call(init, "./vault", "--recipient", HOST.public, "--identity", "file:host.txt")
    _, said = call(list_, "--vault", "./vault")
    assert f"{HOST.public}  takes snapshots; and is a recipient too" in said


def test_what_was_signed_since_is_not_taken_for_overwritten(made):
    """A repair from the past brings back what says something else, and no old signatures."""
    past = MemoryStore("past", clock_ns=made.store.clock_ns)
    for key, data in tree(made.store).items():
        past.put(key, data)
    run(made)
    vault = as_owner(made)
    recovered = recover_documents(made.store, past, vault.id)
    assert recovered.lost == set()
    assert recovered.unconfirmed == []
