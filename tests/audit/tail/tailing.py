"""What the tests of `audit tail` share: runs in this process and others, and what is in a spool."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict

import zstandard

from regvault.audit.formats.detect import FORMATS
from regvault.audit.spool import Spool
from regvault.audit.tail.follow import Follower
from regvault.audit.tail.state import State


class Ended(BaseException):
    """Stands for a signal, or for a crash."""


class Site:
    """A directory of logs, and a spool."""

    def __init__(self, tmp_path):
        self.logs = tmp_path / "logs"
        self.logs.mkdir()
        self.spool = str(tmp_path / "spool")
        self.state = os.path.join(self.spool, "tail")
        self.log = self.logs / "app.log"
        self.warnings = []

    def tail(self, *paths, form="auto", follow=False, limit=None, **options):
        """Read what is there, in this process; return what that was."""
        spool = Spool(self.spool) if limit is None else Spool(self.spool, limit=limit)
        state = State(self.state)
        try:
            follower = Follower(
                spool,
                state,
                [str(path) for path in paths] or [str(self.log)],
                FORMATS[form],
                follow=follow,
                warn=lambda message, hint=None: self.warnings.append(message),
                **options,
            )
            return follower.run()
        finally:
            state.close()
            spool.close()

    def events(self):
        """Return all events, repeats left out; a repeat has to say the same."""
        found = {}
        reader = Spool(self.spool).reader()
        while records := reader.read():
            for record in records:
                event = json.loads(record.data)
                before = found.setdefault(event["id"], event)
                assert before["raw"] == event["raw"]
        reader.close()
        return list(found.values())

    def stored(self):
        """Return how many events are in the spool, repeats too."""
        return Spool(self.spool).usage().next - 1

    def raws(self):
        return [event["raw"] for event in self.events()]

    def write(self, *lines, path=None, end="\n"):
        with open(path or self.log, "a") as file:
            file.write("".join(f"{line}{end}" for line in lines))

    def process(self, *arguments, **options):
        command = [sys.executable, "-m", "regvault", "audit", "tail", "--spool", self.spool]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options.setdefault("preexec_fn", _hear_signals)
        return subprocess.Popen([*command, *map(str, arguments)], **{**pipes, **options})


def _hear_signals():
    """Do not ignore SIGINT, as a background job of a shell does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def compress(path, ending, *, keep=False):
    """Compress a file as logrotate does, and return the new name."""
    data = path.read_bytes()
    packed = path.with_name(path.name + ending)
    if ending == ".gz":
        packed.write_bytes(gzip.compress(data))
    else:
        packed.write_bytes(zstandard.ZstdCompressor().compress(data))
    found = path.stat()
    os.utime(packed, ns=(found.st_atime_ns, found.st_mtime_ns))
    if not keep:
        path.unlink()
    return packed


def old(path):
    """Make a file one that was not written to for a while."""
    before = time.time_ns() - 3600 * 10**9
    os.utime(path, ns=(before, before))


def wait_for(check, seconds=20):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stop(process, number=signal.SIGTERM):
    process.send_signal(number)
    out, error = process.communicate(timeout=20)
    return process.returncode, out.decode(), error.decode()


def once(events, lines):
    """Check that each line is there, with one id."""
    ids = defaultdict(set)
    for event in events:
        ids[event["raw"]].add(event["id"])
    assert [line for line in lines if line not in ids] == []
    assert {raw: found for raw, found in ids.items() if len(found) > 1} == {}
    assert set(ids) == set(lines)
