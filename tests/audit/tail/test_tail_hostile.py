"""Whatever bytes are in a file, and wherever it is cut, each line is there once, and as it was."""

import base64
import os
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tailing import Site

PIECES = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\xc3\xa9",
        b"#",
        b'{"log":"a","stream":"stdout"}',
        b"2026-11-20T03:00:00Z stdout P part",
        b"2026-11-20T03:00:00Z stderr F \xffend",
        b'","actor":"',
        b"\\xff",
        b"plain",
    ]
)
CHUNKS = st.lists(st.lists(PIECES | st.binary(max_size=9), max_size=12).map(b"".join), max_size=5)


def raw_of(event):
    return base64.b64decode(event["raw_base64"]) if "raw_base64" in event else event["raw"].encode()


@settings(max_examples=300)
@given(CHUNKS, st.sampled_from(["auto", "cri", "nginx", "cloudfront"]))
def test_every_line_of_any_bytes_is_there_once_after_any_restarts(chunks, form):
    with tempfile.TemporaryDirectory() as directory:
        site = Site(Path(directory))
        for chunk in chunks:
            with open(site.log, "ab") as file:
                file.write(chunk)
            site.tail(form=form)
        site.write(end="")
        whole = b"".join(chunks)
        site.log.rename(site.logs / "app.log.1")
        os.utime(site.logs / "app.log.1", (2e9, 2e9))  # nobody writes to it just now
        site.write("last")
        site.tail(form=form)
        lines = [line for line in whole.split(b"\n") if line]
        found = Counter(line for event in site.events() for line in raw_of(event).split(b"\n"))
        headers = (b"#Version:", b"#Fields:")
        wanted = Counter(line for line in lines if not line.startswith(headers))
        assert found == wanted + Counter([b"last"])
        assert all(event["file"].startswith(str(site.logs)) for event in site.events())
