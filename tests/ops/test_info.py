from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from looking import Lab, read_only

from regvault.model.progress import NO_PROGRESS
from regvault.ops.confirm import confirm, plan_confirm
from regvault.ops.info import info
from regvault.ops.sample import change_sample
from regvault.ops.verify import VerifyOptions, verify
from regvault.ops.verify.data import parse_sample
from regvault.vault.keys import root_key
from regvault.vault.records import write_record
from regvault.vault.root import RootName
from regvault.vault.vault import Vault


def look(lab, *, later: timedelta = timedelta()):
    found = info(lab.vault, now=datetime.now(UTC) + later)
    return found, json.loads(json.dumps(found.to_json()))


def codes(each) -> set[str]:
    return {issue["code"] for issue in each["issues"]}


@pytest.fixture
def lab():
    lab = Lab()
    lab.snapshot()
    change_sample(lab.registry)
    lab.snapshot()
    return lab


def test_a_vault_without_snapshots_says_what_to_do():
    found, document = look(Lab())
    assert (document["status"], codes(document), found.exit_code()) == ("warning", {"empty"}, 0)
    assert document["registries"] == []
    assert "regvault snapshot" in document["issues"][0]["hint"]


def test_sizes_times_and_counts(lab):
    found, document = look(lab)
    (prod,) = document["registries"]
    assert (prod["registry"], prod["status"], prod["snapshots"]) == ("prod", "warning", 2)
    assert codes(prod) == {"never-verified"}
    restorable = prod["restorable"]
    assert (restorable["count"], restorable["first_sequence"], restorable["last_sequence"]) == (
        2,
        1,
        2,
    )
    assert restorable["first"] < restorable["last"]
    newest = prod["newest"]
    assert (newest["sequence"], newest["complete"], newest["held"]) == (2, True, False)
    assert newest["bytes"] == lab.resolve("2").counts.nbytes
    assert 0 <= newest["age_seconds"] < 60
    # Every object of the vault that a snapshot needs: all below these prefixes, no more.
    there = sum(
        entry.size
        for prefix in ("blobs/", "packs/", "meta/", "trees/")
        for entry in lab.store.list(prefix)
    )
    assert prod["stored_bytes"] == document["stored_bytes"] == there
    assert prod["restore"]["seconds"] is None
    assert document["vault"]["id"] == lab.vault.id
    assert found.exit_code() == 0


def test_a_verified_vault_is_ok_and_knows_how_long_a_restore_takes(lab):
    verify(lab.vault, VerifyOptions(read_data=parse_sample("all")), progress=NO_PROGRESS)
    _, document = look(lab)
    (prod,) = document["registries"]
    assert (prod["status"], document["status"], prod["issues"]) == ("ok", "ok", [])
    assert (prod["verified"]["depth"], prod["verified"]["problems"]) == ("data", 0)
    assert prod["verified"]["through"] == 2
    rate = prod["restore"]["bytes_per_second"]
    assert prod["restore"]["seconds"] == pytest.approx(prod["restore"]["bytes"] / rate)
    verify(lab.vault, VerifyOptions(quick=True), progress=NO_PROGRESS)
    (prod,) = look(lab)[1]["registries"]
    assert prod["verified"]["depth"] == "quick"
    assert set(prod["verified_by_depth"]) == {"data", "quick"}
    assert prod["restore"]["bytes_per_second"] == rate
    (prod,) = look(lab, later=timedelta(days=40))[1]["registries"]
    assert "stale" in codes(prod)


def test_a_verification_that_found_something_is_an_error(lab):
    victim = next(iter(lab.store.list("packs/"))).key
    lab.store.delete(victim)
    verify(lab.vault, VerifyOptions(quick=True), progress=NO_PROGRESS)
    (prod,) = look(lab)[1]["registries"]
    assert (prod["status"], codes(prod)) == ("error", {"verification-failed"})


def test_a_held_snapshot_is_a_warning_until_it_is_confirmed(lab):
    lab.delete("/repositories/service/")
    lab.snapshot()
    (prod,) = look(lab)[1]["registries"]
    assert codes(prod) == {"held", "never-verified"}
    assert (prod["held"], prod["restorable"]["last_sequence"], prod["newest"]["held"]) == (
        1,
        2,
        True,
    )
    hints = " ".join(issue["hint"] for issue in prod["issues"])
    assert "regvault confirm prod@3" in hints
    vault = lab.vault
    confirm(vault, plan_confirm(vault, lab.resolve("3")), by="a@b")
    (prod,) = look(lab)[1]["registries"]
    assert (codes(prod), prod["held"], prod["restorable"]["count"]) == ({"never-verified"}, 0, 3)


def test_only_held_snapshots_restore_nothing():
    lab = Lab()
    lab.delete("/repositories/")
    lab.snapshot()
    found, document = look(lab)
    (prod,) = document["registries"]
    assert prod["status"] == "error"
    assert {"nothing-restorable", "held"} <= codes(prod)
    assert found.exit_code() == 3  # a finding, and no damage
    assert prod["restorable"]["first"] is None


def test_damage_at_the_source_is_counted(lab):
    lab.lose_blob(lab.tag("service/auth:1.0"))
    other = Lab()
    other.lose_blob(other.tag("service/auth:1.0"))
    other.snapshot()
    (prod,) = look(other)[1]["registries"]
    assert "source-damage" in codes(prod)
    assert prod["newest"]["damage"] > 0


def test_damaged_and_missing_roots_make_exit_code_4(lab):
    lab.snapshot()
    lab.snapshot()
    lab.store.put(root_key("prod", 1), b"{}\n{}\n")
    lab.store.delete(root_key("prod", 3))
    found, document = look(lab)
    (prod,) = document["registries"]
    assert (found.exit_code(), prod["status"], prod["snapshots"]) == (4, "error", 2)
    messages = " ".join(issue["message"] for issue in prod["issues"])
    assert "snapshots/prod/00000001.json is damaged" in messages
    assert "of the chain 3 is gone" in messages


def test_a_damaged_record_or_object_list_hides_nothing_else(lab):
    lab.store.put("records/verifications/" + "0" * 24 + ".json", b"nonsense")
    lab.store.put("records/confirmations/" + "0" * 24 + ".json", b"nonsense")
    root = lab.vault.read_slot(RootName("prod", 2))
    lab.store.put(root.objects.base.top.key, b"nonsense")
    found, document = look(lab)
    (prod,) = document["registries"]
    assert found.exit_code() == 4
    assert len(document["issues"]) == 2
    assert prod["snapshots"] == 2
    assert prod["stored_bytes"] is None
    assert document["stored_bytes"] is None
    assert "damaged" in codes(prod)


def test_several_registries_share_what_they_store(lab):
    lab.snapshot("staging")
    _, document = look(lab)
    prod, staging = document["registries"]
    assert (prod["registry"], staging["registry"]) == ("prod", "staging")
    assert document["stored_bytes"] < prod["stored_bytes"] + staging["stored_bytes"]


def test_a_late_snapshot_is_a_warning(lab):
    lab.snapshot()
    (prod,) = look(lab, later=timedelta(days=2))[1]["registries"]
    assert "late" in codes(prod)


def test_a_record_that_lies_about_its_shape_is_damage_not_a_crash(lab):
    write_record(lab.store, lab.vault.id, "verifications", "f" * 24, {"snapshots": [1]})
    found, document = look(lab)
    assert found.exit_code() == 4
    assert codes(document) == {"damaged"}


def test_it_reads_only(lab):
    assert info(Vault(read_only(lab.store)), now=datetime.now(UTC)).registries


def test_a_failed_verification_makes_exit_code_4(lab):
    """Invariant 9: `info` reads no data, and what was found bad in it is no success."""
    pack = next(iter(lab.store.list("packs/"))).key
    data = bytearray(lab.store.get(pack))
    data[700] ^= 1
    lab.store.put(pack, bytes(data))
    verify(lab.vault, VerifyOptions(read_data=parse_sample("all")), progress=NO_PROGRESS)
    found, document = look(lab)
    assert (found.exit_code(), document["status"]) == (4, "error")
    assert codes(document["registries"][0]) == {"verification-failed"}


def test_a_verification_counts_where_no_root_could_be_read(lab):
    """It looked, and found damage: that is not the same as never."""
    for sequence in (1, 2):
        lab.store.put(root_key("prod", sequence), b"garbage")
    assert verify(lab.vault, VerifyOptions(), progress=NO_PROGRESS).recorded
    found, document = look(lab)
    (prod,) = document["registries"]
    assert found.exit_code() == 4
    assert "never-verified" not in codes(prod)
    assert (prod["verified"]["problems"], prod["verified"]["through"]) == (2, 0)
