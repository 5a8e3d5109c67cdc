"""How far events are."""

from events import archive, new_vault, spooled

from regvault.audit.spool import Spool
from regvault.ops.audit.status import chain_statuses, spool_status


def test_what_waits_for_whom_is_told(tmp_path):
    place = spooled(tmp_path / "spool", *range(10))
    spool = Spool(place)
    assert spool_status(spool).consumers == []
    spool.cursor("ship-t").advance(4)
    vault = new_vault()
    archive(place, vault)
    found = spool_status(Spool(place))
    assert (found.first, found.next) == (1, 11)
    assert found.consumers == [
        {"name": "archive", "next": 11, "lag": 0},
        {"name": "ship-t", "next": 4, "lag": 7},
    ]
    ((chain,), months) = chain_statuses(vault)
    assert chain.positions == {spool.id: 11}
    assert chain.stream == {"kind": "spool", "spool": spool.id}
    assert list(months.values()) == [None]


def test_damage_of_a_spool_is_told(tmp_path):
    place = spooled(tmp_path / "spool", *range(3))
    (segment,) = (tmp_path / "spool").glob("*.seg")
    data = segment.read_bytes()
    segment.write_bytes(data[:30] + b"x" + data[31:])
    (found,) = spool_status(Spool(place)).damage
    assert (found["offset"], found["torn"]) == (0, False)
