"""Frames that are made in processes beside are those that would be made here."""

from __future__ import annotations

import os
import signal
import time

import pytest
from events import archive, archived, ids, new_vault, spooled

from regvault.audit.envelope import message_of
from regvault.audit.spool import Reader
from regvault.model.progress import NO_PROGRESS
from regvault.model.stream import Arrived
from regvault.ops.audit import frames
from regvault.ops.audit.frames import Aside, Order, make
from regvault.ops.audit.verify import verify_audit


@pytest.fixture
def orders(tmp_path, monkeypatch):
    monkeypatch.setattr("regvault.ops.audit.frames.FRAME_BYTES", 2000)
    reader = Reader(spooled(tmp_path / "spool", *range(200)))
    arrived = [Arrived("0", each.seq, message_of(each.data)) for each in reader.read()]
    return [
        Order("c" * 24, arrived[at : at + 20], {"2026-11"}, "2026-12") for at in range(0, 200, 20)
    ]


@pytest.fixture
def aside(orders):
    """One process, which is ready."""
    made = Aside(1)
    give_up = time.monotonic() + 30
    while made.make(orders[0]).done():
        assert time.monotonic() < give_up
    yield made
    made.close()


def plain(made):
    return [
        (frame.public, frame.size, frame.lines, frame.times, sorted(frame.found), len(frame.months))
        for frame in made.frames
    ], made.names, made.received  # fmt: skip


def test_a_process_makes_what_would_be_made_here(orders, aside, monkeypatch):
    monkeypatch.setattr("regvault.ops.audit.frames.FRAME_BYTES", frames.FRAME_BYTES << 20)
    found = [aside.make(order).result() for order in orders]
    assert [plain(each) for each in found] == [plain(make(order)) for order in orders]


def test_where_there_is_enough_to_do_they_are_made_here(orders, aside):
    found = [aside.make(order) for order in orders]
    assert sum(each.done() for each in found) >= len(orders) - 2
    assert [each.result().names for each in found] == [make(order).names for order in orders]


def test_a_process_that_dies_loses_nothing(orders, aside):
    assert aside.make(orders[0]).result().names == make(orders[0]).names
    (process,) = aside.processes
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for order in orders:
        assert aside.make(order).result().names == make(order).names


def test_a_process_that_dies_with_orders_loses_nothing(orders, aside):
    (process,) = aside.processes
    os.kill(process.pid, signal.SIGSTOP)
    found = [aside.make(order) for order in orders]
    assert not found[0].done()
    os.kill(process.pid, signal.SIGKILL)
    assert [each.result().names for each in found] == [make(order).names for order in orders]


def test_what_does_not_fit_into_the_memory_of_both_is_made_here(orders, monkeypatch):
    monkeypatch.setattr(frames, "_ORDER_BYTES", 4096)
    aside = Aside(1)
    found = [aside.make(order) for order in orders]
    assert all(each.done() for each in found)
    assert [each.result().names for each in found] == [make(order).names for order in orders]
    aside.close()


def test_without_a_python_to_start_they_are_made_here(orders, aside, monkeypatch):
    monkeypatch.setattr("sys.executable", "/no/such/python")
    assert aside.make(orders[0]).result().names == make(orders[0]).names


def test_none_is_left_when_it_is_over(orders):
    aside = Aside(2)
    for order in orders:
        aside.make(order)
    aside.close()
    assert all(process.returncode is not None for process in aside.processes)


def test_much_at_once_is_archived_once_in_order_and_proven(tmp_path, monkeypatch):
    monkeypatch.setattr("regvault.ops.audit.collected._AT_ONCE", 20_000)
    vault = new_vault()
    place = spooled(tmp_path / "spool", *range(3000))
    assert archive(place, vault).events == 3000
    # Repeats, among new ones.
    done = archive(spooled(tmp_path / "spool", *range(2000, 4000)), vault)
    assert (done.events, done.repeats) == (1000, 1000)
    found = archived(vault)
    assert sorted(ids(found)) == sorted(f"e{number}" for number in range(4000))
    numbers = [event["seq"] for event in found]
    assert numbers == sorted(numbers)
    assert not verify_audit(vault, progress=NO_PROGRESS).problems
