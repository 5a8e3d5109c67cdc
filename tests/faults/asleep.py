"""A process that runs one command of regvault and is stopped before one of its operations.

It is forked from a server that has loaded regvault already, with a process id, a lease and file
descriptors of its own. Before its n-th call on what lies below a directory, or its n-th request for
a bucket, it stops itself with SIGSTOP; whoever started it goes on with something else and wakes it
with SIGCONT.

Time passes in jumps that all processes see alike, by a file: what they read of the clocks, and
what the file system says of when a file was written. (To move the clock alone would make every
file old that is written afterwards; to move files alone would change their etags, and a lease with
another etag is lost, whatever the protocol says.)
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import patch

from regvault.cli.main import COMMANDS, run
from regvault.ops import writing
from regvault.storage import local_lock, local_tree
from regvault.vault import parties

#: What each command imports when it is run, loaded once for all of them.
for _name in ("snapshot", "copy", "prune", "forget", "restore", "verify"):
    __import__(COMMANDS[_name].target.partition(":")[0])
for _name in (
    "regvault.assemble",
    "regvault.ops.copy",
    "regvault.ops.forget",
    "regvault.ops.locking",
    "regvault.ops.prune",
    "regvault.ops.restore",
    "regvault.ops.snapshot",
    "regvault.ops.verify",
    "regvault.registry.reader",
    "regvault.registry.writer",
    "regvault.storage.local",
    "regvault.vault.catalog",
):
    __import__(_name)

_CALLS = "open write stat fstat scandir utime fsync rename link unlink mkdir"
_REAL = {name: getattr(os, name) for name in _CALLS.split()}
_time_ns, _monotonic, _gettime = time.time_ns, time.monotonic, time.clock_gettime


class Timeline:
    """Time that passes in jumps, written down in a file that many processes read."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        if not path.exists():
            path.write_text("[]")

    def _jumps(self) -> list[tuple[int, int, int]]:
        with open(self._path, encoding="ascii") as file:
            return [tuple(each) for each in json.load(file)]

    def jump(self, seconds: float) -> None:
        """Let so many seconds pass at once."""
        self._add(seconds, seconds)

    def step(self, seconds: float) -> None:
        """Set the clock of the host, and so that of its file system, without that time passes."""
        self._add(seconds, 0)

    def _add(self, seconds: float, really_s: float) -> None:
        jumps = self._jumps()
        _, clock, really = jumps[-1] if jumps else (0, 0, 0)
        last = (_time_ns(), clock + int(seconds * 1e9), really + int(really_s * 1e9))
        new = f"{self._path}.new"
        Path(new).write_text(json.dumps([*jumps, last]))
        os.replace(new, self._path)
        time.sleep(0.02)  # the kernel's times of files lag behind by up to a tick

    def clock_ns(self, at_ns: int | None = None) -> int:
        """Return by how much the clock is ahead of the real one, now or at a moment of that."""
        ahead = 0
        for since, clock, _ in self._jumps():
            if at_ns is None or since <= at_ns:
                ahead = clock
        return ahead

    def passed_ns(self) -> int:
        """Return how much time has passed besides the real one."""
        jumps = self._jumps()
        return jumps[-1][2] if jumps else 0


@dataclass(frozen=True)
class Sleep:
    """What is done to one process.

    Attributes:
        timeline: file of the time that it lives in.
        below: directory whose operations count, or `s3://BUCKET`, whose requests do.
        at: it stops before this one, counted from 1, or before the first call of this name below a
            directory of this name; 0 for none.
        notes: file that it writes down what it was about to do, or how many operations it did.
        host: name of the host that it believes to run on.
        boot: boot id of it; "" for the real one.
        skew_s: seconds that its clock is ahead of that of the file system, from the moment on
            that it wakes up.
        late: threads that wait for a time do not see jumps: they come to run last of all.
        answered: it stops after that request was done, before it looks at the answer.
        environment: what it has besides that of the server that it is forked from.
    """

    timeline: Path
    below: str
    notes: Path
    at: int | tuple[str, str] = 0
    host: str = ""
    boot: str = ""
    skew_s: float = 0
    late: bool = False
    answered: bool = False
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Counter:
    """Counts the operations of a process, and stops it at the one that it is to sleep at."""

    sleep: Sleep
    done: int = 0
    awake: bool = False  # after it has slept
    lock: threading.Lock = field(default_factory=threading.Lock)

    def _is_below(self, where: Any) -> bool:
        with suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else where
            text = os.fsdecode(path)
            return text == self.sleep.below or text.startswith(f"{self.sleep.below}/")
        return False

    def before(self, call: str, where: Any, name: Any = "") -> None:
        if self.counts(call, where, name):
            self.stop()

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def counts(self, call: str, where: Any, name: Any = "") -> bool:
        """Count an operation; return whether it is the one to stop at."""
        if not self._is_below(where):
            return False
        with suppress(OSError):
            where = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else where
        with self.lock:
            self.done += 1
            at = self.sleep.at
            if self.awake or not (
                self.done == at
                if isinstance(at, int)
                else call == at[0] and os.fsdecode(where).endswith(at[1])
            ):
                return False
            what = {"call": call, "in": os.fsdecode(where), "name": os.fsdecode(name)}
            self.sleep.notes.write_text(json.dumps(what))
            self.awake = True
        return True


def _stand_between(counter: Counter) -> None:
    """Count the calls of the kernel that LocalStore makes."""

    def named(call: str) -> Any:
        def run(path: Any, *words: Any, dir_fd: int | None = None, **more: Any) -> Any:
            counter.before(call, path if dir_fd is None else dir_fd, path)
            return _REAL[call](path, *words, dir_fd=dir_fd, **more)

        return run

    def moved(call: str) -> Any:
        def run(source: Any, target: Any, **more: Any) -> Any:
            counter.before(call, more.get("src_dir_fd", source), target)
            return _REAL[call](source, target, **more)

        return run

    def plain(call: str) -> Any:
        def run(where: Any, *words: Any) -> Any:
            counter.before(call, where)
            return _REAL[call](where, *words)

        return run

    def scanned(where: Any = ".") -> Any:
        counter.before("scandir", where)
        return _REAL["scandir"](where)

    for call in ("open", "unlink", "mkdir"):
        setattr(os, call, named(call))
    for call in ("rename", "link"):
        setattr(os, call, moved(call))
    for call in ("write", "fsync"):
        setattr(os, call, plain(call))
    os.scandir = scanned
    local_tree.syncfs = lambda fd: counter.before("syncfs", fd)  # type: ignore[assignment]


def _live_in(timeline: Timeline, counter: Counter) -> None:
    """Let clocks and times of files be those of the timeline."""

    def skew_ns() -> int:
        return int(counter.sleep.skew_s * 1e9) if counter.awake or not counter.sleep.at else 0

    def shifted(status: os.stat_result) -> os.stat_result:
        mtime = status.st_mtime_ns + timeline.clock_ns(status.st_mtime_ns)
        fields = list(status[:10])
        fields[8] = mtime // 10**9
        return os.stat_result(
            fields,
            {"st_mtime_ns": mtime, "st_mtime": mtime / 1e9, "st_atime_ns": status.st_atime_ns},
        )

    def stat(path: Any, **more: Any) -> os.stat_result:
        where = more.get("dir_fd")
        counter.before("stat", path if where is None else where, path)
        return shifted(_REAL["stat"](path, **more))

    def utime(path: Any, *, ns: tuple[int, int], **more: Any) -> None:
        _REAL["utime"](path, ns=(ns[0], ns[1] - timeline.clock_ns()), **more)

    os.stat = stat  # type: ignore[assignment]
    os.fstat = lambda fd: shifted(_REAL["fstat"](fd))
    os.utime = utime  # type: ignore[assignment]
    time.time_ns = lambda: _time_ns() + timeline.clock_ns() + skew_ns()
    time.time = lambda: time.time_ns() / 1e9
    time.monotonic = lambda: _monotonic() + timeline.passed_ns() / 1e9
    time.monotonic_ns = lambda: int(time.monotonic() * 1e9)
    time.clock_gettime = lambda clock: _gettime(clock) + timeline.passed_ns() / 1e9
    time.clock_gettime_ns = lambda clock: int(time.clock_gettime(clock) * 1e9)
    if not counter.sleep.late:
        threading.Event.wait = _waiting(threading.Event.wait)  # type: ignore[method-assign]


def _waiting(real: Any) -> Any:
    """Return `Event.wait` that looks at the clock again and again: jumps count."""

    def wait(event: threading.Event, timeout: float | None = None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while until is None or time.monotonic() < until:
            if real(event, 0.01):
                return True
        return event.is_set()

    return wait


def work(words: list[str], sleep: Sleep, said: Path) -> None:
    """Be the process."""
    import s3_requests  # and botocore: the server has loaded them already

    fd = _REAL["open"](said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(fd), "w", buffering=1) for _ in range(2))
    os.environ.update(sleep.environment)
    counter = Counter(sleep)
    _stand_between(counter)
    s3_requests.stand_between(counter)
    _live_in(Timeline(sleep.timeline), counter)
    if sleep.host:
        socket.gethostname = lambda: sleep.host
    if sleep.boot:
        real = parties._read
        parties._read = lambda path: sleep.boot if path.endswith("boot_id") else real(path)
    writing.PRUNE_WAIT_S = 0.2  # not the ten minutes that a snapshot waits for a prune
    local_lock.LOCK_WAIT_S = 0.5
    code = run(words)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if not sleep.at:
        sleep.notes.write_text(str(counter.done))
    os._exit(code)


class Process:
    """One such process, as its parent sees it."""

    _context = multiprocessing.get_context("forkserver")
    _begun = False
    _all: ClassVar[list[Process]] = []

    def __init__(self, words: tuple[object, ...], sleep: Sleep, said: Path) -> None:
        self._begin()
        self.words = words
        self.said = said
        self._process = self._context.Process(
            target=work, args=([str(word) for word in words], sleep, said), daemon=True
        )
        # The process would begin with what this one began with: the whole of pytest.
        with patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
            self._process.start()
        self._all.append(self)

    @classmethod
    def _begin(cls) -> None:
        """Start the server, which has to find this module: it is told of no path but this one."""
        if cls._begun:
            return
        cls._begun = True
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        cls._context.set_forkserver_preload(["asleep", "s3_requests"])
        forkserver.ensure_running()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before

    @classmethod
    def kill_all(cls) -> None:
        """Kill those that a test has left: one that is stopped would be waited for without end."""
        for each in cls._all:
            each._process.kill()
            each._process.join()
        cls._all.clear()

    def stopped(self) -> bool:
        """Wait until it is stopped, or has ended; return which."""
        pid = self._process.pid
        while self._process.exitcode is None:
            with suppress(OSError):
                if _state(pid) == "T":
                    return True
            time.sleep(0.002)
        return False

    def wake(self) -> None:
        assert self._process.pid is not None
        with suppress(ProcessLookupError):  # it did not sleep, and is done
            os.kill(self._process.pid, signal.SIGCONT)

    def ended(self, within_s: float = 60) -> int:
        """Return its exit code; it must end by itself."""
        self._process.join(within_s)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
            raise AssertionError(f"{self.words} did not end:\n{self.said.read_text()}")
        return code


def _state(pid: int | None) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]
