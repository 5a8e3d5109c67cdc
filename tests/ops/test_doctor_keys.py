"""`doctor`: whether the keys that are given open the vault, and sign what is written into it."""

from __future__ import annotations

import json
import os
import re

import pytest
from click.testing import CliRunner
from world import World, flip, noise

from regvault.cli.app import App
from regvault.cli.commands.doctor import doctor
from regvault.ops.keys import change_recipients, rotate_writer
from regvault.storage.local import LocalStore
from regvault.vault.age import Identity, identities_text
from regvault.vault.create import Sealing, create_vault
from regvault.vault.signing import Keys, SigningKey
from regvault.vault.vault import Vault

#: Of the host that takes snapshots, of two who may restore, and of nobody.
HOST, ALICE, BOB, EVE = (Identity.generate() for _ in range(4))
MINE, THEIRS = SigningKey.generate(), SigningKey.generate()
ROLES = ("any", "writer", "reader", "pruner")


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    for name in ("CONFIG", "VAULT", "IDENTITY", "SIGN_KEY", "TRUSTED_KEYS"):
        monkeypatch.delenv(f"REGVAULT_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(keys=None, sealing=None, *, snapshot=True) -> World:
    store = LocalStore("vault", create=True)
    keys = keys or Keys()
    create_vault(store, keys, sealing=sealing)
    world = World(store=store)
    world.trust = keys
    if snapshot:
        more(world, "first")
    os.chmod("vault", 0o700)
    return world


def more(world: World, name: str) -> None:
    world.push.image(name, "1", layers=(noise(3000, name),))
    world.snapshot()


def sealed(**options) -> World:
    return made(Keys(identities=(HOST,)), Sealing((ALICE.public,)), **options)


def found(check: str, role: str = "any", *identities: Identity, config=None) -> tuple[str, int]:
    """Run doctor as somebody with these identities; return what a check came to, and the code."""
    args = [] if config else ["--vault", "./vault"]
    if identities:
        with open("identity.txt", "w") as file:
            file.write(identities_text(identities))
        args += ["--identity", "file:identity.txt"]
    return ran(check, *args, "--role", role, config=config)


def ran(check: str, *args: str, config=None) -> tuple[str, int]:
    result = CliRunner().invoke(
        doctor,
        [*args, "--fail-on", "error"],
        obj=App(json=True, config_path=config),
        standalone_mode=False,
    )
    if result.exception is not None:
        raise result.exception
    assert not re.search("AGE-SECRET-KEY-1[0-9A-Z]", result.output)
    assert "PRIVATE" not in result.output
    (one,) = [c for c in json.loads(result.stdout)["checks"] if c["id"] == check]
    assert bool(one["hint"]) is (one["state"] in ("warning", "error"))
    global said  # noqa: PLW0603 - what the last one said
    said = one["found"]
    return one["state"], result.return_value or 0


said = ""


@pytest.mark.parametrize("role", ROLES)
def test_a_plain_vault_needs_no_key(role):
    made()
    assert found("identity", role) == ("ok", 0)
    assert said == "not sealed"
    assert found("sign-key", role) == ("ok", 0)
    assert said == "not signed"


@pytest.mark.parametrize("role", ROLES)
def test_a_plain_vault_for_which_an_identity_is_given_is_not_the_one_that_is_meant(role):
    made()
    assert found("identity", role, ALICE) == ("error", 5)
    assert "nothing is written" in said


EXPECTED = {
    "none": {
        "any": ("warning", 0), "writer": ("error", 12), "reader": ("error", 12),
        "pruner": ("ok", 0),
    },
    "another": dict.fromkeys(ROLES, ("error", 12)),
    "the host's": {
        "any": ("ok", 0), "writer": ("ok", 0), "reader": ("error", 12), "pruner": ("ok", 0),
    },
    "a recipient's": {
        "any": ("ok", 0), "writer": ("warning", 0), "reader": ("ok", 0), "pruner": ("ok", 0),
    },
}  # fmt: skip
GIVEN = {"none": (), "another": (EVE,), "the host's": (HOST,), "a recipient's": (ALICE,)}


@pytest.mark.parametrize("snapshot", [True, False], ids=["tried", "nothing yet"])
@pytest.mark.parametrize("given", GIVEN)
def test_who_opens_a_sealed_vault_by_role(given, snapshot):
    sealed(snapshot=snapshot)
    for role in ROLES:
        assert found("identity", role, *GIVEN[given]) == EXPECTED[given][role], role
        if given in ("the host's", "a recipient's"):
            assert ("tried on" in said) is snapshot
            assert ("names only" in said) is (given == "the host's")


def test_an_identity_that_cannot_be_read_fails_every_role():
    sealed()
    for role in ROLES:
        assert ran(
            "identity", "--vault", "./vault", "--role", role, "--identity", "file:no.txt"
        ) == ("error", 12)
    with open("odd.txt", "w") as file:
        file.write("AGE-SECRET-KEY-1NONSENSE")
    assert ran("identity", "--vault", "./vault", "--identity", "file:odd.txt") == ("error", 12)


def test_it_is_tried_and_not_believed():
    """A recipient by the records, to whom nothing that is there is sealed."""
    world = sealed()
    change_recipients(Vault(world.store, world.trust), add=[BOB.public])
    assert found("identity", "reader", BOB) == ("error", 12)
    assert "stay closed" in said
    more(world, "second")
    assert found("identity", "reader", BOB) == ("error", 12)  # it needs what was there before
    assert found("identity", "reader", BOB, ALICE) == ("ok", 0)
    assert found("identity", "reader", ALICE) == ("ok", 0)


def test_who_was_removed_opens_only_what_is_old():
    world = sealed()
    change_recipients(Vault(world.store, world.trust), add=[BOB.public], remove=[ALICE.public])
    assert found("identity", "reader", ALICE) == ("ok", 0)
    assert found("identity", "writer", ALICE) == ("error", 12)
    assert "from now on" in said
    more(world, "second")
    assert found("identity", "reader", ALICE) == ("error", 12)
    # The host and a recipient of a part of the contents.
    assert found("identity", "any", HOST, ALICE) == ("warning", 0)
    assert "some contents" in said
    assert found("identity", "reader", HOST, ALICE) == ("error", 12)
    assert found("identity", "writer", HOST, ALICE) == ("warning", 0)


def test_a_host_whose_identity_was_rotated_needs_both():
    world = sealed()
    rotate_writer(Vault(world.store, world.trust), BOB.public)
    assert found("identity", "writer", HOST) == ("error", 12)
    assert "from now on" in said
    assert found("identity", "any", HOST) == ("warning", 0)
    assert found("identity", "writer", BOB) == ("error", 12)
    assert found("identity", "writer", BOB, HOST) == ("ok", 0)


def test_the_newest_root_of_every_registry_is_tried():
    world = sealed()
    vault = Vault(world.store, world.trust)
    rotate_writer(vault, BOB.public)
    world.trust = Keys(identities=(BOB, HOST))
    other = World()
    world.name, world.registry, world.push = "second", other.registry, other.push
    more(world, "elsewhere")
    assert len(vault.registries()) == 2
    assert found("identity", "writer", BOB) == ("error", 12)
    assert found("identity", "writer", BOB, HOST) == ("ok", 0)


@pytest.mark.parametrize("snapshot", [True, False], ids=["tried", "nothing yet"])
def test_a_host_that_is_a_recipient_itself_is_found(snapshot):
    """`init --recipient` with the host's own: the host reads what sealing should keep from it."""
    made(Keys(identities=(HOST,)), Sealing((ALICE.public, HOST.public)), snapshot=snapshot)
    for role, state in {"any": "warning", "writer": "warning", "reader": "ok"}.items():
        assert found("identity", role, HOST) == (state, 0), role
        assert ("is a recipient itself" in said) is (state == "warning")


@pytest.mark.parametrize("kind", ["trees/", "meta/", "records/keys/"])
def test_damage_is_no_wrong_key(kind):
    world = sealed()
    for key in world.keys(kind):
        if kind != "trees/" or ".age" in key:
            world.spoil(key, lambda data: flip(data, 300 if kind == "meta/" else -2))
    state, code = found("identity", "any", ALICE)
    assert (state, code) == ("error", 4)
    assert "damaged" in said or "gone" in said


def test_keys_go_with_every_vault_of_the_configuration(base, monkeypatch):
    sealed()
    (base / "regvault.yaml").write_text("vaults: {one: {location: ./vault}}\n")
    assert found("identity", "writer", HOST, config="regvault.yaml") == ("ok", 0)
    monkeypatch.setenv("REGVAULT_IDENTITY", "file:identity.txt")
    assert found("identity", "writer", config="regvault.yaml") == ("ok", 0)
    (base / "other.txt").write_text(identities_text([ALICE]))
    (base / "regvault.yaml").write_text(
        "vaults: {one: {location: ./vault, identity: 'file:other.txt'}}\n"
    )
    assert found("identity", "reader", config="regvault.yaml") == ("ok", 0)


# -- signing --------------------------------------------------------------------------------------


def signing(monkeypatch, key=None, trusted=()):
    """Give somebody a key to sign with, and keys to trust, by the environment."""
    for name, value in (
        ("REGVAULT_SIGN_KEY", "env:PEM" if key else ""),
        ("PEM", key.to_pem() if key else ""),
        ("REGVAULT_TRUSTED_KEYS", ",".join(str(each.public) for each in trusted)),
    ):
        monkeypatch.setenv(name, value)


SIGNS = {
    "none": ({}, {"any": "warning", "writer": "error", "reader": "warning", "pruner": "error"}),
    "its own": ({"key": MINE}, dict.fromkeys(ROLES, "ok") | {"reader": "warning"}),
    "trusted too": (
        {"key": MINE, "trusted": [MINE]}, dict.fromkeys(ROLES, "ok") | {"reader": "warning"},
    ),
    "trusted only": (
        {"trusted": [MINE]},
        {"any": "warning", "writer": "error", "reader": "ok", "pruner": "error"},
    ),
    "not trusted elsewhere": ({"key": THEIRS, "trusted": [MINE]}, dict.fromkeys(ROLES, "warning")),
}  # fmt: skip


@pytest.mark.parametrize("who", SIGNS)
@pytest.mark.parametrize("also_sealed", [False, True])
def test_who_signs_by_role(monkeypatch, who, also_sealed):
    keys = Keys(MINE, (MINE.public,), (HOST,) if also_sealed else ())
    made(keys, Sealing((ALICE.public,)) if also_sealed else None)
    given, expected = SIGNS[who]
    signing(monkeypatch, **given)
    for role, state in expected.items():
        code = 12 if state == "error" or (also_sealed and role in ("writer", "reader")) else 0
        assert found("sign-key", role) == (state, code), role


@pytest.mark.parametrize("given", [{"key": THEIRS}, {"trusted": [THEIRS]}])
def test_a_vault_that_is_signed_by_nobody_who_is_trusted(monkeypatch, given):
    made(Keys(MINE, (MINE.public,)))
    signing(monkeypatch, **given)
    assert found("sign-key") == ("error", 4)
    assert "not signed by a key that is trusted" in said


def test_a_newest_snapshot_that_is_signed_by_another_is_found(monkeypatch):
    world = made(Keys(MINE, (MINE.public,)))
    world.trust = Keys(THEIRS, (MINE.public, THEIRS.public))
    more(world, "second")
    signing(monkeypatch, MINE, [MINE])
    assert found("sign-key") == ("error", 4)
    assert "snapshots/prod/00000002.json" in said
    signing(monkeypatch, MINE, [MINE, THEIRS])
    assert found("sign-key") == ("ok", 0)


def test_a_key_that_signs_into_a_vault_that_takes_everything(monkeypatch):
    made()
    signing(monkeypatch, MINE)
    assert found("sign-key", "writer") == ("ok", 0)
    assert "takes what is not signed as well" in said


def test_a_key_to_sign_with_that_cannot_be_read(monkeypatch):
    made(Keys(MINE, (MINE.public,)))
    monkeypatch.setenv("REGVAULT_SIGN_KEY", "file:no.pem")
    for role in ROLES:
        assert found("sign-key", role) == ("error", 12)


def test_where_there_is_no_vault_nothing_is_known(base):
    (base / "vault").mkdir()
    assert found("identity", "writer", HOST)[0] == "skipped"
    assert found("sign-key", "writer")[0] == "skipped"
