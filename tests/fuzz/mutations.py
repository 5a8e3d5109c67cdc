"""What an attacker, or rot, makes of a valid document: bytes, lines, and members of JSON.

Used by the tests of this directory (through Hypothesis) and by `make fuzz` (besides the fuzzer's
own mutations, which hardly ever leave JSON whole).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from random import Random

#: What stands in place of any value of a document.
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    1.0,
    2**63 - 1,
    2**63,
    2**64,
    10**400,
    float("inf"),
    "",
    "x",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a\0b",
    "a\nb",
    "a\\b",
    "\x1b[2J",
    "\ud800",
    "\u202e",
    "vault.json",
    "leases/x.json",
    "snapshots/../x/00000001.json",
    "snapshots/prod/sub/00000001.json",
    "blobs/sha256/aa/" + "a" * 64,
    "trees/" + "a" * 64 + ".zst",
    "a" * 64,
    "sha256:" + "a" * 64,
    "sha256:xyz",
    "9" * 5000,
    "x" * 20_000,
    [],
    {},
    [[]],
    ["x"],
    [["x"]],
    [[1, 2, 3, 4]],
)
#: What stands in place of a word of a line.
WORDS = tuple(
    word.encode()
    for word in (
        *(each for each in VALUES if isinstance(each, str) and each.isascii()),
        *("-1", "+1", "01", "1_0", "1e3", "0x10", "18446744073709551616", "-", "+", "A" * 64),
    )
)


def mutated(data: bytes, random: Random) -> bytes:
    """Return a valid document with something wrong in it."""
    change = random.choice((_flip, _insert, _cut, _splice, _word, _lines, _members, _members))
    return change(data, random)


def mutations(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Seeds after a few mutations."""

    def make(drawn: tuple[bytes, Random, int]) -> bytes:
        data, random, times = drawn
        for _ in range(times):
            data = mutated(data, random)
        return data

    chances = st.randoms(use_true_random=False)
    return st.tuples(st.sampled_from(seeds), chances, st.integers(1, 3)).map(make)


def _place(data: bytes, random: Random) -> int:
    return random.randrange(len(data) + 1)


def _flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data or b"\0")
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _insert(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + random.choice(WORDS) + data[at:]


def _cut(data: bytes, random: Random) -> bytes:
    one, other = sorted((_place(data, random), _place(data, random)))
    return data[:one] + data[other:] if random.random() < 0.8 else data[:one]


def _splice(data: bytes, random: Random) -> bytes:
    """Repeat a part of it somewhere else."""
    one, other = sorted((_place(data, random), _place(data, random)))
    at = _place(data, random)
    return data[:at] + data[one:other][:4096] + data[at:]


def _word(data: bytes, random: Random) -> bytes:
    """Put something else in place of a word of a line."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    words = lines[at].split(b" ")
    words[random.randrange(len(words))] = random.choice(WORDS)
    lines[at] = b" ".join(words)
    return b"\n".join(lines)


def _lines(data: bytes, random: Random) -> bytes:
    """Repeat a line, drop one, or let two change places."""
    lines = data.split(b"\n")
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    what = random.randrange(3)
    if what == 0:
        lines.insert(one, lines[other])
    elif what == 1:
        del lines[one]
    else:
        lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def _members(data: bytes, random: Random) -> bytes:
    """Change a member of the JSON object that a line is."""
    lines = data.split(b"\n")
    objects = [at for at, line in enumerate(lines) if line[:1] == b"{"]
    if not objects:
        return _word(data, random)
    at = random.choice(objects)
    try:
        body = json.loads(lines[at])
        places = list(_places(body))
        if not places:
            return _flip(data, random)
        _change(*random.choice(places), random)
        lines[at] = json.dumps(body, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return _flip(data, random)
    if random.random() < 0.05:
        deep = b"[" * 3000 + b"]" * 3000
        lines[at] = lines[at][:-1] + b',"features":' + deep + b"}"
    return b"\n".join(lines)


def _places(part: Any) -> Any:
    for name in part if isinstance(part, dict) else range(len(part)):
        yield part, name
        if isinstance(part[name], (dict, list)):
            yield from _places(part[name])


def _change(part: Any, name: Any, random: Random) -> None:
    what = random.randrange(6)
    if what == 0:
        del part[name]
    elif what == 1 and isinstance(part, dict):
        part[random.choice(("x", "type", "vault", "sha256", "\ud800", ""))] = part.pop(name)
    elif what == 2 and isinstance(part, list):
        part.append(part[name])
    else:
        part[name] = random.choice(VALUES)
