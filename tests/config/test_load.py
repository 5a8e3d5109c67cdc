import json
import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from regvault.config.audit import Audit
from regvault.config.load import InvalidConfigurationError, load_config, parse_config
from regvault.config.model import Config, Registry, Vault
from regvault.config.rules import Check, VerifyAge
from regvault.config.schema import config_schema
from regvault.config.tier import Tier
from regvault.errors import ConfigurationError
from regvault.policy.rule321 import Declared, Rule

DOCS = Path(__file__).resolve().parents[2] / "docs"


def problems(text: str) -> list[tuple[int, int, str]]:
    with pytest.raises(InvalidConfigurationError) as caught:
        parse_config(text, "regvault.yaml")
    return [(p.line, p.column, p.path) for p in caught.value.problems]


def test_the_example_of_the_documentation_is_right() -> None:
    text = (DOCS / "configuration.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example
    config = parse_config(example[1], "/etc/regvault/regvault.yaml")
    assert list(config.registries) == ["production", "lab"]
    assert config.vault_places["offsite"].limit_upload == 50 << 20
    assert str(config.vault_places["disk"].location) == "/backup/vault"


def test_the_example_of_the_check_is_right_and_asks_for_what_is_asked_for_anyway() -> None:
    example = re.search(r"```yaml\n(.*?)```", (DOCS / "check.md").read_text(), re.DOTALL)
    assert example
    config = parse_config(example[1], "regvault.yaml")
    assert config.rule == Rule()
    assert config.vault_places["shelf"].declared.offline


def test_the_documentation_has_every_setting() -> None:
    text = (DOCS / "configuration.md").read_text()
    sections = [field.annotation.__args__[0] for name, field in Audit.model_fields.items()]
    audit = [each for each in sections if isinstance(each, type) and issubclass(each, BaseModel)]
    assert len(audit) == 13
    sections = [field.annotation.__args__[0] for name, field in Tier.model_fields.items()]
    tier = [each for each in sections if isinstance(each, type) and issubclass(each, BaseModel)]
    assert len(tier) == 5
    for model in (Config, Registry, Vault, Check, VerifyAge, Audit, *audit, Tier, *tier):
        for name in model.model_fields:
            assert f"`{name}`" in text


def test_the_example_of_the_audit_stream_is_right() -> None:
    text = (DOCS / "configuration.md").read_text()
    example = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[1]
    audit = parse_config(example, "regvault.yaml").audit
    assert audit.value("archive", "kafka_user") == "archiver"
    assert audit.value("archive", "kafka_ca") == "/etc/regvault/kafka-ca.pem"
    assert audit.value("archive", "spool") is None


def test_every_error_is_reported_with_its_line_and_column() -> None:
    text = """\
timezone: Mars/Base
registries:
  prod:
    location: /var/lib/registry
    fail_on: never
    repos: ["ok/*", "/bad", 3]
vaults:
  disk:
    location: /backup
    thread: 4
    threads: "4"
    threads: 9
    limit_upload: fast
  Bad_:
    endpoint_url: s3.example.com
    access_key_id: AKIAXYZ
  more: null
"""
    assert problems(text) == [
        (1, 11, "timezone"),
        (4, 15, "registries.prod.location"),
        (5, 14, "registries.prod.fail_on"),
        (6, 21, "registries.prod.repos.1"),
        (6, 29, "registries.prod.repos.2"),
        (10, 5, "vaults.disk.thread"),
        (11, 14, "vaults.disk.threads"),
        (12, 5, "vaults.disk.threads"),
        (13, 19, "vaults.disk.limit_upload"),
        (14, 3, "vaults.Bad_"),
        (14, 3, "vaults.Bad_.location"),
        (15, 19, "vaults.Bad_.endpoint_url"),
        (16, 20, "vaults.Bad_.access_key_id"),
        (17, 9, "vaults.more"),
    ]


def test_the_message_has_file_line_and_column_of_each_error() -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        parse_config("vault: {}\ntimezone: 3\n", "conf/regvault.yaml")
    lines = caught.value.message.splitlines()
    assert lines[0] == "2 errors in the configuration"
    assert lines[1].startswith("conf/regvault.yaml:1:1: vault: ")
    assert "Did you mean 'vaults'?" in lines[1]
    assert lines[2].startswith("conf/regvault.yaml:2:11: timezone: ")


@pytest.mark.parametrize("text", ["[]", "text", "3", "- a: 1"])
def test_a_document_that_is_no_mapping_is_an_error_at_its_beginning(text: str) -> None:
    assert problems(text) == [(1, 1, "")]


def test_a_secret_that_was_put_into_the_file_is_never_repeated() -> None:
    text = "vaults:\n  a:\n    location: s3://AKIAID:hun/ter2@bucket/x\n"
    text += "    secret_access_key: hunter2\n    endpoint_url: https://me:hunter2@host/\n"
    with pytest.raises(InvalidConfigurationError) as caught:
        parse_config(text, "regvault.yaml")
    assert len(caught.value.problems) == 3
    said = json.dumps(caught.value.details) + caught.value.message
    assert "ter2" not in said


def test_half_a_pair_of_credentials_is_an_error() -> None:
    text = "vaults:\n  a:\n    location: /v\n    access_key_id: env:A\n"
    assert problems(text) == [(2, 3, "vaults.a")]
    text = "vaults:\n  a:\n    location: /v\n    session_token: env:A\n"
    assert problems(text) == [(4, 5, "vaults.a.session_token")]


def test_a_vault_inside_a_registry_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "registry")
    text = f"""\
registries:
  r: {{location: "fs:{tmp_path}/registry"}}
vaults:
  good:
    location: {tmp_path}/registry-vault
  bad:
    location: {tmp_path}/link/vault
"""
    assert problems(text) == [(7, 15, "vaults.bad.location")]


def test_buckets_of_different_endpoints_do_not_overlap() -> None:
    text = """\
registries:
  r: {location: "s3://bucket/registry", endpoint_url: "http://one.example.com"}
vaults:
  a: {location: "s3://bucket/registry", endpoint_url: "http://two.example.com"}
  b: {location: "s3://bucket/registry2", endpoint_url: "http://one.example.com"}
"""
    assert set(parse_config(text, "f").vaults) == {"a", "b"}
    text += '  c: {location: "s3://bucket", endpoint_url: "http://one.example.com/"}\n'
    assert problems(text) == [(6, 17, "vaults.c.location")]


def test_an_empty_file_is_a_configuration_of_defaults(tmp_path: Path) -> None:
    path = tmp_path / "regvault.yaml"
    path.write_text("")
    config = load_config(str(path))
    assert config.timezone == "UTC"
    assert config.vaults == {}


def test_relative_paths_count_from_the_file_and_not_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "conf" / "regvault.yaml"
    path.parent.mkdir()
    path.write_text("vaults: {a: {location: ../vault}}\nregistries: {r: {location: 'fs:reg'}}\n")
    monkeypatch.chdir("/")
    config = load_config(os.path.relpath(path, "/"))
    assert config.vault_places["a"].location.path == str(tmp_path / "vault")
    assert config.registry_places["r"].location.path == str(tmp_path / "conf" / "reg")


def test_a_file_that_is_too_large_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "regvault.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigurationError, match="larger than 1 MiB"):
        load_config(str(path))


def test_bytes_that_are_no_text_are_an_error_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "regvault.yaml"
    path.write_bytes(b"timezone: UTC\nvaults: \xff\n")
    with pytest.raises(InvalidConfigurationError) as caught:
        load_config(str(path))
    assert caught.value.problems[0][:2] == (2, 9)


@pytest.mark.parametrize("what", ["directory", "missing"])
def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path, what: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_config(str(tmp_path if what == "directory" else tmp_path / "none"))


def test_the_schema_says_what_every_setting_means() -> None:
    schema = config_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for part in (schema, *schema["$defs"].values()):
        assert part["description"]
        assert part["additionalProperties"] is False
        for setting in part["properties"].values():
            assert setting["description"]


def test_the_schema_takes_no_names_that_the_configuration_refuses() -> None:
    names = config_schema()["properties"]["vaults"]
    [pattern] = names["patternProperties"]
    assert re.search(pattern, "off-site.1")
    assert not re.search(pattern, "Bad")
    assert names["additionalProperties"] is False


def test_what_a_check_asks_for_is_read_and_the_rest_is_as_regvault_has_it() -> None:
    text = """\
registries:
  prod: {location: "fs:/r", domain: rack-1}
vaults:
  shelf: {location: /v, domain: vault-room, offsite: true, medium: tape, offline: true, max_age: 8d}
check: {copies: 4, max_age: 12h, verify_max_age: {data: 90d}}
"""
    config = parse_config(text, "regvault.yaml")
    assert config.rule == Rule(copies=4, max_age_s=43_200, verify_data_s=90 * 86_400)
    declared = config.vault_places["shelf"].declared
    assert declared == Declared("vault-room", True, "tape", True, 8 * 86_400)
    assert config.registry_places["prod"].declared == Declared("rack-1")
    assert parse_config("{}", "regvault.yaml").rule == Rule()


def test_a_misspelled_rule_is_an_error_where_it_is() -> None:
    text = """\
vaults:
  disk: {location: /v, retention: {dayly: 3}, domain: ""}
check:
  copys: 3
  offsite: -1
  verify_max_age: {dta: 3d}
"""
    assert problems(text) == [
        (2, 36, "vaults.disk.retention.dayly"),
        (2, 55, "vaults.disk.domain"),
        (4, 3, "check.copys"),
        (5, 12, "check.offsite"),
        (6, 20, "check.verify_max_age.dta"),
    ]
