from __future__ import annotations

import json

import pytest
from looking import Lab

from regvault.errors import NotFoundError, UsageError
from regvault.ops.diff import diff
from regvault.ops.diff_sides import LiveSide, SnapshotSide
from regvault.ops.opened import Opened
from regvault.ops.sample import change_sample
from regvault.registry.layout import blob_key, current_key
from regvault.registry.reader import DistributionSource
from regvault.storage.memory import MemoryStore


@pytest.fixture(scope="module")
def changed():
    lab = Lab()
    lab.snapshot()
    lab.change = change_sample(lab.registry)
    lab.snapshot()
    return lab


def side(lab, text: str) -> SnapshotSide:
    return SnapshotSide(Opened(lab.vault, lab.resolve(text)))


def check_change(document, change) -> None:
    """The document says just what the sample's change did."""
    found = {each["repository"]: each for each in document["repositories"]}
    assert set(found) == {"team/app", "team/app/tools", change.added}
    tags = {(n, t["tag"]): t for n, each in found.items() for t in each["tags"]}
    assert {f"{n}:{t}": e["new"] for (n, t), e in tags.items() if e["change"] == "added"} == dict(
        change.pushed
    )
    moved = {f"{n}:{t}": e["new"] for (n, t), e in tags.items() if e["change"] == "moved"}
    assert moved == dict(change.moved)
    gone = {f"{n}:{t}" for (n, t), e in tags.items() if e["change"] == "removed"}
    assert gone == set(change.deleted)
    assert found[change.added]["change"] == "added"
    assert found["team/app"]["revisions_added"] == []
    assert document["totals"]["revisions_added"] == 2
    assert document["totals"]["bytes_added"] == change.bytes


def test_the_difference_of_two_snapshots_is_what_was_done(changed):
    result = diff(side(changed, "1"), side(changed, "2"))
    assert result.differs
    assert (result.exit_code(asked=False), result.exit_code(asked=True)) == (0, 1)
    document = json.loads(json.dumps(result.to_json()))
    assert (document["a"], document["b"]) == ("prod@1", "prod@2")
    check_change(document, changed.change)
    assert document["totals"]["repositories_added"] == 1


def test_the_other_way_round_it_is_undone(changed):
    document = diff(side(changed, "2"), side(changed, "1")).to_json()
    totals = document["totals"]
    assert (totals["repositories_removed"], totals["tags_removed"], totals["tags_added"]) == (
        1,
        2,
        1,
    )
    assert totals["bytes_added"] == 0


def test_a_snapshot_is_like_itself(changed):
    result = diff(side(changed, "2"), side(changed, "2"))
    assert not result.differs
    assert result.exit_code(asked=True) == 0


def test_globs_narrow_it(changed):
    result = diff(side(changed, "1"), side(changed, "2"), globs=("team/new-*",))
    assert [each.name for each in result.repositories] == [changed.change.added]
    with pytest.raises(UsageError):
        diff(side(changed, "1"), side(changed, "2"), globs=("[",))


def test_a_snapshot_against_the_live_registry(changed):
    check_change(diff(side(changed, "1"), LiveSide(changed.source)).to_json(), changed.change)
    assert not diff(side(changed, "2"), LiveSide(changed.source)).differs


def test_the_live_registry_against_a_snapshot(changed):
    result = diff(LiveSide(changed.source), side(changed, "1"))
    assert result.to_json()["totals"]["repositories_removed"] == 1
    result = diff(LiveSide(changed.source), side(changed, "1"), globs=("library/**",))
    assert not result.differs


def test_two_live_registries():
    one, two = Lab(registry="one"), Lab(registry="two")
    assert not diff(LiveSide(one.source), LiveSide(two.source)).differs
    change = change_sample(two.registry)
    check_change(diff(LiveSide(one.source), LiveSide(two.source)).to_json(), change)


def test_links_alone_are_read_of_a_living_registry(changed):
    """No manifest is opened: it would cost egress, and re-heat what is tiered."""
    source = changed.source

    class NoBlobs:
        def __getattr__(self, name):
            if name in ("open_blob", "read_blob"):
                raise AssertionError(name)
            return getattr(source, name)

    assert diff(side(changed, "1"), LiveSide(NoBlobs())).differs


def test_unchanged_states_are_not_opened(changed, monkeypatch):
    first, second = side(changed, "1"), side(changed, "2")
    first.opened.vault.forget_nodes()
    read = []
    for each in (first, second):
        vault = each.opened.vault
        whole = vault.chunk_bytes
        monkeypatch.setattr(
            vault,
            "chunk_bytes",
            lambda ref, o, whole=whole: (read.append(ref.digest), whole(ref, o))[1],
        )
    diff(first, second)
    states = {entry.state for entry in first.opened.entries()}
    # Of 13 repositories two changed.
    assert len(states & set(read)) == 2


def test_what_a_snapshot_lacks_and_another_has_is_told():
    lab = Lab()
    digest = lab.tag("service/auth:1.0")
    key = blob_key(digest)
    data = lab.registry.get(key)
    lab.registry.delete(key)
    lab.snapshot()
    lab.registry.put(key, data)
    lab.snapshot()
    document = diff(side(lab, "1"), side(lab, "2")).to_json()
    (change,) = document["repositories"]
    assert (change["repository"], change["tags"]) == ("service/auth", [])
    assert (change["recovered"], change["lost"]) == ([digest], [])
    back = diff(side(lab, "2"), side(lab, "1")).to_json()["repositories"][0]
    assert (back["recovered"], back["lost"]) == ([], [digest])


def test_a_tag_that_nobody_can_read_points_nowhere():
    lab = Lab()
    lab.snapshot()
    lab.registry.put(current_key("service/api", "latest"), b"")
    document = diff(side(lab, "1"), LiveSide(lab.source)).to_json()
    ((tag,),) = [each["tags"] for each in document["repositories"]]
    assert (tag["change"], tag["tag"], tag["new"]) == ("moved", "latest", "")


def test_no_registry_there_is_an_error_and_no_huge_difference(changed):
    empty = DistributionSource(MemoryStore("empty"), kind="distribution-s3")
    with pytest.raises(NotFoundError):
        diff(side(changed, "1"), LiveSide(empty))
