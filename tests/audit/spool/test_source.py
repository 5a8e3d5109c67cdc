"""A spool as a stream: who has never archived anything of it holds nothing."""

import pytest

from regvault.audit.intake import body_of
from regvault.audit.spool import Spool
from regvault.audit.spool.cursor import cursors
from regvault.audit.spool.source import CONSUMER, SpoolSource
from regvault.errors import TemporaryError
from regvault.model.event import new_event

NOW = "2026-11-20T03:00:00.000000Z"


@pytest.fixture
def spool(tmp_path):
    made = Spool(str(tmp_path / "spool"))
    made.append([body_of({**new_event(NOW, "pull", "test", ""), "id": "a"})])
    return made


def known(spool):
    return [cursor.name for cursor in cursors(spool.directory)]


def test_an_archive_that_fails_at_once_holds_nothing(spool):
    source = SpoolSource(spool)

    def away():
        assert known(spool) == [CONSUMER]  # nothing goes meanwhile
        raise TemporaryError("the vault cannot be reached")

    with pytest.raises(TemporaryError):
        source.start(away, lambda: None)
    source.close()
    assert known(spool) == []


@pytest.mark.parametrize("positions", [{}, {"known": 1}])
def test_an_archive_that_has_events_stays(spool, positions):
    source = SpoolSource(spool)
    source.start(lambda: {spool.id: 1} if positions else {}, lambda: None)
    if not positions:
        source.settle({spool.id: 2})
    source.close()
    assert known(spool) == [CONSUMER]


def test_one_that_was_there_before_stays(spool):
    spool.cursor(CONSUMER).register()
    source = SpoolSource(spool)
    source.start(dict, lambda: None)
    source.close()
    assert known(spool) == [CONSUMER]
