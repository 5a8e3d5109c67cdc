from __future__ import annotations

import hashlib
import json

import pytest
from looking import Lab, read_only

from regvault.errors import NotFoundError, UsageError
from regvault.ops.find import find_digest, find_tag
from regvault.ops.listing_image import show_image
from regvault.ops.opened import Opened
from regvault.ops.sample import change_sample
from regvault.policy.references import Reference, parse_reference, parse_wanted
from regvault.registry.layout import current_key
from regvault.vault.keys import root_key
from regvault.vault.vault import Vault

NIGHTLY = "service/auth"


@pytest.fixture(scope="module")
def lab():
    """Five snapshots: 1 and 2 alike, 3 changed, 4 changed again, 5 like 4."""
    lab = Lab()
    lab.snapshot()
    lab.snapshot()
    lab.first = change_sample(lab.registry)
    lab.snapshot()
    lab.second = change_sample(lab.registry, seed=2)
    lab.snapshot()
    lab.snapshot()
    return lab


def spans(pairs) -> list[tuple[int, int]]:
    return [(where.first, where.last) for where, _ in pairs]


def tree(lab, text: str, snapshot: str = "latest"):
    return show_image(Opened(lab.vault, lab.resolve(snapshot)), parse_reference(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sha256:" + "A" * 64, "sha256:" + "a" * 64),
        ("deadbeef", "sha256:deadbeef"),
        ("sha512:deadbeef", "sha512:deadbeef"),
        ("team/app:1.0", Reference("team/app", "1.0")),
        ("app:12345678", Reference("app", "12345678")),
        ("deadbeef:12345678", Reference("deadbeef", "12345678")),
        ("team/app@deadbeef", Reference("team/app", None, "sha256:deadbeef")),
    ],
)
def test_digests_and_tags_are_told_apart(text, expected):
    assert parse_wanted(text) == expected


@pytest.mark.parametrize("text", ["", "deadbee", "team/app", "sha256:xyz", "team/app:", "a b:c"])
def test_what_cannot_be_looked_for(text):
    with pytest.raises(UsageError):
        parse_wanted(text)


def test_where_a_tag_pointed_over_time(lab):
    found = find_tag(lab.vault, Reference("team/app/tools", "latest"))
    assert spans(found.ranges) == [(1, 2), (3, 3), (4, 5)]
    digests = [digest for _, digest in found.ranges]
    assert digests[0] == lab.tag("team/app/tools:latest")
    assert digests[1] == lab.first.moved["team/app/tools:latest"]
    assert digests[2] == lab.second.moved["team/app/tools:latest"]
    document = json.loads(json.dumps(found.to_json()))
    assert document["ranges"][2]["snapshots"] == 2


def test_a_tag_that_was_deleted_ends(lab):
    found = find_tag(lab.vault, Reference("team/app", "v1"))
    assert spans(found.ranges) == [(1, 2)]


def test_no_such_tag_anywhere(lab):
    with pytest.raises(NotFoundError):
        find_tag(lab.vault, Reference("team/app", "v99"))
    with pytest.raises(NotFoundError):
        find_tag(lab.vault, Reference("team/app", "v1"), registry="other")


def test_a_manifest_that_lost_its_tag_is_still_found(lab):
    found = find_digest(lab.vault, lab.tag("team/app:v1"))
    (before, was), (after, now) = found.occurrences
    assert (before.first, before.last, was.what, was.tags) == (1, 2, "manifest", ("v1",))
    assert (after.first, after.last, now.tags, now.former_tags) == (3, 5, (), ("latest",))
    assert was.former_tags == ("latest",)
    assert now.held


def test_a_child_names_its_index_and_a_layer_its_images(lab):
    app = tree(lab, "team/app:v5").root
    child = app.children[0]
    found = find_digest(lab.vault, child.digest)
    assert {what.repository for _, what in found.occurrences} == {"team/app"}
    assert all(what.indexes == (app.digest,) for _, what in found.occurrences)
    # Nothing about this one changed in five snapshots.
    assert spans(found.occurrences) == [(1, 5)]

    config, first = child.children[0], child.children[1]
    ((_, what),) = find_digest(lab.vault, config.digest).occurrences
    assert (what.what, what.images, what.image_count) == ("config", (child.digest,), 1)

    base = find_digest(lab.vault, first.digest)
    repositories = {what.repository for _, what in base.occurrences}
    assert {"library/base", "library/runtime", "team/app", "service/api"} <= repositories
    assert all(what.what == "layer" and what.image_count for _, what in base.occurrences)


def test_what_refers_to_a_manifest_is_named(lab):
    app = lab.tag("team/app:v12")
    found = find_digest(lab.vault, app, repository="team/app")
    ((_, what),) = found.occurrences[-1:]
    assert len(what.referrers) == 2


def test_a_layer_link_that_nothing_needs_is_unused(lab):
    left = [
        what
        for entry in lab.registry.list("docker/registry/v2/repositories/team/app/tools/_layers/")
        if (what := find_digest(lab.vault, "sha256:" + entry.key.split("/")[-2]).occurrences[0][1])
        and what.repository == "team/app/tools"
        and what.what == "unused"
    ]
    assert len(left) == 1


def test_the_place_in_the_vault_holds_the_bytes(lab):
    node = tree(lab, "service/api:1.0").root.children[1]
    found = find_digest(lab.vault, node.digest)
    ((place, there),) = found.places
    data = lab.store.get(place.key, start=place.offset, length=place.length)
    assert there
    assert "sha256:" + hashlib.sha256(data).hexdigest() == node.digest
    assert found.size == len(data) == node.size
    document = found.to_json()
    assert document["places"][0]["proof"] in ("store", "regvault")
    json.dumps(document)


def test_an_object_that_is_gone_is_said_to_be(lab):
    other = Lab()
    other.snapshot()
    node = tree(other, "service/api:1.0").root.children[1]
    ((place, _),) = find_digest(other.vault, node.digest).places
    other.store.delete(place.key)
    ((_, there),) = find_digest(other.vault, node.digest).places
    assert not there


def test_a_short_digest_is_enough_where_it_is_one(lab):
    digest = lab.tag("team/app:v3")
    assert find_digest(lab.vault, digest[:15]).digest == digest
    with pytest.raises(NotFoundError):
        find_digest(lab.vault, "sha256:00000000")
    with pytest.raises(NotFoundError):
        find_digest(lab.vault, "sha256:" + "0" * 64)


def test_a_short_digest_of_several_lists_them(lab, monkeypatch):
    digest = lab.tag("team/app:v3")
    from regvault.vault.segment import Segment

    whole = Segment.read

    def twice(self):
        lines = list(whole(self))
        for line in lines:
            yield line
            if line.startswith(digest.encode()):
                yield line[:70] + b"f" + line[71:]

    monkeypatch.setattr(Segment, "read", twice)
    with pytest.raises(UsageError, match="2 digests"):
        find_digest(lab.vault, digest[:15])


def test_in_one_repository_only(lab):
    node = tree(lab, "team/app:v5").root.children[0].children[1]
    found = find_digest(lab.vault, node.digest, repository="team/app")
    assert {what.repository for _, what in found.occurrences} == {"team/app"}
    with pytest.raises(NotFoundError, match="legacy/none"):
        find_digest(lab.vault, node.digest, repository="legacy/none")


def test_each_state_is_looked_into_once_however_many_snapshots_have_it(lab, monkeypatch):
    from regvault.ops import find as module

    looked = []
    real = module.occurrence
    monkeypatch.setattr(
        module, "occurrence", lambda o, name, *rest: (looked.append(name), real(o, name, *rest))[1]
    )
    find_digest(lab.vault, lab.tag("library/base:13"))
    # 13 repositories at first; then one new, and two or three that changed, in each of two.
    assert len(looked) <= 13 + 3 + 3


def test_what_was_missing_at_the_source_is_found_as_missing():
    lab = Lab()
    ghost = "sha256:" + "9" * 64
    lab.snapshot()
    lab.registry.put(current_key("library/base", "12"), ghost.encode())
    lab.snapshot()
    lab.registry.put(current_key("library/base", "12"), lab.tag("library/base:12").encode())
    lab.snapshot()
    found = find_digest(lab.vault, ghost[:20])
    ((where, what),) = found.occurrences
    assert (where.first, where.last) == (2, 2)
    assert (what.what, what.held, what.tags) == ("missing", False, ("12",))
    assert what.damage == ("tag-dangling",)
    assert found.places == []


def test_a_lost_layer_is_found_with_the_images_that_it_hurts():
    lab = Lab()
    other = Lab()
    other.snapshot()
    layer = tree(other, "team/app/tools:1.0").root.children[-1].digest
    lab.lose_blob(layer)
    lab.snapshot()
    ((_, what),) = find_digest(lab.vault, layer).occurrences
    assert (what.what, what.held, what.damage) == ("layer", False, ("blob-missing",))
    assert what.images == (lab.tag("team/app/tools:1.0"),)


def test_a_damaged_root_is_said_and_the_others_are_searched(lab):
    other = Lab()
    other.snapshot()
    other.snapshot()
    other.store.put(root_key("prod", 2), b"{}")
    found = find_tag(other.vault, Reference("team/app", "v1"))
    assert (spans(found.ranges), found.damaged, found.exit_code()) == ([(1, 1)], ["prod@2"], 4)
    found = find_digest(other.vault, other.tag("team/app:v1"))
    assert (spans(found.occurrences), found.exit_code()) == ([(1, 1)], 4)


def test_it_reads_only(lab):
    vault = Vault(read_only(lab.store))
    assert find_digest(vault, lab.tag("team/app:v1")).occurrences
    assert find_tag(vault, Reference("team/app", "v1")).ranges
