"""The lines of containers: one that is joined wrongly, or lost, is a pull that nobody sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import samples as s
from hypothesis import given
from hypothesis import strategies as st

from regvault.audit.formats.cri import Part, Unwrapper, part_of
from regvault.audit.formats.detect import FORMATS

if TYPE_CHECKING:
    from regvault.audit.formats.cri import Inner

AT = "2026-11-20T03:00:00.123456789Z"


def test_parts_of_two_streams_are_joined_apart() -> None:
    stream = FORMATS["cri"]()
    first, second = s.NGINX[:40], s.NGINX[40:]
    raws = [f"{AT} stdout P {first}", f"{AT} stderr P time=", f"{AT} stdout F {second}"]
    assert stream.feed(raws[0], s.NOW) == []
    assert stream.feed(raws[1], s.NOW) == []
    (event,) = stream.feed(raws[2], s.NOW)
    assert (event["action"], event["tag"]) == ("pull", "v1")
    assert event["raw"] == f"{raws[0]}\n{raws[2]}"
    (rest,) = stream.flush()
    assert (rest["action"], rest["raw"]) == ("log", raws[1])
    assert rest["time"] == "2026-11-20T03:00:00.123456Z"
    assert stream.flush() == []


def test_docker_splits_long_lines_without_a_newline() -> None:
    stream = FORMATS["auto"]()
    escaped = s.NGINX.replace('"', '\\"')
    one = f'{{"log":"{escaped[:30]}","stream":"stdout","time":"{AT}"}}'
    two = f'{{"log":"{escaped[30:]}\\r\\n","stream":"stdout","time":"{AT}"}}'
    assert stream.feed(one, s.NOW) == []
    (event,) = stream.feed(two, s.NOW)
    assert (event["action"], event["actor"]) == ("pull", "alice")
    assert event["raw"] == f"{one}\n{two}"


def test_json_within_a_container_s_line_is_read() -> None:
    stream = FORMATS["auto"]()
    (event,) = stream.feed(f"{AT} stderr F {s.TRAEFIK}", s.NOW)
    assert (event["source"], event["tag"]) == ("traefik", "v1")
    (event,) = stream.feed(f"{AT} stderr F no format", s.NOW)
    assert (event["action"], event["time"]) == ("log", "2026-11-20T03:00:00.123456Z")


def test_what_is_never_ended_is_held_no_longer_than_the_limit() -> None:
    unwrapper = Unwrapper(limit=1000)
    pieces: list[Inner] = []
    for number in range(1000):
        raw = f"{AT} stdout P {number:050}"
        part = part_of(raw, s.NOW)
        assert part is not None
        inner = unwrapper.feed(part, raw)
        if inner is not None:
            pieces.append(inner)
    pieces += unwrapper.flush()
    assert max(len(piece.raw) for piece in pieces) < 1100
    assert not any(piece.whole for piece in pieces)
    assert "".join(piece.line for piece in pieces) == "".join(f"{n:050}" for n in range(1000))


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.text(), st.booleans())))
def test_no_part_is_ever_lost(parts: list[tuple[str, str, bool]]) -> None:
    unwrapper = Unwrapper(limit=50)
    out: list[Inner] = []
    for stream, text, partial in parts:
        inner = unwrapper.feed(Part(s.NOW, stream, text, partial), f"<{text}>")
        out += [] if inner is None else [inner]
    out += unwrapper.flush()
    for stream in ("stdout", "stderr"):
        said = "".join(text for name, text, _ in parts if name == stream)
        assert "".join(inner.line for inner in out if inner.stream == stream) == said
