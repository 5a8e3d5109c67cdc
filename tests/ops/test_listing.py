from __future__ import annotations

import json

import pytest
from looking import Lab, read_only

from regvault.errors import NotFoundError, UsageError, VaultDamagedError
from regvault.ops.confirm import confirm, plan_confirm
from regvault.ops.listing import list_images, list_repositories, list_snapshots
from regvault.ops.listing_image import show_image
from regvault.ops.opened import Opened
from regvault.ops.sample import change_sample
from regvault.policy.references import Reference, parse_ls_arguments, parse_reference
from regvault.registry.layout import current_key
from regvault.vault.keys import root_key
from regvault.vault.vault import Vault

A64 = "sha256:" + "a" * 64


# -- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("latest", None)),
        (["3"], ("3", None)),
        (["prod@latest"], ("prod@latest", None)),
        (["3 days ago"], ("3 days ago", None)),
        (["team/app"], ("latest", Reference("team/app"))),
        (["team/app:latest"], ("latest", Reference("team/app", "latest"))),
        (["3", "team/app:1.0"], ("3", Reference("team/app", "1.0"))),
        (["team/app", "3"], ("3", Reference("team/app"))),
        (["latest", "latest"], ("latest", Reference("latest"))),
        (["latest", "2026"], ("latest", Reference("2026"))),
        ([f"team/app@{A64}"], ("latest", Reference("team/app", None, A64))),
        (["team/app@ABCDEF01"], ("latest", Reference("team/app", None, "sha256:abcdef01"))),
    ],
)
def test_a_snapshot_and_a_repository_are_told_apart(arguments, expected):
    assert parse_ls_arguments(arguments) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["Team/App"],
        ["team/app:"],
        ["team/app@abc"],
        ["team/app", "team/app"],
        ["1", "2", "3"],
        [""],
    ],
)
def test_what_is_neither_is_a_usage_error(arguments):
    with pytest.raises(UsageError):
        parse_ls_arguments(arguments)


# -- snapshots ------------------------------------------------------------------------------------


def test_snapshots_show_their_state():
    lab = Lab()
    lab.snapshot()
    lab.delete("/repositories/service/")
    lab.snapshot()
    lab.snapshot("other")
    rows = [row.to_json() for row in list_snapshots(lab.vault)]
    assert [row["snapshot"] for row in rows] == ["other@1", "prod@1", "prod@2"]
    assert [row["state"] for row in rows] == ["complete", "complete", "held"]
    _, first, second = rows
    assert first["bytes"] == lab.summary.bytes
    assert (first["tags"], first["revisions"]) == (len(lab.summary.tags), lab.summary.revisions)
    assert first["blobs"] == lab.summary.blobs
    assert first["seconds"] >= 0
    assert second["held"]
    assert "shrank" in second["held_reason"]
    assert not second["confirmed"]
    json.dumps(rows)

    vault = lab.vault
    confirm(vault, plan_confirm(vault, lab.resolve("prod@2")), by="a@b")
    last = [row.to_json() for row in list_snapshots(lab.vault, "prod")][-1]
    assert (last["state"], last["held"], last["confirmed"]) == ("confirmed", False, True)
    with pytest.raises(NotFoundError, match="nothing"):
        list(list_snapshots(lab.vault, "nothing"))


def test_a_damaged_root_is_a_row_and_hides_no_other():
    lab = Lab()
    lab.snapshot()
    lab.snapshot()
    key = root_key("prod", 1)
    lab.store.put(key, lab.store.get(key)[:-20])
    rows = [row.to_json() for row in list_snapshots(lab.vault)]
    assert [row["state"] for row in rows] == ["damaged", "complete"]
    assert "damaged" in rows[0]["error"]
    assert rows[0]["bytes"] is None


# -- repositories and images ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab():
    lab = Lab()
    lab.snapshot()
    return lab


def opened(lab, text="latest") -> Opened:
    return Opened(lab.vault, lab.resolve(text))


def test_repositories_add_up(lab):
    rows = [row.to_json() for row in list_repositories(opened(lab))]
    assert [row["repository"] for row in rows] == list(lab.summary.repositories)
    assert sum(row["tags"] for row in rows) == len(lab.summary.tags)
    assert sum(row["revisions"] for row in rows) == lab.summary.revisions
    assert all(row["missing"] == 0 for row in rows)
    # Shared blobs are counted in each repository that has them.
    assert sum(row["bytes"] for row in rows) > lab.summary.bytes


def test_tags_of_a_repository(lab):
    rows = {row.tag: row.to_json() for row in list_images(opened(lab), "team/app")}
    assert {f"team/app:{tag}": row["digest"] for tag, row in rows.items()} == {
        tag: digest for tag, digest in lab.summary.tags.items() if tag.startswith("team/app:")
    }
    assert rows["latest"]["media_type"] == "application/vnd.oci.image.index.v1+json"
    assert rows["latest"]["history"] == 12
    assert all(row["marks"] == [] and row["bytes"] is None for row in rows.values())


def test_long_has_the_bytes_of_each_image_and_all_has_what_no_tag_names(lab):
    rows = list(list_images(opened(lab), "team/app", long=True, everything=True))
    roles = {}
    for row in rows:
        roles.setdefault(row.role, []).append(row)
    # A referrer that a tag names is a tag: two are left that only their subject names.
    assert {role: len(some) for role, some in roles.items()} == {
        "tag": 16, "child": 24, "referrer": 2, "untagged": 3,
    }  # fmt: skip
    tree = show_image(opened(lab), parse_reference("team/app:latest"))
    latest = next(row for row in rows if row.tag == "latest")
    assert latest.nbytes == tree.nbytes == 324281


def test_no_such_repository_or_tag(lab):
    with pytest.raises(NotFoundError, match="team/nothing"):
        list(list_images(opened(lab), "team/nothing"))
    with pytest.raises(NotFoundError, match="team/app:9") as caught:
        show_image(opened(lab), Reference("team/app", "9"))
    assert "regvault find team/app:9" in caught.value.hint
    with pytest.raises(NotFoundError) as caught:
        list(list_images(opened(lab), "prod"))
    assert "prod@latest" in caught.value.hint


def test_a_nested_index_is_a_tree_down_to_the_layers(lab):
    document = show_image(opened(lab), parse_reference("team/app/tools:bundle")).to_json()
    json.dumps(document)
    bundle = document["image"]
    assert [child["kind"] for child in bundle["children"]] == ["index", "image"]
    app = bundle["children"][0]
    assert [child["platform"] for child in app["children"]] == ["linux/amd64", "linux/arm64/v8"]
    image = app["children"][0]
    assert [child["kind"] for child in image["children"]] == ["config"] + ["layer"] * 4
    assert image["created"].startswith("2026-01-01")
    assert all(child["held"] and child["size"] > 0 for child in image["children"])


def test_signatures_and_sboms_are_shown_with_their_subject(lab):
    document = show_image(opened(lab), parse_reference("team/app:latest")).to_json()
    assert document["tags"] == ["latest", "v12"]
    subjects = {each["subject"] for each in document["referrers"]}
    assert subjects == {document["digest"]}
    types = {each["artifact_type"] for each in document["referrers"]}
    assert "application/spdx+json" in types
    tags = {tag for each in document["referrers"] for tag in each["tags"]}
    assert len(tags) == 2
    assert len(document["history"]) == 12
    assert all(each["held"] for each in document["history"])


def test_a_digest_may_be_short_where_it_is_of_one_manifest_only(lab):
    digest = lab.tag("team/app:v3")
    for text in (digest, digest[7:19], digest[:16]):
        tree = show_image(opened(lab), parse_reference(f"team/app@{text}"))
        assert (tree.root.digest, tree.tag, tree.tags) == (digest, None, ("v3",))
    with pytest.raises(NotFoundError):
        show_image(opened(lab), parse_reference("team/app@00000000"))


def test_schema_1_has_layers_and_no_sizes(lab):
    tree = show_image(opened(lab), parse_reference("legacy/billing:0.9"))
    assert tree.root.kind == "image"
    assert all(child.kind == "layer" and child.size for child in tree.root.children)


def test_damage_at_the_source_is_marked():
    lab = Lab()
    tool = show_tool(lab)
    lab.lose_blob(tool["layer"])
    lab.registry.put(current_key("service/api", "latest"), b"")
    lab.registry.put(current_key("library/base", "12"), A64.encode())
    lab.lose_blob(lab.tag("service/auth:1.0"))
    assert lab.snapshot().damage is not None
    view = opened(lab)
    found = {
        (name, row.tag): row.marks
        for name in ("team/app/tools", "service/api", "library/base", "service/auth")
        for row in list_images(view, name)
        if row.marks
    }
    assert found == {
        ("team/app/tools", "1.0"): ("damaged",),
        ("team/app/tools", "latest"): ("damaged",),
        ("team/app/tools", "bundle"): ("damaged",),
        ("service/api", "latest"): ("unreadable",),
        ("library/base", "12"): ("dangling", "damaged"),
        ("service/auth", "1.0"): ("missing", "damaged"),
        ("service/auth", "latest"): ("missing", "damaged"),
    }
    tree = show_image(view, parse_reference("team/app/tools:1.0"))
    lost = [child for child in tree.root.children if not child.held]
    assert [child.digest for child in lost] == [tool["layer"]]
    with pytest.raises(NotFoundError, match="lost at the source"):
        show_image(view, parse_reference("service/api:latest"))
    dangling = show_image(view, parse_reference("library/base:12"))
    assert (dangling.root.kind, dangling.root.held, dangling.root.size) == ("manifest", False, None)
    rows = {row.name: row for row in list_repositories(view)}
    assert rows["team/app/tools"].missing == 1


def show_tool(lab) -> dict[str, str]:
    """The digest of the layer that only the tool has."""
    other = Lab()
    other.snapshot()
    tree = show_image(opened(other), parse_reference("team/app/tools:1.0"))
    return {"layer": tree.root.children[-1].digest}


# -- how it is read -------------------------------------------------------------------------------


def test_nothing_is_written_to_look_inside(lab):
    before = {entry.key: entry.etag for entry in lab.store.list()}
    vault = Vault(read_only(lab.store))
    root = lab.resolve("latest")
    view = Opened(vault, root)
    assert list(list_snapshots(vault))
    assert list(list_repositories(view))
    assert list(list_images(view, "team/app", long=True, everything=True))
    assert show_image(view, parse_reference("team/app:latest"))
    assert {entry.key: entry.etag for entry in lab.store.list()} == before


def test_an_older_snapshot_shows_what_was_there_then():
    lab = Lab()
    lab.snapshot()
    change = change_sample(lab.registry)
    lab.snapshot()
    then = {row.tag for row in list_images(opened(lab, "1"), "team/app")}
    now = {row.tag for row in list_images(opened(lab, "2"), "team/app")}
    assert then - now == {"v1"}
    assert change.deleted == ("team/app:v1",)


def test_a_lost_chunk_is_the_vaults_damage(lab):
    other = Lab()
    other.snapshot()
    view = opened(other)
    entry = next(e for e in view.entries() if e.name == "team/app")
    other.store.delete(f"trees/{entry.state.partition(':')[2]}.zst")
    with pytest.raises(VaultDamagedError) as caught:
        list(list_images(opened(other), "team/app"))
    assert caught.value.exit_code == 4
