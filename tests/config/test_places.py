import base64
from pathlib import Path

import pytest

from regvault.config.load import parse_config
from regvault.config.places import (
    RegistryPlace,
    VaultPlace,
    refuse_overlap,
    resolve_registry,
    resolve_vault,
)
from regvault.config.search import find_config
from regvault.config.secrets import SecretRef, parse_secret_ref
from regvault.errors import ConfigurationError, CredentialError, NotFoundError, UsageError
from regvault.model.location import Role, parse_location

CONFIG = parse_config(
    """
registries:
  prod: {location: "fs:/registry", repos: ["a/*"], fail_on: any}
vaults:
  disk: {location: /vault, threads: 3}
  cloud: {location: "s3://bucket/vault", endpoint_url: "http://one.example.com", profile: backup}
""",
    "/etc/regvault/regvault.yaml",
)


def test_a_name_brings_its_settings() -> None:
    place = resolve_vault("cloud", CONFIG)
    assert str(place.location) == "s3://bucket/vault"
    assert place.s3.profile == "backup"
    source = resolve_registry("prod", CONFIG, Role.SOURCE)
    assert (source.name, source.repos, source.fail_on) == ("prod", ("a/*",), "any")


def test_the_command_line_comes_before_the_configuration() -> None:
    place = resolve_vault("cloud", CONFIG, endpoint_url="http://two.example.com")
    assert place.s3.endpoint_url == "http://two.example.com"
    assert place.s3.profile == "backup"


def test_a_location_that_is_configured_takes_its_settings_too() -> None:
    assert resolve_vault("/vault/", CONFIG).threads == 3
    assert resolve_vault("/other", CONFIG).threads is None


def test_the_only_vault_need_not_be_named() -> None:
    only = parse_config("vaults: {disk: {location: /vault}}", "f")
    assert resolve_vault(None, only).name == "disk"
    with pytest.raises(UsageError, match="2: disk, cloud"):
        resolve_vault(None, CONFIG)
    with pytest.raises(UsageError, match="no vault is named"):
        resolve_vault("", None)


def test_trusted_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that a script put together may have gaps; what is wrong in it says where it is."""
    key = f"ed25519:{base64.b64encode(bytes(32)).decode()}"
    monkeypatch.setenv("REGVAULT_TRUSTED_KEYS", f",{key}, ")
    assert resolve_vault("/vault", None).trusted_keys == (key,)
    for wrong, why in ((f"{key},ed25519:AA", "is no public key"), (" , ", "names no public key")):
        monkeypatch.setenv("REGVAULT_TRUSTED_KEYS", wrong)
        with pytest.raises(UsageError, match=rf"\$REGVAULT_TRUSTED_KEYS.* {why}"):
            resolve_vault("/vault", None)
    monkeypatch.setenv("REGVAULT_TRUSTED_KEYS", "")
    assert resolve_vault("/vault", None).trusted_keys == ()


def test_an_unknown_name_is_not_made_a_directory() -> None:
    with pytest.raises(NotFoundError) as caught:
        resolve_vault("dsk", CONFIG)
    assert caught.value.exit_code == 10
    assert "Did you mean disk?" in (caught.value.hint or "")
    with pytest.raises(NotFoundError) as caught:
        resolve_registry("prd", None, Role.SOURCE)
    assert "fs:./prd" in (caught.value.hint or "")


def test_relative_paths_become_whole_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_vault("./vault", None).location.path == str(tmp_path / "vault")


@pytest.mark.parametrize(
    ("source", "vault"),
    [("fs:/a", "/a/vault"), ("fs:/a/b", "/a"), ("fs:/a", "/a"), ("s3://bkt/x", "s3://bkt/x/y")],
)
def test_a_vault_and_a_registry_inside_each_other_are_refused(source: str, vault: str) -> None:
    one = RegistryPlace(parse_location(source))
    with pytest.raises(UsageError, match="overlap"):
        refuse_overlap(one, VaultPlace(parse_location(vault)))


def test_an_endpoint_of_the_environment_is_the_same_as_one_that_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = resolve_vault("cloud", CONFIG)
    other = VaultPlace(place.location)
    refuse_overlap(place, other)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one.example.com/")
    with pytest.raises(UsageError):
        refuse_overlap(place, other)


def test_the_configuration_is_searched_in_its_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGVAULT_CONFIG", raising=False)
    (tmp_path / "regvault.yaml").touch()
    (tmp_path / "b.yaml").touch()
    (tmp_path / "c.yaml").touch()
    assert find_config(None) == "regvault.yaml"
    monkeypatch.setenv("REGVAULT_CONFIG", "b.yaml")
    assert find_config(None) == "b.yaml"
    assert find_config("c.yaml") == "c.yaml"


def test_a_configuration_that_was_named_but_is_not_there_is_never_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "regvault.yaml").touch()
    with pytest.raises(ConfigurationError, match="--config"):
        find_config("none.yaml")
    monkeypatch.setenv("REGVAULT_CONFIG", "none.yaml")
    with pytest.raises(ConfigurationError, match="REGVAULT_CONFIG"):
        find_config(None)


def test_secrets_are_read_from_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    monkeypatch.setenv("KEY", "other")
    assert parse_secret_ref(f"file:{tmp_path}/key").read() == "s3cret"
    assert parse_secret_ref("env:KEY").read() == "other"


def test_a_secret_that_is_not_there_is_a_credential_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for ref in (
        SecretRef("env", "REGVAULT_NO_SUCH_VARIABLE"),
        SecretRef("file", str(tmp_path / "none")),
        SecretRef("file", str(tmp_path / "empty")),
        SecretRef("file", str(tmp_path / "binary")),
    ):
        with pytest.raises(CredentialError) as caught:
            ref.read()
        assert caught.value.exit_code == 12


@pytest.mark.parametrize("text", ["hunter2", "", "env:", "file:", "env:A B", "vault:x"])
def test_what_is_no_reference_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="say where it is") as caught:
        parse_secret_ref(text)
    assert not text or text not in str(caught.value).replace("file:/PATH or env:NAME", "")


@pytest.mark.parametrize("text", ["AGE-SECRET-KEY-1QQQQ", "file:AGE-SECRET-KEY-1QQQQ"])
def test_an_identity_that_is_written_in_the_place_of_a_reference_is_not_repeated(text):
    for written in (text, text.lower()):
        with pytest.raises(ValueError, match="a secret is never written here") as raised:
            parse_secret_ref(written)
        assert "qqqq" not in str(raised.value).lower()
