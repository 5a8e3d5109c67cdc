"""Events in Kafka: the same record however it is made."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from regvault.audit import envelope
from regvault.audit.envelope import message_of, shortened, unwrap
from regvault.model.event import new_event
from regvault.model.stream import Message

NOW = "2026-11-20T03:00:00.000000Z"
texts = st.text(max_size=20) | st.sampled_from(["team/app", "a b", 'q"uote', "\\", "é", "\n"])


@given(own=texts, repository=texts | st.none(), tag=texts | st.none(), raw=texts)
def test_what_begins_as_usual_is_the_same_record_as_what_is_read(own, repository, tag, raw):
    made = new_event(NOW, "pull", "test", raw, method="GET", repository=repository, tag=tag)
    head = {"seq": 12, "spool": "0123456789abcdef", "received": NOW}
    event = {**head, **made, "id": own}
    try:
        data = orjson.dumps(event)
    except TypeError:  # half of a surrogate pair
        return
    read = Message(
        envelope.key_of(event),
        envelope.wrap(data, event),
        envelope.timestamp_ms(NOW),
        envelope._HEADERS,
    )
    assert message_of(data) == read
    document = orjson.loads(read.value)
    assert document["data"] == event
    assert document["id"] == own
    assert document.get("partitionkey") == repository
    found = unwrap(read.value)
    assert found.exact
    assert found.data == data


def test_a_shortened_event_keeps_what_it_is_about():
    made = new_event(NOW, "pull", "test", "x" * 1000, repository="team/app", references=["a"])
    event = {"seq": 1, "spool": "", "received": NOW, **made, "id": "e"}
    small = orjson.loads(shortened(orjson.dumps(event), "too large").value)["data"]
    assert (small["raw"], small["repository"]) == ("", "team/app")
    assert "references" not in small
    assert "1000 characters" in small["reason"]
    assert list(small)[-4:] == ["actor", "address", "useragent", "raw"]
