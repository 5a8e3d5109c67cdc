"""What is planned for a live registry: only what is known to be cold, and pays."""

import json
import random
from contextlib import closing

import pytest
from tiered import DAY, LARGE, MIB, START, Tiered
from world import blob_key, noise

from regvault.errors import UsageError
from regvault.ops.tier.accesses import TraceAccesses
from regvault.ops.tier.planned import PlanFile, lines_of
from regvault.ops.tier.trace import read_accesses
from regvault.policy.access import AccessRules
from regvault.policy.tiering.history import SMALLEST


@pytest.fixture
def registry():
    return Tiered()


def keep_alive(registry, days, *, every=1.0):
    """Somebody pulls something all the time, so what happens is known."""
    image = registry.image("busy/app", "live")
    day = 0.0
    while day <= days:
        registry.pull_image(day, "busy/app", image)
        day += every
    return image


def test_what_nobody_pulled_for_long_goes_and_what_is_pulled_stays(registry):
    busy = keep_alive(registry, 120)
    cold = registry.image("team/old", "v1")
    found = registry.moved(120)
    assert found == {cold.blobs[1]: ("STANDARD", "GLACIER_IR")}
    assert not set(busy.blobs) & set(found)


def test_unknown_is_not_cold(registry):
    registry.image("team/old", "v1")
    plan = registry.plan(400)
    assert list(plan.moves()) == []
    assert plan.header.access["frozen"] == "nothing is known of accesses"
    assert "1 blobs" in plan.header.notes[0]
    # The stream began ten days ago: nothing can be idle for longer.
    image = registry.image("busy/app", "live")
    for day in range(390, 401):
        registry.pull_image(day, "busy/app", image)
    plan = registry.plan(400)
    assert list(plan.moves()) == []
    assert plan.header.access["known_days"] == pytest.approx(10)


def test_what_is_known_too_long_ago_freezes(registry):
    keep_alive(registry, 120)
    registry.image("team/old", "v1")
    assert len(registry.moved(121)) == 1
    assert registry.moved(123) == {}
    assert "2.5 days" not in str(registry.plan(123).header.access["frozen"])
    assert "ends 3.0 days ago" in registry.plan(123).header.access["frozen"]
    assert len(registry.moved(123, max_lag=4)) == 1


def test_a_layer_of_two_images_is_cold_only_if_both_are(registry):
    keep_alive(registry, 120)
    base = noise(LARGE, "base")
    old = registry.push.image("team/old", "v1", layers=(base, noise(LARGE, "old")))
    new = registry.push.image("team/new", "v1", layers=(base, noise(LARGE, "new")))
    # Who has the layers asks for the manifest only: that is use of all that it reaches.
    for day in range(0, 121, 5):
        registry.pull(day, f"/v2/team/new/manifests/{new.digest}")
    found = registry.moved(120)
    assert set(found) == {old.blobs[2]}


def test_children_of_an_index_that_is_pulled_stay(registry):
    keep_alive(registry, 120)
    amd = registry.image("team/multi", size=LARGE)
    arm = registry.image("team/multi", size=LARGE + 1)
    index = registry.push.index("team/multi", "v1", children=(amd, arm))
    registry.pull(118, f"/v2/team/multi/manifests/{index.digest}")
    assert registry.moved(120) == {}
    # By its tag, too: the registry knows what it names.
    registry.pulls = [line for line in registry.pulls if index.digest not in line["uri"]]
    assert len(registry.moved(120)) == 2
    registry.pull(118, "/v2/team/multi/manifests/v1")
    assert registry.moved(120) == {}


def test_what_refers_to_an_image_that_is_pulled_stays(registry):
    keep_alive(registry, 120)
    image = registry.image("team/signed", "v1")
    subject = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.data)}
    sbom = registry.push.image("team/signed", layers=(noise(LARGE, "sbom"),), subject=subject)
    tag = image.digest.replace(":", "-") + ".sig"
    signature = registry.push.image("team/signed", tag, layers=(noise(LARGE, "sig"),))
    assert {sbom.blobs[1], signature.blobs[1]} < set(registry.moved(120))
    registry.pull(119, f"/v2/team/signed/manifests/{image.digest}")
    assert registry.moved(120) == {}


@pytest.mark.parametrize(
    "how", [{"method": "HEAD"}, {"useragent": "Trivy/0.58"}, {"useragent": "regvault/1"},
            {"status": 404}]
)  # fmt: skip
def test_what_is_no_pull_of_a_client_warms_nothing(registry, how):
    keep_alive(registry, 120)
    image = registry.image("team/scanned", "v1")
    registry.pull_image(119, "team/scanned", image, **how)
    assert set(registry.moved(120)) == {image.blobs[1]}


def test_manifests_small_blobs_and_what_nothing_refers_to_stay(registry):
    keep_alive(registry, 120)
    registry.image("team/small", "v1", size=SMALLEST - 1)
    orphan = registry.push.blob(noise(LARGE, "orphan"))
    plan = registry.plan(120)
    assert list(plan.moves()) == []
    left = {reason: each.count for reason, each in plan.header.left.items()}
    assert left["manifests"] == 2
    assert left["nothing refers to it: see tier gc"] == 1
    assert left["smaller than 128 KiB"] == 3
    assert registry.class_of(orphan) == "STANDARD"


def test_what_a_manifest_that_cannot_be_read_may_need_stays(registry):
    keep_alive(registry, 120)
    shared = noise(LARGE, "shared")
    registry.push.image("team/odd", "v1", layers=(shared,))
    lost = registry.push.image("team/odd", "v2", layers=(shared, noise(LARGE, "more")))
    registry.store.put(blob_key(lost.digest), b"{")
    plan = registry.plan(120)
    assert list(plan.moves()) == []
    assert plan.header.left["a manifest that cannot be read may need it"].count == 2
    assert any("cannot be read" in note for note in plan.header.notes)


def test_a_push_is_use(registry):
    keep_alive(registry, 120)
    registry.store.clock_ns = (START + 119 * DAY) * 10**9
    registry.image("team/fresh", "v1")
    assert registry.moved(120) == {}


def test_what_was_read_after_it_went_comes_back(registry):
    keep_alive(registry, 200)
    image = registry.image("team/back", "v1")
    key = blob_key(image.blobs[1])
    registry.store.clock_ns = (START + 100 * DAY) * 10**9
    registry.store.change_class(key, "GLACIER_IR", expected=registry.store.placement(key))
    assert registry.moved(200) == {}
    for day in range(190, 201):
        registry.pull_image(day, "team/back", image)
    assert registry.moved(200) == {image.blobs[1]: ("GLACIER_IR", "STANDARD")}


def test_what_lies_in_an_archive_is_told(registry):
    keep_alive(registry, 120)
    image = registry.image("team/gone", "v1")
    key = blob_key(image.blobs[1])
    registry.store.change_class(key, "GLACIER", expected=registry.store.placement(key))
    plan = registry.plan(120)
    assert list(plan.moves()) == []
    assert any("cannot be pulled" in note for note in plan.header.notes)


def test_prices_of_other_classes_are_refused(registry):
    from regvault.config.price_files import load_prices

    registry.image("team/app", "v1")
    with pytest.raises(UsageError, match="none of the classes"):
        registry.moved(1, table=load_prices("azure-eastus-lrs"))


def test_sums_are_those_of_the_moves(registry):
    keep_alive(registry, 120)
    for number in range(20):
        registry.image(f"team/old-{number}", "v1", size=LARGE + number * MIB)
    plan = registry.plan(120)
    moves = list(plan.moves())
    assert plan.header.moves == len(moves) == 20
    assert plan.header.nbytes == sum(move.size for move in moves)
    assert plan.header.saves == pytest.approx(sum(move.saves for move in moves), rel=1e-4)
    assert plan.header.costs == pytest.approx(20 * 0.02 / 1000)
    # To bring one back right after: one GET, retrieval, one PUT, the minimum of 90 days.
    for move in moves:
        stored = move.size / 2**30
        early = 90 / (365.25 / 12) * 0.004 * stored
        back = 0.01 / 1000 + stored * 0.03 + 0.005 / 1000 + early
        assert move.back == pytest.approx(back, abs=1e-7)
        assert move.saves > 0
        assert move.repository.startswith("team/old-")
    before, after = plan.header.month
    saved = plan.header.nbytes / 2**30 * (0.023 - 0.004)
    assert before - after == pytest.approx(saved, rel=1e-4)


def test_time_that_nobody_knows_is_not_idle(registry):
    image = keep_alive(registry, 20)
    registry.image("team/old", "v1")
    accesses = registry.accesses()
    whole = accesses.coverage
    from regvault.ops.tier.accesses import KnownTime
    from regvault.policy.coverage import Coverage, Span

    assert image.blobs
    gap = Span(whole.start + 5 * DAY * 10**6, whole.start + 15 * DAY * 10**6)
    known = KnownTime(Coverage(whole.start, whole.end, (gap,)))
    assert known.days == pytest.approx(10)
    import numpy as np

    times = np.array([whole.start + day * DAY * 10**6 for day in (-3, 0, 4, 5, 9, 15, 16, 20, 30)])
    assert known.at(times).tolist() == pytest.approx([0, 0, 4, 5, 5, 5, 6, 10, 10])


def test_the_time_is_that_of_the_coverage(registry):
    import numpy as np

    from regvault.ops.tier.accesses import KnownTime
    from regvault.policy.coverage import Coverage, Span

    dice = random.Random(3)
    for _ in range(50):
        points = sorted(dice.sample(range(1000), 8))
        gaps = tuple(Span(*points[at : at + 2]) for at in range(0, 8, 2))
        coverage = Coverage(100, 1100, tuple(g for g in gaps if g.first >= 100))
        known = KnownTime(coverage)
        since = dice.randrange(1100)
        passed = known.days - known.at(np.array([since], dtype=np.int64))[0]
        assert passed * DAY * 10**6 == pytest.approx(coverage.idle_us(max(since, 100)))


def test_a_plan_that_is_not_whole_is_none(registry, tmp_path):
    keep_alive(registry, 120)
    registry.image("team/old", "v1")
    plan = registry.plan(120)
    lines = list(lines_of(plan))
    path = tmp_path / "plan.jsonl"
    path.write_bytes(b"".join(lines))
    with closing(PlanFile(str(path))) as read:
        assert read.header == plan.header
        assert list(read.moves()) == list(plan.moves())
    pretty = "\n".join(json.dumps(json.loads(line), indent=None) for line in lines)
    path.write_text(pretty)
    with closing(PlanFile(str(path))) as read:
        assert read.header == plan.header
    changed = lines[1].replace(b"GLACIER_IR", b"GLACIER_XX")
    for wrong in (
        lines[:-1],
        [lines[0], lines[2]],
        [lines[0], lines[1], lines[1], lines[2]],
        [lines[0], changed, lines[2]],
        [*lines, lines[1]],
        lines[1:],
        [lines[0][:20]],
        [b"\x00\xff"],
        [],
    ):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(UsageError, match="no plan"):
            PlanFile(str(path))
    with pytest.raises(UsageError, match="cannot read"):
        PlanFile(str(tmp_path / "none"))


def cold_since(registry, image, day):
    """Let a layer lie in a colder class since a day."""
    key = blob_key(image.blobs[1])
    registry.store.clock_ns = int((START + day * DAY) * 10**9)
    registry.store.change_class(key, "GLACIER_IR", expected=registry.store.placement(key))


def test_what_mondays_build_needs_comes_back_before_it(registry):
    keep_alive(registry, 200)
    # Day 200 is a Sunday, if day 201 is a Monday; it is pulled on Mondays only.
    weekly = registry.image("team/weekly", "v1")
    for week in range(1, 20):
        registry.pull(201 - 7 * week + 0.3, "/v2/team/weekly/manifests/v1")
    once = registry.image("team/once", "v1")
    registry.pull(194.3, "/v2/team/once/manifests/v1")
    cold_since(registry, weekly, 100)
    cold_since(registry, once, 100)
    assert registry.moved(200) == {}
    plan = registry.plan(200, prewarm=3)
    moves = {move.digest: (move.source, move.target) for move in plan.moves()}
    assert moves == {weekly.blobs[1]: ("GLACIER_IR", "STANDARD")}
    named = [str(image) for image in plan.images]
    assert "team/weekly:v1" in named
    assert "busy/app:live" in named
    assert "team/once:v1" not in named
    assert plan.header.prewarm == {"days": 3, "images": len(named)}
    # On Tuesday nobody needs it for the next three days.
    registry.pull_image(202, "busy/app", registry.image("busy/app", "live"))
    later = registry.plan(202, prewarm=3)
    assert "team/weekly:v1" not in [str(image) for image in later.images]
    assert weekly.blobs[1] not in {move.digest for move in later.moves()}


def test_what_would_pay_for_coming_back_too_early_stays(registry):
    keep_alive(registry, 200)
    weekly = registry.image("team/weekly", "v1")
    for week in range(1, 20):
        registry.pull(201 - 7 * week + 0.3, "/v2/team/weekly/manifests/v1")
    cold_since(registry, weekly, 150)  # of 90 days, 50 are over
    plan = registry.plan(200, prewarm=3)
    assert list(plan.moves()) == []
    assert "team/weekly:v1" in [str(image) for image in plan.images]


def test_what_is_needed_soon_goes_nowhere_colder(registry):
    keep_alive(registry, 200)
    monthly = registry.image("team/two-weeks-ago", "v1")
    for week in range(1, 10):
        registry.pull(201 - 7 * week + 0.3, "/v2/team/two-weeks-ago/manifests/v1")
    assert set(registry.moved(200, min_idle=5)) == {monthly.blobs[1]}
    assert registry.moved(200, min_idle=5, prewarm=3) == {}


def test_a_manifest_that_is_not_listed_may_reach_anything(registry):
    """An inventory of yesterday, or one that was pushed meanwhile."""
    keep_alive(registry, 120)
    base = noise(LARGE, "base")
    registry.push.image("team/old", "v1", layers=(base, noise(LARGE, "old")))
    new = registry.push.image("team/new", "v1", layers=(base, noise(9, "x")))
    real = registry.store.list_classes
    registry.store.list_classes = lambda *words, **more: (
        each for each in real(*words, **more) if each[0].key != blob_key(new.digest)
    )
    found = registry.moved(120)
    assert new.blobs[1] not in found
    assert len(found) == 1


def test_a_manifest_of_another_algorithm_may_reach_anything(registry):
    keep_alive(registry, 120)
    old = registry.image("team/old", "v1")
    body = {**json.loads(old.data), "annotations": {"a": "b"}}
    data = json.dumps(body).encode()
    digest = registry.push.manifest("team/new", data, "v1", algorithm="sha512")
    registry.pull(119, f"/v2/team/new/manifests/{digest}")
    assert registry.moved(120) == {}


def test_a_line_of_the_future_makes_nothing_idle(registry):
    keep_alive(registry, 120)
    registry.image("team/old", "v1")
    registry.pull(500, "/v2/other/manifests/v1")
    plan = registry.plan(120)
    assert list(plan.moves()) == []
    assert any("has not been yet" in note for note in plan.header.notes)
    registry.pulls[-1]["time"] *= 1000
    with pytest.raises(UsageError, match="until"):
        registry.plan(120)


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("team/blobs", "/v2/team/blobs/manifests/v1"),
        ("team/manifests", "/v2/team/manifests/manifests/v1"),
        ("team/app", "/v2/team%2Fapp/manifests/v1"),
    ],
)
def test_pulls_by_tag_are_understood(registry, name, uri):
    keep_alive(registry, 120)
    registry.image(name, "v1")
    registry.pull(119.9, uri)
    assert registry.moved(120) == {}


def test_a_pull_by_a_tag_that_is_gone_since_is_use(registry):
    keep_alive(registry, 120)
    registry.image("team/app", "v1", "nightly")
    registry.pull(119, "/v2/team/app/manifests/nightly")
    for entry in list(registry.store.list()):
        if "/_manifests/tags/nightly/" in entry.key:
            registry.store.delete(entry.key)
    assert registry.moved(120) == {}


def test_lines_without_a_time_are_told(registry):
    keep_alive(registry, 120)
    registry.image("team/app", "v1")
    plan = registry.plan(120)
    assert plan.header.notes == []
    registry.pull(119.9, "/v2/team/app/manifests/v1")
    registry.pulls[-1]["time"] = "yesterday"
    registry.pulls.sort(key=lambda line: isinstance(line["time"], str))
    reads = read_accesses(map(json.dumps, registry.pulls), rules=AccessRules())
    found = TraceAccesses(reads, int((START + 120 * DAY) * 1e6))
    assert any("no time that can be read" in note for note in found.notes)


def test_deep_chains_of_indexes_are_warm(registry):
    keep_alive(registry, 120)
    image = top = registry.image("team/deep")
    for _ in range(70):
        top = registry.push.index("team/deep", children=(top,))
    registry.pull(119, f"/v2/team/deep/manifests/{top.digest}")
    assert image.blobs[1] not in registry.moved(120)


def test_a_registry_with_nothing_to_move(registry):
    registry.image("team/small", "v1", size=9)
    registry.pull(1, "/v2/team/small/manifests/v1")
    assert registry.moved(1) == {}


def test_all_comes_back_where_that_is_asked_for(registry):
    keep_alive(registry, 120)
    image = registry.image("team/back", "v1")
    other = registry.image("team/old", "v1")
    cold_since(registry, image, 100)
    assert registry.moved(120, all_hot=True) == {image.blobs[1]: ("GLACIER_IR", "STANDARD")}
    registry.pulls.clear()
    assert registry.moved(120, all_hot=True) == {image.blobs[1]: ("GLACIER_IR", "STANDARD")}
    assert registry.class_of(other.blobs[1]) == "STANDARD"
