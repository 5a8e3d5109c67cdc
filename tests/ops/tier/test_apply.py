"""What is done of a plan: exactly that, whatever happens to the objects and to the run."""

import json
from dataclasses import replace

import pytest
from tiered import DAY, LARGE, START, Tiered
from world import blob_key, noise

from regvault.errors import (
    LeaseHeldError,
    ObjectNotFoundError,
    RefusedError,
    RegvaultError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)
from regvault.model.progress import NO_PROGRESS
from regvault.ops.tier.apply import ApplyOptions, apply
from regvault.ops.tier.journal import Journal
from regvault.ops.tier.planned import Plan, PlanFile, lines_of
from regvault.ops.tier.recheck import used_since
from regvault.storage.wrappers import CrashError, FaultyStore

COUNT = 5


@pytest.fixture
def registry(tmp_path):
    made = Tiered()
    busy = made.image("busy/app", "live")
    for day in range(121):
        made.pull_image(day, "busy/app", busy)
    made.images = [made.image(f"team/old-{number}", "v1") for number in range(COUNT)]
    path = tmp_path / "plan.jsonl"
    path.write_bytes(b"".join(lines_of(made.plan(120))))
    made.file = PlanFile(str(path))
    made.moves = list(made.file.moves())
    assert len(made.moves) == COUNT
    return made


def do(registry, tmp_path, *, store=None, is_used=lambda _: False, prove=None, **options):
    options.setdefault("threads", 1)
    journal = Journal(str(tmp_path / "journal"), registry.file.header.id)
    try:
        return apply(
            registry.file.moves(),
            registry.store if store is None else store,
            journal,
            ApplyOptions(**options),
            is_used=is_used,
            prove=prove,
            progress=NO_PROGRESS,
        )
    finally:
        journal.close()


def classes(registry):
    return [registry.class_of(move.digest) for move in registry.moves]


def test_all_that_was_planned_moves_and_nothing_else(registry, tmp_path):
    before = {entry.key: registry.store.get(entry.key) for entry in registry.store.list()}
    result = do(registry, tmp_path, threads=3)
    assert (result.moved, result.exit_code, result.stopped) == (COUNT, 0, None)
    assert result.cost == pytest.approx(registry.file.header.costs)
    planned = {move.key for move in registry.moves}
    found = {entry.key: name for entry, name in registry.store.list_classes()}
    assert {key for key, name in found.items() if name == "GLACIER_IR"} == planned
    assert {entry.key: registry.store.get(entry.key) for entry in registry.store.list()} == before


def test_it_is_done_once(registry, tmp_path):
    do(registry, tmp_path)
    for move in registry.moves:
        now = registry.store.placement(move.key)
        registry.store.change_class(move.key, "STANDARD", expected=now)
    # Somebody has brought them back: that is for the next plan.
    result = do(registry, tmp_path)
    assert (result.moved, result.before) == (0, COUNT)
    assert classes(registry) == ["STANDARD"] * COUNT


def test_the_ceiling_stops_it_before_it_is_passed(registry, tmp_path):
    each = registry.moves[0].costs
    result = do(registry, tmp_path, max_cost=2.5 * each)
    assert (result.moved, result.left, result.exit_code) == (2, 3, 3)
    assert result.cost <= 2.5 * each
    # What an earlier run has spent counts too.
    result = do(registry, tmp_path, max_cost=2.5 * each)
    assert (result.moved, result.before) == (0, 2)
    result = do(registry, tmp_path, max_cost=COUNT * each)
    assert (result.moved, result.left, result.exit_code) == (3, 0, 0)


def test_what_is_gone_is_let_go(registry, tmp_path):
    registry.store.delete(registry.moves[1].key)
    result = do(registry, tmp_path)
    assert (result.moved, result.gone, result.exit_code) == (COUNT - 1, 1, 0)
    with pytest.raises(ObjectNotFoundError):
        registry.store.head(registry.moves[1].key)


def test_what_was_written_since_stays_and_is_told(registry, tmp_path):
    key = registry.moves[1].key
    registry.store.put(key, registry.store.get(key))
    result = do(registry, tmp_path)
    assert (result.moved, result.written, result.exit_code) == (COUNT - 1, 1, 3)
    assert list(result.listed) == [key]
    assert registry.class_of(registry.moves[1].digest) == "STANDARD"


def test_another_size_stops_it(registry, tmp_path):
    registry.store.put(registry.moves[1].key, b"short")
    result = do(registry, tmp_path)
    assert (result.moved, result.left, result.exit_code) == (1, COUNT - 1, 3)
    assert "has 5 bytes" in result.stopped
    assert classes(registry)[2:] == ["STANDARD"] * (COUNT - 2)


def test_other_bytes_than_the_name_says_stop_it(registry, tmp_path):
    move = registry.moves[1]
    found = registry.store.head(move.key)
    damaged = noise(move.size, "something else")
    registry.store.place(move.key, damaged, found.etag, found.modified_ns)
    result = do(registry, tmp_path)
    assert (result.moved, result.damaged, result.exit_code) == (1, 1, 3)
    assert "other bytes" in result.stopped
    # The next run goes on, and still says so.
    result = do(registry, tmp_path)
    assert (result.moved, result.damaged, result.exit_code) == (COUNT - 2, 1, 3)
    assert "other bytes" in result.listed[move.key]


def test_what_is_used_since_stays(registry, tmp_path):
    result = do(registry, tmp_path, is_used=lambda move: move == registry.moves[2])
    assert (result.moved, result.used, result.exit_code) == (COUNT - 1, 1, 0)
    assert classes(registry)[2] == "STANDARD"


@pytest.mark.parametrize("how", ["digest", "tag", "blob", "index", "elsewhere"])
def test_use_since_goes_down_to_layers(registry, how):
    image = registry.images[3]
    index = registry.push.index("team/old-3", "multi", children=(image,))
    layer = image.blobs[1]
    uri = {
        "digest": f"/v2/team/old-3/manifests/{image.digest}",
        "tag": "/v2/team/old-3/manifests/v1",
        "blob": f"/v2/team/old-3/blobs/{layer}",
        "index": f"/v2/team/old-3/manifests/{index.digest}",
        # A download that was redirected: the store's log does not know the repository.
        "elsewhere": f"/bucket/{blob_key(layer)}",
    }[how]
    registry.pull(120.5, uri)
    is_used = used_since(
        registry.accesses(),
        registry.source(),
        registry.store,
        int((START + 120.2 * DAY) * 1e6),
        threads=1,
        progress=NO_PROGRESS,
    )
    assert [move.digest for move in registry.moves if is_used(move)] == [layer]


def test_a_pull_that_fails_brings_the_first_one_back(registry, tmp_path):
    proven = []

    def prove(move):
        proven.append((move.key, registry.class_of(move.digest)))
        if registry.class_of(move.digest) != "STANDARD":
            raise RegvaultError("the registry does not serve it")

    result = do(registry, tmp_path, prove=prove)
    key = registry.moves[0].key
    assert proven == [(key, "STANDARD"), (key, "GLACIER_IR")]
    assert (result.moved, result.left, result.exit_code) == (0, COUNT, 3)
    assert classes(registry) == ["STANDARD"] * COUNT
    # It was written anew when it came back: that one wants a new plan.
    keys = []
    result = do(registry, tmp_path, prove=lambda move: keys.append(move.key), threads=3)
    assert (result.moved, result.written) == (COUNT - 1, 1)
    assert keys == [registry.moves[1].key] * 2


def test_where_nothing_can_be_pulled_nothing_moves(registry, tmp_path):
    def prove(move):
        raise RegvaultError(f"nobody answers for {move.digest}")

    result = do(registry, tmp_path, prove=prove)
    assert (result.moved, result.exit_code) == (0, 3)
    assert classes(registry) == ["STANDARD"] * COUNT
    assert do(registry, tmp_path, prove=lambda _: None).moved == COUNT


def test_struck_down_before_it_is_proven_it_is_proven_by_the_next_run(registry, tmp_path):
    def die(move):
        if registry.class_of(move.digest) != "STANDARD":
            raise CrashError

    with pytest.raises(CrashError):
        do(registry, tmp_path, prove=die)
    assert classes(registry)[0] == "GLACIER_IR"

    def cannot(move):
        raise RegvaultError("it does not serve that")

    result = do(registry, tmp_path, prove=cannot)
    assert result.exit_code == 3
    assert classes(registry) == ["STANDARD"] * COUNT


def test_a_store_that_loses_what_it_moves_is_not_asked_again(registry, tmp_path, monkeypatch):
    real = registry.store.change_class

    def lossy(key, name, *, expected):
        found = real(key, name, expected=expected)
        registry.store.delete(key)
        return found

    monkeypatch.setattr(registry.store, "change_class", lossy)
    result = do(registry, tmp_path)
    there = [move for move in registry.moves if list(registry.store.list(move.key))]
    assert (result.exit_code, len(there)) == (3, COUNT - 1)
    assert "gone" in result.stopped


def test_a_class_that_the_store_does_not_take_loses_nothing(registry, tmp_path):
    registry.store.classes = ("STANDARD",)
    before = {entry.key: registry.store.get(entry.key) for entry in registry.store.list()}
    result = do(registry, tmp_path, threads=3)
    assert (result.moved, result.exit_code) == (0, 3)
    assert "no class GLACIER_IR" in result.stopped
    assert {entry.key: registry.store.get(entry.key) for entry in registry.store.list()} == before


def test_a_store_that_is_away_is_temporary(registry, tmp_path):
    faulty = FaultyStore(registry.store)
    faulty.plan(StoreUnavailableError("away"), verbs=["change_class"], at=2)
    result = do(registry, tmp_path, store=faulty)
    assert (result.moved, result.left, result.exit_code) == (1, COUNT - 1, 6)
    result = do(registry, tmp_path)
    assert (result.moved, result.before, result.exit_code) == (COUNT - 1, 1, 0)


REQUESTS = ("placement", "change_class", "get")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("threads", [1, 3])
def test_struck_down_at_any_request_it_goes_on(registry, tmp_path, when, threads):
    data = {move.key: registry.store.get(move.key) for move in registry.moves}
    struck = 0
    for at in range(1, len(REQUESTS) * COUNT + 1):
        directory = tmp_path / f"{when}-{at}"
        directory.mkdir()
        for move in registry.moves:
            found = registry.store.placement(move.key)
            registry.store.change_class(move.key, "STANDARD", expected=found)
            registry.store.place(move.key, data[move.key], move.etag, START * 10**9)
        faulty = FaultyStore(registry.store)
        faulty.plan(CrashError, when=when, verbs=REQUESTS, at=at)
        try:
            do(registry, directory, store=faulty, threads=threads)
        except CrashError:
            struck += 1
        # At any moment each can be read.
        assert {key: registry.store.get(key) for key in data} == data
        result = do(registry, directory)
        assert result.stopped is None
        assert result.moved + result.before == COUNT
        assert result.cost == pytest.approx(registry.file.header.costs)
        assert classes(registry) == ["GLACIER_IR"] * COUNT
        told = [json.loads(line) for line in (directory / "journal").read_text().splitlines()]
        ends = [line["end"] for line in told if "end" in line]
        assert sorted(ends) == list(range(COUNT))
        assert all(line["what"] == "moved" for line in told if "end" in line)
        assert {key: registry.store.get(key) for key in data} == data
    assert struck == len(REQUESTS) * COUNT


def test_a_journal_that_is_torn_anywhere_goes_on(registry, tmp_path):
    do(registry, tmp_path)
    whole = (tmp_path / "journal").read_bytes()
    for size in range(0, len(whole), 7):
        (tmp_path / "journal").write_bytes(whole[:size])
        result = do(registry, tmp_path)
        assert result.stopped is None
        assert result.before + result.there + result.moved == COUNT
        assert result.written == 0


def test_the_journal_of_another_plan_is_refused(registry, tmp_path):
    Journal(str(tmp_path / "journal"), "another").close()
    with pytest.raises(RefusedError, match="another plan"):
        do(registry, tmp_path)
    (tmp_path / "journal").write_bytes(b"what is this\n")
    with pytest.raises(RefusedError, match="line 1"):
        do(registry, tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        '{"end":1e999,"what":"moved"}', '{"begin":[1e999]}', "[" * 100_000,
        '{"end":0.5,"what":"moved"}', '{"begin":"123"}', '{"end":-1,"what":"moved"}',
        '{"end":true,"what":"moved"}', '{"end":1,"what":"nonsense"}',
    ],
)  # fmt: skip
def test_a_damaged_journal_is_refused(registry, tmp_path, line):
    plan = registry.file.header.id
    (tmp_path / "journal").write_text(f'{{"plan":"{plan}"}}\n{line}\n')
    with pytest.raises(RefusedError, match="line 2"):
        do(registry, tmp_path)


def test_a_file_that_is_no_journal_is_not_emptied(registry, tmp_path):
    (tmp_path / "journal").write_bytes(b"s3cret-without-a-newline")
    with pytest.raises(RefusedError):
        do(registry, tmp_path)
    assert (tmp_path / "journal").read_bytes() == b"s3cret-without-a-newline"


def remade(registry, tmp_path, of, **header):
    path = tmp_path / "remade.jsonl"
    made = Plan(replace(registry.file.header, **header), lambda: iter(of))
    path.write_bytes(b"".join(lines_of(made)))
    return str(path)


@pytest.mark.parametrize(
    "change",
    [
        {"target": "GLACIER"}, {"target": "STANDARD"}, {"costs": -1.0}, {"size": -1},
        {"key": "docker/registry/v2/repositories/busy/app/_manifests/tags/live/current/link"},
        {"digest": "sha256:" + "0" * 64}, {"back_hours": 3.0},
    ],
)  # fmt: skip
def test_a_move_that_no_plan_may_have_makes_it_none(registry, tmp_path, change):
    moves = [replace(registry.moves[0], **change), *registry.moves[1:]]
    with pytest.raises(UsageError, match="no plan"):
        PlanFile(remade(registry, tmp_path, moves))


@pytest.mark.parametrize(
    "header",
    [
        {"moves": 1}, {"nbytes": 5}, {"costs": 0.0}, {"flows": []}, {"classes": ["STANDARD"]},
        {"month": []}, {"prices": {}}, {"kind": "other"}, {"notes": [3]}, {"hot": "cold"},
        {"access": {"source": None, "since": None, "frozen": None, "known_days": 1,
                    "until": "9999-01-01T00:00:00Z"}},
    ],
)  # fmt: skip
def test_a_header_that_is_not_that_of_its_moves_makes_it_none(registry, tmp_path, header):
    with pytest.raises(UsageError, match="no plan"):
        PlanFile(remade(registry, tmp_path, registry.moves, **header))


def test_a_plan_that_takes_its_place_is_not_done(registry, tmp_path):
    other = replace(registry.moves[0], target="STANDARD_IA")
    (tmp_path / "plan.jsonl").write_bytes(
        b"".join(lines_of(Plan(registry.file.header, lambda: iter([other]))))
    )
    assert list(registry.file.moves()) == registry.moves


def test_an_archive_is_no_place_for_what_is_pulled(registry, tmp_path):
    header = replace(registry.file.header, classes=[*registry.file.header.classes, "GLACIER"])
    flow = {**registry.file.header.flows[0], "to": "GLACIER", "count": 1, "bytes": LARGE}
    move = replace(registry.moves[0], target="GLACIER")
    path = remade(
        registry, tmp_path, [move], classes=header.classes, flows=[flow], moves=1, nbytes=LARGE,
        costs=move.costs,
    )  # fmt: skip
    registry.file = PlanFile(path)
    result = do(registry, tmp_path)
    assert (result.moved, result.exit_code) == (0, 3)
    assert registry.class_of(move.digest) == "STANDARD"


def test_two_runs_of_a_plan_exclude_each_other(registry, tmp_path):
    journal = Journal(str(tmp_path / "journal"), registry.file.header.id)
    with pytest.raises(LeaseHeldError):
        do(registry, tmp_path)
    journal.close()
    assert do(registry, tmp_path).moved == COUNT


def test_the_rate_is_kept(registry, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr("regvault.ops.tier.apply.time.sleep", slept.append)
    monkeypatch.setattr("regvault.ops.tier.apply.time.monotonic", lambda: 100.0)
    do(registry, tmp_path, rate=4)
    assert slept == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


def test_errors_of_the_store_are_told(registry, tmp_path):
    faulty = FaultyStore(registry.store)
    faulty.plan(StoreError("odd", hint="look"), verbs=["placement"])
    result = do(registry, tmp_path, store=faulty)
    assert (result.stopped, result.hint, result.exit_code) == ("odd", "look", 3)
    assert result.left == COUNT
    assert registry.moves[0].size == LARGE
