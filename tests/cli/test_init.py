"""`regvault init`: what it says of what it made, and how it makes it."""

from __future__ import annotations

import json
import os
import stat
import sys

import pytest
from click.testing import CliRunner

from regvault.cli.app import App
from regvault.cli.commands.init import init
from regvault.cli.commands.key import generate
from regvault.errors import CredentialError
from regvault.vault.age import Identity, identities_text
from regvault.vault.locks import LockPolicy
from regvault.vault.signing import SigningKey

HOST, ALICE = Identity.generate(), Identity.generate()


@pytest.fixture(autouse=True)
def umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def run(*args: str, command=init, as_json=False):
    result = CliRunner().invoke(command, args, obj=App(json=as_json), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout) if as_json else result.output


def identity(name: str, *held: Identity) -> str:
    with open(name, "w") as file:
        file.write(identities_text(held))
    return f"file:{name}"


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_others_of_the_machine_get_at_nothing_of_a_new_vault():
    """Every image of every registry would be open to them."""
    run("./deep/vault")
    assert (mode("deep"), mode("deep/vault")) == (0o755, 0o700)


def test_a_directory_that_is_there_keeps_its_mode():
    """An administrator made it so: another user may have to read it."""
    os.mkdir("vault", 0o750)
    run("./vault")
    assert mode("vault") == 0o750


@pytest.mark.parametrize(("recipients", "loud"), [((ALICE,), False), ((ALICE, HOST), True)])
def test_a_host_that_is_a_recipient_itself_is_no_secret(recipients, loud):
    """Else whoever makes this mistake believes that the host can read nothing."""
    args = [part for each in recipients for part in ("--recipient", each.public)]
    said = run("./vault", *args, "--identity", identity("host.txt", HOST))
    assert ("this host can read everything" in said) is loud
    assert (HOST.public in said) is loud


def test_the_public_key_is_shown_that_readers_need():
    key = SigningKey.generate()
    with open("sign.pem", "w") as file:
        file.write(key.to_pem())
    said = run("./vault", "--sign-key", "file:sign.pem")
    assert f"trusted_keys of who reads them: {key.public}" in said
    assert "PRIVATE" not in said
    document = run("./other", "--sign-key", "file:sign.pem", as_json=True)
    assert (document["signed"], document["public_key"]) == (True, str(key.public))
    assert run("./plain", as_json=True)["public_key"] is None


@pytest.mark.parametrize(("args", "library"), [((), "cryptography"), (("--identity",), "pyrage")])
def test_a_missing_library_is_installed_from_where_there_is_one(monkeypatch, args, library):
    """Nothing is published under regvault's name: `pip install regvault[crypto]` finds nothing."""
    for name in [n for n in sys.modules if n.partition(".")[0] == library] or [library]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CredentialError) as caught:
        run("new.key", *args, command=generate)
    assert "its extra `crypto`" in str(caught.value.hint)
    assert "pip install '.[crypto]'" in str(caught.value.hint)
    assert not os.path.exists("new.key")


@pytest.mark.parametrize(("span", "loud"), [("1h", True), ("7d", True), ("8d", False)])
def test_a_lock_that_ends_before_anybody_notices_is_no_secret(monkeypatch, span, loud):
    """Compliance for an hour looks like protection, and does not change any more."""
    monkeypatch.setattr("regvault.assemble.create_vault", lambda *_, **__: "0" * 32)
    said = run("s3://bucket/vault", "--lock", "compliance", "--lock-for", span)
    assert ("protect little" in said) is loud


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30 * 86_400, "30d"), (3600, "1h"), (90 * 60, "90m"), (61, "61s")],
)
def test_how_a_vault_is_locked_is_said_as_it_is_typed(seconds, text):
    assert str(LockPolicy("compliance", seconds)) == f"compliance for {text}"


def test_an_identity_without_a_recipient_makes_no_sealed_vault_and_that_is_said(monkeypatch):
    """Else the first snapshot says it, when somebody relies on the vault already."""
    assert "not sealed" not in run("./without")
    monkeypatch.setenv("REGVAULT_IDENTITY", identity("host.txt", HOST))
    assert "the vault is not sealed: snapshots with it are refused" in run("./plain")
