"""Packs and meta objects: many small blobs in one tar (`docs/vault-format.md`, "Packs", "Meta").

A pack is a plain tar of smaller layers. A meta object is a tar of manifests and configs in zstd
frames, each frame a whole number of members, so that one manifest costs one range read.
"""

from __future__ import annotations

import contextlib
import tarfile
import threading
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import VaultDamagedError
from regvault.vault.frames import compress
from regvault.vault.keys import is_name, meta_key, pack_key, sealed_meta_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.store import Stage
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.writer import ObjectWriter

__all__ = [
    "MetaWriter",
    "PackWriter",
    "Placed",
    "iter_members",
    "member_header",
    "most_bytes",
    "most_members",
    "pack_bytes",
]

#: A pack is closed when it has reached this size.
PACK_BYTES = 64 << 20
#: A meta object is closed when its stored bytes have reached this size.
META_BYTES = 16 << 20
#: A meta frame is closed when its members have reached this size.
FRAME_BYTES = 256 << 10
#: No meta frame decompresses to more (a manifest is at most 4 MiB, a config in meta below 1 MiB).
MAX_FRAME_BYTES = 8 << 20

#: What readers take is a little more than what writers make.
MAX_PACK_BYTES = 2 * PACK_BYTES
MAX_META_BYTES = 2 * META_BYTES
#: Members of one pack or meta object.
MAX_MEMBERS = 1 << 18

#: No member of a pack or frame is larger.
_MAX_MEMBER = MAX_FRAME_BYTES

_BLOCK = tarfile.BLOCKSIZE
_NOTHING = b"\0" * _BLOCK
_END = 2 * _NOTHING


class Placed(NamedTuple):
    """Where a packed blob came to lie.

    Attributes:
        digest: the blob.
        ref: the object that holds it.
        offset: pack: of its first byte; meta: of the frame that holds it.
        length: pack: of its stored form; meta: the frame's stored length.
        size: the blob's own bytes.
    """

    digest: str
    ref: ObjectRef
    offset: int
    length: int
    size: int


def member_header(digest: str, size: int) -> bytes:
    """Return the tar header of one member; the same bytes for the same blob at all times."""
    algorithm, _, hexed = digest.partition(":")
    name = f"blobs/{algorithm}/{hexed}"
    if len(name) <= _NAME_BYTES and size <= _MAX_MEMBER:
        return _short_header(name.encode("ascii"), b"%011o" % size)
    info = _info(name, size)
    return info.tobuf(tarfile.PAX_FORMAT, "ascii", "strict")


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o444
    return info


# Where a ustar header has its name, the size and the checksum of all bytes, for which its own
# eight count as spaces (POSIX pax, "ustar Interchange Format").
_NAME_BYTES = 100
_SIZE_AT = 124
_SUM_AT = 148
_EMPTY = _info("", 0).tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
_BEFORE_SIZE = _EMPTY[_NAME_BYTES:_SIZE_AT]
_AFTER_SIZE = _EMPTY[_SIZE_AT + 11 : _SUM_AT]
_AFTER_SUM = _EMPTY[_SUM_AT + 8 :]
_SUM_OF_REST = sum(_BEFORE_SIZE) + sum(_AFTER_SIZE) + 8 * ord(" ") + sum(_AFTER_SUM)


def _short_header(name: bytes, size: bytes) -> bytes:
    """Return what `TarInfo.tobuf` does, in a tenth of its time."""
    total = _SUM_OF_REST + sum(name) + sum(size)
    padded = name.ljust(_NAME_BYTES, b"\0")
    return b"%b%b%b%b%06o\0 %b" % (padded, _BEFORE_SIZE, size, _AFTER_SIZE, total, _AFTER_SUM)


def _padding(size: int) -> bytes:
    return b"\0" * (-size % _BLOCK)


class _Broken:
    """Remembers that an object could not be published: what it held is lost to this run.

    So the run fails, whoever it was that met the error; nothing is stored half a second time.
    """

    def __init__(self) -> None:
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raise the error, if there was one."""
        if self._error is not None:
            raise self._error

    @contextlib.contextmanager
    def remembered(self, stage: Stage) -> Iterator[None]:
        """Let an error of the block be the end of `stage` and of all that would follow it."""
        try:
            yield
        except BaseException as error:
            self._error = error
            stage.abort()
            raise


class PackWriter:
    """Appends small blobs to packs; a full one is published. Thread-safe.

    `done` is told of each blob once its pack is published. Once one could not be published, every
    further call raises that error again.
    """

    def __init__(
        self,
        writer: ObjectWriter,
        done: Callable[[list[Placed]], None],
        *,
        limit: int = PACK_BYTES,
    ) -> None:
        self._writer = writer
        self._done = done
        self._limit = limit
        self._lock = threading.Lock()
        self._stage: Stage | None = None
        self._members: list[tuple[str, int, int, int]] = []
        self._size = 0
        self._broken = _Broken()

    def add(self, digest: str, data: bytes) -> None:
        """Append one blob whose bytes the caller has proven."""
        seal = self._writer.seal
        self.add_stored(digest, seal.name(digest), seal.close_content(data), len(data))

    def add_stored(self, digest: str, name: str, data: bytes, size: int) -> None:
        """Append one blob in its stored form.

        Args:
            digest: what `done` is told.
            name: of the member.
            data: its stored form.
            size: of the blob itself.
        """
        header = member_header(name, len(data))
        with self._lock:
            self._broken.check()
            if self._stage is None:
                self._stage = self._writer.stage()
            with self._broken.remembered(self._stage):
                self._stage.write(header)
                self._stage.write(data)
                self._stage.write(_padding(len(data)))
            self._members.append((digest, self._size + len(header), len(data), size))
            self._size += len(header) + len(data) + -len(data) % _BLOCK
            full = self._take() if self._size >= self._limit else None
        if full is not None:
            self._publish(*full)

    def _take(self) -> tuple[Stage, list[tuple[str, int, int, int]], int]:
        assert self._stage is not None
        taken = self._stage, self._members, self._size
        self._stage, self._members, self._size = None, [], 0
        return taken

    def _publish(self, stage: Stage, members: list[tuple[str, int, int, int]], size: int) -> None:
        with self._broken.remembered(stage):
            stage.write(_END)
            ref = self._writer.publish(stage, pack_key, size + len(_END))
        self._done([Placed(digest, ref, at, length, own) for digest, at, length, own in members])

    def flush(self) -> None:
        """Publish the pack that is open, if any."""
        with self._lock:
            self._broken.check()
            taken = self._take() if self._stage is not None else None
        if taken is not None:
            self._publish(*taken)

    def abort(self) -> None:
        """Throw away the pack that is open."""
        with self._lock:
            if self._stage is not None:
                self._take()[0].abort()


class MetaWriter:
    """Appends manifests and configs to meta objects, in zstd frames. Thread-safe.

    Once one could not be published, every further call raises that error again.
    """

    def __init__(
        self,
        writer: ObjectWriter,
        done: Callable[[list[Placed]], None],
        *,
        limit: int = META_BYTES,
    ) -> None:
        self._writer = writer
        self._done = done
        self._limit = limit
        self._lock = threading.Lock()
        self._stage: Stage | None = None
        self._stored = 0
        self._frame = bytearray()
        self._in_frame: list[tuple[str, int]] = []
        self._members: list[tuple[str, int, int, int]] = []
        self._broken = _Broken()

    def add(self, digest: str, data: bytes) -> None:
        """Append one blob whose bytes the caller has proven."""
        with self._lock:
            self._broken.check()
            self._frame += member_header(digest, len(data)) + data + _padding(len(data))
            self._in_frame.append((digest, len(data)))
            if len(self._frame) >= FRAME_BYTES:
                self._close_frame()
            if self._stored >= self._limit:
                self._publish()

    def _close_frame(self) -> None:
        if not self._frame:
            return
        frame = self._writer.seal.close_content(compress(bytes(self._frame)))
        if self._stage is None:
            self._stage = self._writer.stage()
        with self._broken.remembered(self._stage):
            self._stage.write(frame)
        self._members += [(d, self._stored, len(frame), size) for d, size in self._in_frame]
        self._stored += len(frame)
        self._frame.clear()
        self._in_frame = []

    def _publish(self) -> None:
        stage = self._stage
        if stage is None:
            return
        seal = self._writer.seal
        end = seal.close_content(compress(_END))
        name = sealed_meta_key if seal.sealed else meta_key
        with self._broken.remembered(stage):
            stage.write(end)
            ref = self._writer.publish(stage, name, self._stored + len(end))
        members = self._members
        self._stage, self._stored, self._members = None, 0, []
        self._done([Placed(d, ref, at, length, size) for d, at, length, size in members])

    def flush(self) -> None:
        """Publish the object that is open, if any."""
        with self._lock:
            self._broken.check()
            self._close_frame()
            self._publish()

    def abort(self) -> None:
        """Throw away the object that is open."""
        with self._lock:
            if self._stage is not None:
                self._stage.abort()
                self._stage = None


def pack_bytes(blobs: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the pack of some blobs, in their order: the same bytes that PackWriter stores."""
    parts: list[bytes] = []
    for digest, data in blobs:
        parts += [member_header(digest, len(data)), data, _padding(len(data))]
    return b"".join((*parts, _END))


def most_bytes(key: str) -> int:
    """Return how many bytes a pack or a meta object may have."""
    return MAX_PACK_BYTES if key.startswith("packs/") else MAX_META_BYTES


def most_members(stored: int) -> int:
    """Return how many members an object of so many stored bytes can have.

    Each has a digest, of which nothing can be compressed away: 32 bytes.
    """
    return min(MAX_MEMBERS, stored // 32 + 1)


def iter_members(
    data: bytes | memoryview, key: str, *, whole: bool = True
) -> Iterator[tuple[str, int, int]]:
    """Yield (name, offset, size) of the members of a pack, or of a decompressed meta frame.

    The name is the blob's digest; in a pack of a sealed vault it is keyed, and what lies there is
    an age file.

    Without `whole`, `data` may end within a member or the padding after it: that one is left out.

    Raises:
        VaultDamagedError: it is no such tar.
    """
    at = 0
    while at + _BLOCK <= len(data):
        block = bytes(data[at : at + _BLOCK])
        if block == _NOTHING:
            return
        if not whole and at + 3 * _BLOCK > len(data):
            return  # an extended header takes three blocks
        name, size, start = _read_header(block, data, at + _BLOCK, key)
        end = start + size + -size % _BLOCK
        if not whole and size <= _MAX_MEMBER and end > len(data):
            return
        digest = _digest_of_member(name)
        if digest is None or size < 0 or start + size > len(data):
            raise VaultDamagedError(
                f"{key} is damaged: a member {name[:200]!r} does not belong there"
            )
        yield digest, start, size
        at = end


def _read_header(
    block: bytes, data: bytes | memoryview, start: int, key: str
) -> tuple[str, int, int]:
    """Return name, size and offset of the content of a member whose header ends at `start`."""
    size = block[_SIZE_AT : _SIZE_AT + 11]
    path = block[:_NAME_BYTES].rstrip(b"\0")
    if size.isdigit() and block == _short_header(path, size):  # as nearly all are
        with contextlib.suppress(ValueError):
            return path.decode("ascii"), int(size, 8), start
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        if info.type == tarfile.REGTYPE:
            return info.name, info.size, start
        if info.type != tarfile.XHDTYPE:
            raise VaultDamagedError(f"{key} is damaged: a member of type {info.type!r}")
        if info.size < 0:
            raise VaultDamagedError(f"{key} is damaged: a member has a negative size")
        # A sha512 digest does not fit a ustar name: one extended header says `path`.
        record = bytes(data[start : start + info.size]).decode("ascii")
        name = record.partition(" path=")[2].partition("\n")[0]
        start += info.size + -info.size % _BLOCK
        info = tarfile.TarInfo.frombuf(bytes(data[start : start + _BLOCK]), "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise VaultDamagedError(f"{key} is damaged: {error}") from None
    if info.type != tarfile.REGTYPE:
        raise VaultDamagedError(f"{key} is damaged: a member of type {info.type!r}")
    return name, info.size, start + _BLOCK


def _digest_of_member(path: str) -> str | None:
    parts = path.split("/")
    if len(parts) != 3 or parts[0] != "blobs":
        return None
    name = f"{parts[1]}:{parts[2]}"
    return name if is_name(name) else None
