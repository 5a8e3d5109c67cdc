"""`regvault check` as a person and as cron call it."""

from __future__ import annotations

import json
import shutil

import pytest

from regvault.cli.main import run


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A registry, a vault with a proven snapshot of it, and a copy, all on one disk."""
    monkeypatch.setenv("REGVAULT_CACHE", str(tmp_path / "cache"))
    from regvault.ops.sample import build_sample
    from regvault.storage.local import LocalStore

    build_sample(LocalStore(tmp_path / "registry", create=True), images=4, large=1 << 12)
    for line in (
        "init ./main",
        "init ./second",
        "snapshot fs:./registry --vault ./main --registry prod",
        "copy --from ./main --to ./second",
        "verify --vault ./main --read-data",
        "verify --vault ./second --read-data",
    ):
        assert run(line.split()) == 0
    return tmp_path


@pytest.fixture
def configured(base):
    """The same with names, and two domains that are declared."""
    (base / "regvault.yaml").write_text("""\
registries:
  prod: {location: "fs:./registry"}
vaults:
  main: {location: ./main}
  second: {location: ./second, offsite: true, offline: true, domain: far}
check: {media: 1, offsite: 0}
""")
    return base


def call(capsys, *args, code):
    capsys.readouterr()
    assert run(["check", *args]) == code, capsys.readouterr()
    found = capsys.readouterr()
    return json.loads(found.out) if "--json" in args else found.out + found.err


def missed(document) -> set[str]:
    return {v["part"] for r in document["registries"] for v in r["verdicts"] if not v["met"]}


def test_the_configuration_says_what_is_checked_and_what_is_asked_for(configured, capsys):
    document = call(capsys, "--json", code=0)
    assert (document["met"], missed(document)) == (True, set())
    assert document["rule"]["media"] == 1
    copies = document["registries"][0]["copies"]
    assert [copy["copy"] for copy in copies] == ["prod", "main", "second"]
    assert copies[2]["domain"]["declared"] == "far"
    assert copies[2]["offsite"] == {"declared": True}


def test_flags_come_before_the_file(configured, capsys):
    assert missed(call(capsys, "--copies", "4", "--json", code=3)) == {"copies"}
    assert missed(call(capsys, "--max-age", "0", "--json", code=3)) == {"rpo"}
    assert missed(call(capsys, "--verify-data-max-age", "0", "--json", code=3)) == {"errors"}
    assert missed(call(capsys, "--media", "2", "--json", code=3)) == {"media"}


def test_offsite_on_the_disk_of_the_registry_is_said_to_be_false(configured, capsys):
    said = call(capsys, "--offsite", "1", code=3)
    assert "second is declared to be offsite, but it is lost together with prod" in said


def test_people_read_what_is_missed_why_and_what_to_do(base, capsys):
    said = call(capsys, "fs:./registry", "--vault", "./main", "--vault", "./second", code=3)
    assert "Registry prod: 3 of 6 missed" in said
    assert "are lost together" in said
    assert "no copy is declared to be offsite" in said
    assert "a file system has no Object Lock" in said


def test_without_anything_named_there_is_nothing_to_check(base, capsys):
    assert "there is nothing to check" in call(capsys, code=10)


def test_the_vault_of_the_environment_is_looked_at(base, capsys, monkeypatch):
    monkeypatch.setenv("REGVAULT_VAULT", "./main")
    document = call(capsys, "--json", code=3)
    assert [copy["copy"] for copy in document["registries"][0]["copies"]] == [str(base / "main")]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["prodd"], 10, "Did you mean prod?"),
        (["--vault", "man"], 10, "Did you mean main?"),
        (["--max-age", "soon"], 2, "no time span"),
        (["--copies", "-1"], 2, "--copies"),
        (["--copy", "3"], 2, "--copies"),
    ],
)
def test_what_is_misspelled_is_told(configured, capsys, args, code, said):
    assert said in call(capsys, *args, code=code)


def test_a_vault_that_is_not_mounted_is_a_miss_and_not_an_end(configured, capsys):
    (configured / "second").rename(configured / "away")
    document = call(capsys, "--json", code=3)
    assert missed(document) == {"copies", "immutable", "errors"}
    second = document["registries"][0]["copies"][2]
    assert (second["counts"], second["restorable"]) == (False, None)
    assert "does not exist" in second["reason"]


def test_a_registry_that_is_gone_is_a_miss(configured, capsys):
    (configured / "registry").rename(configured / "away")
    document = call(capsys, "--json", code=3)
    assert missed(document) == {"copies", "errors"}


def test_no_vault_that_can_be_opened_and_no_registry_is_that_vaults_error(base, capsys):
    call(capsys, "--vault", "./nowhere", code=10)


def test_a_damaged_vault_is_exit_code_4(configured, capsys):
    (configured / "main/snapshots/prod/00000001.json").write_text("{}\n{}\n")
    assert "DAMAGED" in call(capsys, code=4)


def test_only_record_writes_and_all_vaults_get_it(configured, capsys):
    call(capsys, code=0)
    assert not list(configured.glob("*/evidence"))
    document = call(capsys, "--record", "--json", code=0)
    assert len(list(configured.glob("*/evidence/checks/*.json"))) == 2
    assert len(document["records"]) == 2
    shutil.rmtree(configured / "main/evidence")
    call(capsys, "--json", code=0)


def test_a_sealed_vault_asks_for_an_identity_and_takes_it(base, capsys):
    """That it has no snapshot of a registry is not known without one."""
    host = "file:host.txt"
    for line in (
        "key generate --identity alice.txt",
        f"key generate --identity {host[5:]}",
    ):
        assert run(line.split()) == 0
    alice = next(w for w in (base / "alice.txt").read_text().split() if w.startswith("age1"))
    for line in (
        f"init ./sealed --recipient {alice} --identity {host}",
        f"snapshot fs:./registry --vault ./sealed --registry prod --identity {host}",
    ):
        assert run(line.split()) == 0
    args = ("fs:./registry", "--vault", "./sealed", "--json")
    document = call(capsys, *args, code=3)
    (_, copy) = document["registries"][0]["copies"]
    assert "rpo" in missed(document)
    assert "sealed" in json.dumps(copy)
    assert "--identity" in json.dumps(document)
    assert "no snapshot of it is in" not in json.dumps(document)
    assert "rpo" not in missed(call(capsys, *args, "--identity", host, code=3))
