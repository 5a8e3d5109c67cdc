"""What is done to a vault, each with right checksums, by name; `BESIDE` may not hurt `good`."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

from forge import Forge, sha256, text
from world import noise

from regvault.vault.frames import compress
from regvault.vault.keys import condemned_key, new_run_id
from regvault.vault.segment import write_segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge import Place

Attack = "Callable[[Place], None]"

D = "sha256:" + "ab" * 32
ANSI = b"\x1b[2J\x1b]0;owned\x07"


def _name(name: bytes) -> Callable[[Place], None]:
    """A repository of this name beside the others."""

    def attack(place: Place) -> None:
        forge = place.forge()
        found = forge.repositories()
        lines = [f"{each} {state} -".encode() for each, state in found.items()]
        lines.append(name + b" " + found["good"].encode() + b" -")
        forge.body["repositories"] = {
            "tree": forge.tree("repositories", sorted(lines)),
            "entries": len(lines),
        }
        forge.seal()

    return attack


def _state(*lines: bytes) -> Callable[[Place], None]:
    """These lines in the state of `team/app`."""

    def attack(place: Place) -> None:
        forge = place.forge()
        state = forge.tree("state", sorted({*forge.state("team/app"), *lines}))
        forge.set_state("team/app", state)
        forge.seal()

    return attack


def _chunk(make: Callable[[Forge], bytes], *, plain: bool = False) -> Callable[[Place], None]:
    """These bytes as the state of `team/app`."""

    def attack(place: Place) -> None:
        forge = place.forge()
        forge.set_state("team/app", forge.chunk(make(forge), plain=plain))
        forge.seal()

    return attack


def bomb(declared: int | None, blocks: int) -> bytes:
    """A zstd frame of blocks that are one byte, 128 KiB times."""
    # Descriptor: content size of eight bytes or none; a window of 128 KiB.
    head = b"\x28\xb5\x2f\xfd" + (b"\x00" if declared is None else b"\xc0") + b"\x38"
    head += b"" if declared is None else declared.to_bytes(8, "little")
    size = 128 << 10
    block = (size << 3 | 1 << 1).to_bytes(3, "little") + b"a"
    last = (size << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"a"
    return head + block * (blocks - 1) + last


def endless_tree(forge: Forge) -> str:
    """A tree of few chunks that name each other over and over: 60 ** 8 lines; its digest."""
    width = 60
    below = [
        (forge.tree("state", [f"x {n:03d}".encode()]), 1, f"x {n:03d}".encode())
        for n in range(width)
    ]
    for level in range(1, 9):
        made = []
        for n in range(width):
            # The first is its own, so that the index above is in order; the others are shared.
            lines = [
                f"{digest} {count} ".encode() + first
                for digest, count, first in below[n : n + 1] + below[n + 1 :]
            ]
            made.append((forge.chunk(text("state", level, lines)), 1, below[n][2]))
        below = made
    return below[0][0]


def _endless(place: Place) -> None:
    forge = place.forge()
    forge.set_state("team/app", endless_tree(forge))
    forge.seal()


def _object(line: bytes) -> Callable[[Place], None]:
    """This line in the object list."""

    def attack(place: Place) -> None:
        forge = place.forge()
        forge.listed.append(line)
        forge.seal()

    return attack


def _resized(size: bytes) -> Callable[[Place], None]:
    """Another size of the pack in the object list."""

    def attack(place: Place) -> None:
        forge = place.forge()
        at = next(n for n, line in enumerate(forge.listed) if line.startswith(b"packs/"))
        key, _, hexed = forge.listed[at].split(b" ")
        forge.listed[at] = b" ".join((key, size, hexed))
        forge.seal()

    return attack


def _root(**members: object) -> Callable[[Place], None]:
    def attack(place: Place) -> None:
        forge = place.forge()
        forge.body |= members
        forge.seal_root()

    return attack


def _file(key: str, data: bytes | Callable[[Place], bytes]) -> Callable[[Place], None]:
    """One more object."""

    def attack(place: Place) -> None:
        found = data if isinstance(data, bytes) else data(place)
        place.world.store.put(key, found)

    return attack


def _first_root(place: Place) -> bytes:
    return place.world.store.get("snapshots/prod/00000001.json")


def document(place: Place, kind: str, **fields: object) -> bytes:
    body = {"type": kind, "format": 1, "features": [], "vault": place.world.vault().id}
    line = json.dumps({**body, **fields}).encode()
    return line + b'\n{"sha256":"%s","signatures":[]}\n' % sha256(line).encode()


def _lease(**fields: object) -> Callable[[Place], None]:
    """The lease of a writer that seems to live, or of a reader."""

    def attack(place: Place) -> None:
        body = {"role": "writer", "state": "live", "registry": "other", "created": "2026"}
        body |= {"run": new_run_id()} | fields
        place.world.store.put(f"leases/{'f' * 24}.json", document(place, "lease", **body))

    return attack


def _amendment(changes: object) -> Callable[[Place], None]:
    def attack(place: Place) -> None:
        slot = "records/amendments/00000001.json"
        found = changes(place) if callable(changes) else changes
        place.world.store.put(slot, document(place, "amendment", slot=slot, changes=found))

    return attack


def _circle(place: Place) -> list[list[object]]:
    """Every object of the list becomes the next one."""
    keys = [line.split(b" ") for line in place.forge().listed]
    return [
        [one[0].decode(), two[0].decode(), int(two[1]), two[2].decode()]
        for one, two in zip(keys, keys[1:] + keys[:1], strict=True)
    ]


def condemn(place: Place, *keys: str, head: dict[str, object] | None = None) -> None:
    """Write a condemned list of these keys, whatever they are."""
    body = {"type": "condemned", "format": 1, "features": [], "slot": 1}
    body |= {"vault": place.world.vault().id} | (head or {})
    content = "".join(f"{line}\n" for line in (json.dumps(body), *keys)).encode()
    seal = json.dumps({"sha256": sha256(content), "signatures": []}).encode() + b"\n"
    place.world.store.put(condemned_key(1), compress(content + seal))


def _condemned(*keys: str, **head: object) -> Callable[[Place], None]:
    return lambda place: condemn(place, *keys, head=head)


def _segment(*line: str) -> Callable[[Place], None]:
    """A segment with one line."""

    def attack(place: Place) -> None:
        write_segment(place.world.store, [" ".join(line).encode()], level=0, run="f" * 24)

    return attack


def _blob_of(place: Place) -> str:
    data = noise(3000, 2)
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _segments_of_a_blob(place: Place) -> None:
    """Places of a layer that is there: beyond the end, endless, overlapping, elsewhere."""
    digest = _blob_of(place)
    (pack,) = place.world.keys("packs/")[:1]
    huge = (1 << 63) - 1
    for number, where in enumerate(
        (
            f"{pack} {huge} {huge} {huge}",
            f"{pack} 0 {huge} 3000",
            f"{pack} 512 2999 3000",
            f"{pack} 100 3000 3000",
            f"meta/{'a' * 64}.tar.zst 0 {huge} 3000",
            f"blobs/sha256/aa/{'a' * 64} 0 3000 3000",
        )
    ):
        line = f"{digest} {where} regvault".encode()
        write_segment(place.world.store, [line], level=0, run=f"{number:024x}")


def _unordered_segments(place: Place) -> None:
    """Eight segments and more, which the next snapshot merges: out of order, and no lines."""
    store = place.world.store
    for number in range(8):
        line = f"{D} packs/{number:064x}.tar 0 1 1 regvault".encode()
        write_segment(store, [line], level=0, run=f"{number:024x}")
    for run, content in (("a", b"b\na\n"), ("b", b"word\n"), ("c", b"\xff \xff\n")):
        frame = compress(content)
        first = content.partition(b"\n")[0].partition(b" ")[0]
        table = b"regvault-segment 1 2\nframe %s 0 %d\n" % (first, len(frame))
        payload = table + b"%08x RVSEGT1" % len(table)
        data = frame + b"\x5e\x2a\x4d\x18" + len(payload).to_bytes(4, "little") + payload
        ends = f"sha256_{'0' * 8}-sha256_{'f' * 8}"
        store.put(f"catalog/0-{ends}-{run * 24}-{sha256(data)}.zst", data)


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def member(
    name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


_A = "blobs/sha256/" + "a" * 64
TARS: dict[str, bytes] = {
    "symbolic link": archive((member(_A, tarfile.SYMTYPE, link="/etc/passwd"), b"")),
    "hard link": archive((member(_A, tarfile.LNKTYPE, link="../../x"), b"")),
    "device": archive((member(_A, tarfile.CHRTYPE), b"")),
    "fifo": archive((member(_A, tarfile.FIFOTYPE), b"")),
    "directory": archive((member(_A, tarfile.DIRTYPE), b"")),
    "absolute": archive((member("/etc/passwd", size=1), b"x")),
    "parents": archive((member("blobs/sha256/../../../etc/passwd", size=1), b"x")),
    "another algorithm": archive((member("blobs/md5/" + "a" * 32, size=1), b"x")),
    "long name (pax)": archive((member("blobs/sha256/" + "a/" * 300, size=1), b"x")),
    "long name (GNU)": archive((member("a" * 300, size=1), b"x"), form=tarfile.GNU_FORMAT),
    "twice": archive(*[(member(_A, size=1), b"x"), (member(_A, size=1), b"y")]),
    "size beyond the end": archive((member(_A, size=3), b"abc"))[:514],
    "negative size": archive((member(_A, size=1), b"x")).replace(
        b"00000000001\x00", b"\xff" * 12, 1
    ),
    "garbage": b"\x01" * 2048,
    "nothing": b"",
}
# The sum of a header is what an attacker writes too.
TARS = {
    name: data[:148] + b"%06o\0 " % (sum(data[:148]) + 256 + sum(data[156:512])) + data[156:]
    if len(data) >= 512 and name == "negative size"
    else data
    for name, data in TARS.items()
}


def _tar(data: bytes, prefix: str) -> Callable[[Place], None]:
    """One more pack or meta object in the list, and no segment at all: members tell themselves."""

    def attack(place: Place) -> None:
        forge = place.forge()
        stored = data if prefix == "packs" else compress(data)
        ending = "tar" if prefix == "packs" else "tar.zst"
        forge.put(f"{prefix}/{sha256(stored)}.{ending}", stored)
        forge.seal()
        place.world.lose("catalog/")

    return attack


def deep(levels: int) -> list[object]:
    found: list[object] = []
    for _ in range(levels):
        found = [found]
    return found


def _meta_bomb(place: Place) -> None:
    """Meta objects that hold a lot, or claim less than they hold; no segment tells of them."""
    forge = place.forge()
    full = compress(archive(*[(member(_A), b"")] * 1)[:512] * ((8 << 20) // 512))
    for data in (full * 60, bomb(1024, 100_000), bomb(1024, 20_000) * 3):
        forge.put(f"meta/{sha256(data)}.tar.zst", data)
    forge.seal()
    place.world.lose("catalog/")


BESIDE: dict[str, Callable[[Place], None]] = {
    "state: digest that is none": _state(b"layer sha256:../../../../etc/passwd 1"),
    "state: tag with parents": _state(b"tag .. " + D.encode()),
    "state: tag that steers terminals": _state(b"tag " + ANSI + b" " + D.encode()),
    "state: media type that steers terminals": _state(
        f"rev {D} application%2Fx%1B%5B2J%07%0A%00 5".encode()
    ),
    "state: negative size": _state(f"layer {D} -1".encode()),
    "state: endless size": _state(f"layer {D} {'9' * 5000}".encode()),
    "state: 2**63 - 1 bytes": _state(f"layer {D} {(1 << 63) - 1}".encode()),
    "state: no such blob": _state(f"layer {D} 5".encode(), f"rev {D} - 7".encode()),
    "state: later line that steers terminals": _state(b"zzz " + ANSI),
    "state: of another kind": _chunk(lambda _: text("damage", 0, [b"a"]), plain=True),
    "state: level 9": _chunk(lambda _: text("state", 9, [b"a"]), plain=True),
    "state: index of itself": _chunk(
        lambda _: text("state", 1, [f"{D} 1 tag x".encode()]), plain=True
    ),
    "state: index below an index of its own level": _chunk(
        lambda forge: text(
            "state",
            1,
            [f"{forge.chunk(text('state', 1, [f'{D} 1 a'.encode()]))} 1 a".encode()],
        ),
        plain=True,
    ),
    "state: endless tree": _endless,
    "bomb: declares nothing": _chunk(lambda _: bomb(None, 100_000)),
    "bomb: declares less": _chunk(lambda _: bomb(100, 100_000)),
    "bomb: declares a terabyte": _chunk(lambda _: bomb(1 << 40, 10)),
    "bomb: many frames": _chunk(lambda _: compress(b"a" * 4_000_000) * 3000),
    "no frame": _chunk(lambda _: b"garbage"),
    "meta bomb: without a catalog": _meta_bomb,
    "segments: false places of a layer": _segments_of_a_blob,
    "segments: out of order": _unordered_segments,
    "segment: key of no object": _segment(D, "vault.json", "0", "5", "5", "regvault"),
    "segment: key with parents": _segment(D, "blobs/../../x", "0", "5", "5", "regvault"),
    "segment: negative offset": _segment(D, "packs/x", "-5", "5", "5", "regvault"),
    "slot: below another directory": _file("snapshots/prod/sub/00000002.json", b"x"),
    "slot: with one zero more": _file("snapshots/prod/000000001.json", _first_root),
    "registry: name that steers terminals": _file("snapshots/\x1b[31mred/00000001.json", b"x"),
    "registry: name with a newline": _file("snapshots/a\nb/00000001.json", _first_root),
    "registry: another's root": _file("snapshots/other/00000001.json", _first_root),
    "lease: slot that is none": _lease(slot="vault.json"),
    "lease: slot with parents": _lease(slot="snapshots/../../00000001.json"),
    "lease: no run": _lease(run=None, holder="x"),
    "lease: half a surrogate pair": _lease(holder={"host": "\udc80"}),
    "claim: key with parents": _lease(
        role="reader", roots=[{"key": "snapshots/../00000001.json", "objects": []}]
    ),
    "amendments: a circle": _amendment(_circle),
    "amendments: key that is none": _amendment([["vault.json"]]),
    "condemned: vault.json": _condemned("vault.json"),
    "condemned: a lease": _condemned("leases/x.json"),
    "condemned: parents": _condemned("blobs/../vault.json"),
    "condemned: deep JSON": _condemned(x=deep(90)),
    **{f"pack: {name}": _tar(data, "packs") for name, data in TARS.items()},
    **{f"meta: {name}": _tar(data, "meta") for name, data in TARS.items()},
}


#: These hurt the whole snapshot, or the vault: nothing can be relied on.
WHOLE: dict[str, Callable[[Place], None]] = {
    "repository: parents": _name(b"../../x"),
    "repository: absolute": _name(b"/etc/x"),
    "repository: NUL": _name(b"a\0b"),
    "repository: backslash": _name(b"a\\b"),
    "repository: steers terminals": _name(ANSI),
    "repository: not UTF-8": _name(b"\xff\xfe"),
    "repository: very long": _name(b"a" * 300),
    "list: parents": _object(b"blobs/../../x 1 " + b"a" * 64),
    "list: absolute": _object(b"/etc/passwd 1 " + b"a" * 64),
    "list: vault.json": _object(b"vault.json 1 " + b"a" * 64),
    "list: a lease": _object(b"leases/x.json 1 " + b"a" * 64),
    "list: no SHA-256": _object(b"packs/x 1 ../../etc/passwd"),
    "list: twice": _object(b"packs/x 1 " + b"a" * 64 + b"\npacks/x 1 " + b"a" * 64),
    "list: negative size": _resized(b"-1"),
    "list: endless size": _resized(b"9" * 5000),
    "list: 2**63 - 1 bytes": _resized(b"9223372036854775807"),
    "root: of another sequence": _root(sequence=7),
    "root: of a huge sequence": _root(sequence=10**30),
    "root: of another registry": _root(registry={"id": "x", "name": "../.."}),
    "root: previous that steers terminals": _root(previous="\x1b[2J"),
    "root: deep": _root(scope={"globs": deep(90)}),
    "root: source that steers terminals": _root(
        source={"kind": "\x1b[2J", "location": "fs:/\x1b]0;x\x07\u202e"}
    ),
    "root: no list": _root(objects={"base": None, "delta": None, "count": 0, "bytes": 0}),
    "root: gap before it": _file("snapshots/prod/00000009.json", b"x"),
    "root: far away": _file("snapshots/prod/99999999.json", b"x"),
    "root: farther away than numbers go": _file(f"snapshots/prod/{'9' * 30}.json", b"x"),
    "condemned: far away": _file("condemned/99999999.zst", b"x"),
    "amendment: far away": _file("records/amendments/99999999.json", b"x"),
}
