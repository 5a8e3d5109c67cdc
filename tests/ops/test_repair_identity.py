"""A vault that lost its `vault.json`, or has that of another: said at once, and made again."""

from __future__ import annotations

import json
import os

import pytest
from world import World, noise, tree

from regvault.cli.main import run
from regvault.errors import CredentialError, VaultDamagedError
from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore
from regvault.vault.age import Identity
from regvault.vault.create import Sealing, create_vault
from regvault.vault.envelope import write_document
from regvault.vault.identity import identify
from regvault.vault.keyring import write_key_record
from regvault.vault.keys import VAULT_JSON, lease_key, new_run_id, record_key
from regvault.vault.signing import Keys, SigningKey

HOST, ALICE = Identity.generate(), Identity.generate()
SIGNER = SigningKey.generate()
KINDS = {
    "plain": (Keys(), None),
    "signed": (Keys(SIGNER, (SIGNER.public,)), None),
    "sealed": (Keys(identities=(HOST, ALICE)), Sealing((ALICE.public,))),
}


class Site:
    """A vault on a disk, and the command line."""

    def __init__(self, base, capsys, monkeypatch, kind: str) -> None:
        self.capsys = capsys
        keys, sealing = KINDS[kind]
        monkeypatch.chdir(base)
        monkeypatch.setenv("REGVAULT_CACHE", str(base / "cache"))
        for name in ("REGVAULT_CONFIG", "REGVAULT_VAULT"):
            monkeypatch.delenv(name, raising=False)
        if keys.signer is not None:
            monkeypatch.setenv("KEY", keys.signer.to_pem())
            monkeypatch.setenv("REGVAULT_SIGN_KEY", "env:KEY")
            monkeypatch.setenv("REGVAULT_TRUSTED_KEYS", str(keys.signer.public))
        if keys.identities:
            monkeypatch.setenv("IDENTITY", f"{HOST.secret()}\n{ALICE.secret()}\n")
            monkeypatch.setenv("REGVAULT_IDENTITY", "env:IDENTITY")
        registry = LocalStore(base / "registry", create=True)
        store = LocalStore(base / "vault", create=True)
        create_vault(store, keys, sealing=sealing)
        self.world = World(registry, store)
        self.world.trust = keys
        for number in range(2):
            self.world.push.image("app", f"v{number}", layers=(noise(900, number),))
            self.world.snapshot()
        self.store = store

    def run(self, *args: str) -> tuple[int, str]:
        self.capsys.readouterr()
        code = run([*args, "--vault", "./vault"])
        said = self.capsys.readouterr()
        return code, said.out + said.err

    def kept(self) -> dict[str, bytes]:
        return tree(self.store)


@pytest.fixture(params=KINDS)
def site(request, tmp_path, capsys, monkeypatch) -> Site:
    return Site(tmp_path, capsys, monkeypatch, request.param)


@pytest.fixture
def plain(tmp_path, capsys, monkeypatch) -> Site:
    return Site(tmp_path, capsys, monkeypatch, "plain")


def another(site: Site) -> None:
    """Put the vault.json of another vault in the place of this one's: that of a copy, say."""
    other = MemoryStore("other")
    create_vault(other, site.world.trust)
    site.store.put(VAULT_JSON, other.get(VAULT_JSON))


HARM = {
    "gone": lambda site: site.store.delete(VAULT_JSON),
    "garbage": lambda site: site.store.put(VAULT_JSON, b"garbage"),
    "another's": another,
}


def lines(data: bytes) -> dict:
    return json.loads(data.split(b"\n")[0])


@pytest.mark.parametrize("harm", HARM)
def test_it_is_made_again(site, harm):
    """Rule 6: by what every root says of its vault, and nothing else of the vault changes."""
    before, day = site.kept(), site.world.restored(2)
    HARM[harm](site)
    harmed = site.kept()
    code, _ = site.run("repair", "--dry-run")
    assert code == 4
    now = site.kept()
    assert {k: v for k, v in now.items() if not k.startswith("leases/")} == {
        k: v for k, v in harmed.items() if not k.startswith("leases/")
    }
    code, said = site.run("repair", "--yes")
    assert code == 0, said
    made, was = lines(site.store.get(VAULT_JSON)), lines(before[VAULT_JSON])
    assert made == {**was, "created": site.world.root(1).started}
    signatures = json.loads(site.store.get(VAULT_JSON).split(b"\n")[1])["signatures"]
    assert bool(signatures) == (site.world.trust.signer is not None)
    for key, data in before.items():
        if key != VAULT_JSON and not key.startswith("leases/"):
            assert site.store.get(key) == data
    site.world.verified()
    assert site.world.restored(2) == day
    assert site.run("verify")[0] == 0
    assert site.run("prune", "--yes")[0] == 0


@pytest.mark.parametrize(
    "args",
    [
        ("verify",),
        ("verify", "--quick"),
        ("snapshot", "fs:registry", "--registry", "prod"),
        ("snapshot", "fs:registry", "--registry", "new"),
        ("prune", "--yes"),
        ("forget", "prod@1", "--yes"),
        ("pin", "prod@1"),
        ("unlock", "--yes"),
        ("restore", "latest", "--to", "fs:out"),
    ],
    ids=" ".join,
)
def test_the_vault_json_of_another_vault_is_said_at_once(plain, args):
    """Rule 6: and nothing is written that would belong to another vault for ever."""
    another(plain)
    before = plain.kept()
    code, said = plain.run(*args)
    assert code == 4
    assert "no snapshot in it is of that one" in said
    assert "regvault repair" in said
    assert plain.kept() == before
    assert not os.path.exists("out")


def strangers(site: Site) -> list[str]:
    """Leave what a verification leaves that took this for another vault."""
    keys = []
    for kind in ("lease", "verifications"):
        run_id = new_run_id()
        key = lease_key(run_id) if kind == "lease" else record_key(kind, run_id)
        body = {"type": kind, "format": 1, "features": [], "vault": "f" * 32, "run": run_id}
        site.store.put(key, write_document({**body, "role": "reader", "state": "live"})[0])
        keys.append(key)
    return sorted(keys)


def test_what_another_vault_left_behind_is_removed(plain):
    """It stops every prune, and protects nothing: no snapshot here is of that vault."""
    left = strangers(plain)
    before = plain.kept()
    assert plain.run("verify")[0] == 4
    assert plain.run("prune", "--yes")[0] == 4
    code, said = plain.run("repair", "--dry-run")
    assert (code, set(left) - set(plain.kept())) == (4, set())
    code, said = plain.run("repair", "--yes")
    assert code == 0, said
    assert {key for key in before if key not in plain.kept()} == set(left)
    assert plain.run("verify")[0] == 0
    assert plain.run("prune", "--yes")[0] == 0
    assert plain.run("unlock", "--yes")[0] == 0


def test_nothing_is_removed_where_it_is_not_certain_which_vault_this_is(plain):
    """The vault.json may be the stranger: then the records are this vault's own."""
    key = plain.world.root(2).name.key
    plain.store.put(key, write_document({**lines(plain.store.get(key)), "vault": "e" * 32})[0])
    left = strangers(plain)
    code, said = plain.run("repair", "--yes", "--drop-lost")
    assert code == 4, said
    assert set(left) <= set(plain.kept())
    assert lines(plain.store.get(key))["vault"] == "e" * 32  # nor is that root given up


class TestIdentify:
    def test_slots_of_several_vaults_tell_nothing(self, plain):
        key = plain.world.root(2).name.key
        plain.store.put(key, write_document({**lines(plain.store.get(key)), "vault": "e" * 32})[0])
        with pytest.raises(VaultDamagedError, match="of several vaults"):
            identify(plain.store, Keys())

    def test_no_slot_tells_nothing(self, plain):
        for sequence in (1, 2):
            plain.store.put(f"snapshots/prod/{sequence:08d}.json", b"garbage")
        assert identify(plain.store, Keys()) is None

    @pytest.mark.parametrize("keys", [Keys(), Keys(SigningKey.generate())])
    def test_a_signed_vault_wants_its_key(self, tmp_path, capsys, monkeypatch, keys):
        site = Site(tmp_path, capsys, monkeypatch, "signed")
        with pytest.raises(CredentialError, match="to sign"):
            identify(site.store, keys)

    def test_what_nobody_signed_does_not_count_in_a_signed_vault(
        self, tmp_path, capsys, monkeypatch
    ):
        """Rule 6: a store cannot give a vault another name."""
        site = Site(tmp_path, capsys, monkeypatch, "signed")
        for sequence in (1, 3):
            body = lines(site.store.get("snapshots/prod/00000002.json"))
            forged = write_document({**body, "vault": "e" * 32, "sequence": sequence})[0]
            site.store.put(f"snapshots/prod/{sequence:08d}.json", forged)
        found = identify(site.store, site.world.trust)
        assert found is not None
        assert found.id == site.world.vault().id

    def test_of_several_keys_an_identity_tells_the_right_one(self, tmp_path, capsys, monkeypatch):
        """Whoever writes to the store may add a key record of a key of its own."""
        site = Site(tmp_path, capsys, monkeypatch, "sealed")
        vault = site.world.vault()
        write_key_record(
            site.store,
            vault.id,
            new_run_id(),
            naming_key=b"k" * 32,
            recipients=(ALICE.public,),
            writer=HOST.public,
            generation=9,
        )
        with pytest.raises(CredentialError, match="several keys"):
            identify(site.store, Keys())
        found = identify(site.store, site.world.trust)
        assert found is not None
        assert found.sealing_key == vault.sealing_key
