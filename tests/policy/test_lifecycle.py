"""A rule that would delete or archive a vault is found, whatever form its prefix has."""

from __future__ import annotations

import pytest

from regvault.model.doctor import LifecycleRule
from regvault.policy.doctor.lifecycle import aborts, drops_old_versions, expirations, moves
from regvault.storage.s3_probe import parse_rule

NAMES = ("vault.json", "blobs/", "meta/", "packs/", "trees/", "snapshots/", "leases/", "locks/")
COLD = ("blobs/", "packs/")
PROBES = ("locks/probe-",)


def rule(**words) -> LifecycleRule:
    return LifecycleRule("r", **words)


@pytest.mark.parametrize(
    ("prefix", "vault", "reach"),
    [
        ("", "", "all of the vault"),
        ("", "backup/", "all of the vault"),
        ("back", "backup/", "all of the vault"),
        ("backup/", "backup/", "all of the vault"),
        ("backup", "backup/one/", "all of the vault"),
        ("backup/blobs/", "backup/", "blobs/"),
        ("backup/blobs/sha256/ab", "backup/", "blobs/"),
        ("backup/l", "backup/", "leases/, locks/"),
        ("backup/vault.json", "backup/", "vault.json"),
        ("vault.js", "", "vault.json"),
        ("m", "", "meta/"),
    ],
)
def test_an_expiration_that_touches_a_vault_is_found(prefix, vault, reach):
    (harm,) = expirations([rule(prefix=prefix, expires="after 1 day")], vault, NAMES, PROBES)
    assert (harm.reach, harm.when) == (reach, "after 1 day")


@pytest.mark.parametrize(
    ("words", "vault"),
    [
        ({"prefix": "logs/"}, "backup/"),
        ({"prefix": "backup/", "enabled": False}, "backup/"),
        ({"prefix": "backup2/"}, "backup/"),
        ({"prefix": "backup/old/"}, "backup/"),
        ({"prefix": "backups/"}, "backup/"),
        ({"prefix": "backup/", "tagged": True}, "backup/"),
        ({"prefix": "backup/locks/probe-"}, "backup/"),
        ({"prefix": "locks/probe-0"}, ""),
        ({"prefix": "logs"}, ""),
    ],
)
def test_an_expiration_beside_a_vault_frightens_nobody(words, vault):
    assert expirations([rule(expires="after 1 day", **words)], vault, NAMES, PROBES) == []


def test_a_rule_for_all_of_locks_is_no_rule_for_probes():
    assert expirations([rule(prefix="locks/p", expires="after 1 day")], "", NAMES, PROBES)


def test_a_rule_by_size_may_mean_any_object():
    assert expirations([rule(sized=True, expires="after 1 day")], "", NAMES)


def test_a_rule_that_only_tidies_up_deletes_nothing():
    tidy = rule(noncurrent="after 7 days", aborts="after 7 days")
    assert expirations([tidy], "", NAMES) == []
    assert (aborts([tidy], "v/"), drops_old_versions([tidy], "v/")) == ("after 7 days",) * 2


@pytest.mark.parametrize(
    ("words", "covers"),
    [
        ({}, True),
        ({"prefix": "v"}, True),
        ({"prefix": "v/"}, True),
        ({"prefix": "v/blobs/"}, False),
        ({"prefix": "w/"}, False),
        ({"enabled": False}, False),
        ({"tagged": True}, False),
        ({"sized": True}, False),
    ],
)
def test_a_rule_tidies_up_a_vault_only_where_it_covers_all_of_it(words, covers):
    rules = [rule(noncurrent="after 7 days", aborts="after 1 day", **words)]
    assert bool(aborts(rules, "v/")) is bool(drops_old_versions(rules, "v/")) is covers


@pytest.mark.parametrize(
    ("prefix", "hot"), [("", True), ("v/blobs/", False), ("v/packs/", False), ("v/meta/", True)]
)
def test_a_transition_knows_what_is_read_by_every_command(prefix, hot):
    archive = rule(prefix=prefix, transitions=(("DEEP_ARCHIVE", "after 30 days"),))
    (move,) = moves([archive], "v/", NAMES, COLD)
    assert (move.storage_class, move.hot, move.harm.when) == ("DEEP_ARCHIVE", hot, "after 30 days")


@pytest.mark.parametrize(
    ("given", "prefix", "tagged", "sized"),
    [
        ({"Prefix": "old/"}, "old/", False, False),
        ({"Filter": {}}, "", False, False),
        ({"Filter": {"Prefix": "a/"}}, "a/", False, False),
        ({"Filter": {"Tag": {"Key": "k", "Value": "v"}}}, "", True, False),
        ({"Filter": {"ObjectSizeGreaterThan": 5}}, "", False, True),
        ({"Filter": {"And": {"Prefix": "a/", "Tags": [{"Key": "k"}]}}}, "a/", True, False),
        ({"Filter": {"And": {"Prefix": "a/", "ObjectSizeLessThan": 9}}}, "a/", False, True),
        ({}, "", False, False),
    ],
)
def test_every_form_of_a_filter_is_understood(given, prefix, tagged, sized):
    found = parse_rule({"Status": "Enabled", "Expiration": {"Days": 1}, **given}, 4)
    assert (found.prefix, found.tagged, found.sized) == (prefix, tagged, sized)
    assert (found.name, found.enabled, found.expires) == ("number 4", True, "after 1 day")


def test_removing_lonely_delete_markers_is_no_expiration():
    marker = {"Status": "Enabled", "Expiration": {"ExpiredObjectDeleteMarker": True}}
    assert parse_rule(marker, 1).expires == ""
