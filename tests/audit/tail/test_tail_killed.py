"""SIGKILL at any moment, while files are written, renamed, truncated and compressed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from tailing import Site, once

# Writes lines into LOG, and rotates it in all ways. What is gone for good is gone after 8 turns.
_WRITER = r"""
import gzip, os, random, shutil, sys, time
log, how, seed, turns, seen = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
chance = random.Random(seed)
number, names = 0, [log] + [f"{log}.{n}" for n in range(1, 9)]
file = open(log, "ab", buffering=0)

def shift():
    for n in range(7, 0, -1):
        for ending in ("", ".gz"):
            if os.path.exists(names[n] + ending):
                os.rename(names[n] + ending, names[n + 1] + ending)

def pack(name):
    with open(name, "rb") as source, open(f"{name}.gz", "wb") as target:
        with gzip.GzipFile(fileobj=target, mode="wb") as packed:
            shutil.copyfileobj(source, packed)
    found = os.stat(name)
    os.utime(f"{name}.gz", ns=(found.st_atime_ns, found.st_mtime_ns))
    os.unlink(name)

def rotate():
    global file
    shift()
    kind = how if how != "all" else chance.choice(["rename", "copytruncate"])
    if kind == "rename":
        os.rename(log, names[1])
        line()
        file.close()
        file = open(log, "ab", buffering=0)
    else:
        shutil.copyfile(log, names[1])
        os.truncate(log, 0)
    if chance.random() < 0.5 and os.path.exists(names[2]):
        pack(names[2])

def line():
    global number
    data = b"%d-%d %s\n" % (seed, number, b"x" * int(chance.expovariate(0.02)))
    number += 1
    cut = chance.randrange(len(data)) if chance.random() < 0.1 else 0
    file.write(data[:cut])
    if cut:
        time.sleep(0.001)
    file.write(data[cut:])
    print(data.decode(), end="")

turn = time.monotonic() + 0.2
while turns:
    for _ in range(chance.randrange(1, 60)):
        line()
    time.sleep(chance.random() * 0.01)
    # Of what was there and gone before it was seen once nobody can know.
    if time.monotonic() > turn and os.path.exists(seen):
        rotate()
        turns -= 1
        turn = time.monotonic() + chance.uniform(0.1, 0.6)
line()
"""


@pytest.mark.parametrize(
    ("how", "pattern", "seed"),
    [
        ("rename", "app.log", 1),
        ("copytruncate", "app.log", 2),
        ("all", "app.log*", 3),
        ("all", "app.log", 4),
    ],
)
def test_killed_at_any_moment_no_line_is_lost_and_none_counted_twice(tmp_path, how, pattern, seed):
    site = Site(tmp_path)
    command = [sys.executable, "-c", _WRITER, str(site.log), how, str(seed), "6"]
    seen = os.path.join(site.state, "files")
    writer = subprocess.Popen([*command, seen], stdout=subprocess.PIPE)
    chance = random.Random(seed)
    lines = []
    thread = threading.Thread(target=lambda: lines.extend(writer.stdout.read().splitlines()))
    thread.start()
    kills = 0
    while writer.poll() is None:
        process = site.process("--follow", site.logs / pattern)
        time.sleep(chance.uniform(0.3, 0.9))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
    thread.join()
    process = site.process(site.logs / pattern)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert kills >= 2
    once(site.events(), [line.decode() for line in lines])
    shutil.rmtree(tmp_path)
