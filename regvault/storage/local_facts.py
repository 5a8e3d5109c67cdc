"""Where a directory lies: the disks below its file system, or the server that it is mounted from.

Two file systems on one disk (partitions, subvolumes) fail together, so the disk is what counts,
where the kernel tells which one that is.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from regvault.model.whereabouts import Whereabouts
from regvault.storage.local_errors import translated

__all__ = ["Mount", "disks_of", "mount_of", "whereabouts"]

_MOUNTINFO = "/proc/self/mountinfo"
_BLOCK = "/sys/dev/block"
_OCTAL = re.compile(r"\\([0-7]{3})")
_DEPTH = 8
#: File systems in memory: what is there is gone after a restart.
_VOLATILE = ("tmpfs", "ramfs")


class Mount(NamedTuple):
    """One line of mountinfo.

    Attributes:
        device: `major:minor`.
        point: where it is mounted.
        kind: of file system.
        source: a device, `server:/export`, or a word that says nothing.
    """

    device: str
    point: str
    kind: str
    source: str


def whereabouts(path: str, *, mountinfo: str = _MOUNTINFO, block: str = _BLOCK) -> Whereabouts:
    """Return where the directory lies.

    Args:
        path: of the directory.
        mountinfo: the kernel's table of mounts.
        block: where the kernel lists block devices by number.

    Raises:
        StoreError: it is not there.
    """
    with translated("look at", path, key=""):
        status = os.stat(path)
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    place = f"file {device} {status.st_ino}"
    mount = mount_of(os.path.realpath(path), mountinfo)
    source = mount.source if mount else ""
    server = _server(source)
    if server:
        # Another export of one server may be on other disks; that is for people to say.
        return Whereabouts(place, f"server {server}", f"mount {source}", "disk")
    kind = mount.kind if mount else "file system"
    remark = "it is in memory, and gone after a restart" if kind in _VOLATILE else ""
    disks = _disks(device, source, block)
    if disks:
        name = f"{'disk' if len(disks) == 1 else 'disks'} {', '.join(disks)}"
        return Whereabouts(place, name, name, "memory" if remark else "disk", remark)
    if source.startswith("/dev/"):
        name = f"device {os.path.realpath(source).removeprefix('/dev/')}"
    else:
        name = f"{kind} {device}"
    return Whereabouts(place, name, name, "memory" if remark else "disk", remark)


def mount_of(path: str, mountinfo: str = _MOUNTINFO) -> Mount | None:
    """Return the mount that a real path is on, or None where the kernel does not tell."""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    best: Mount | None = None
    for line in lines:
        mount = _parse(line)
        # Of mounts at one point the last is on top.
        if (
            mount is not None
            and _is_below(path, mount.point)
            and (best is None or len(mount.point) >= len(best.point))
        ):
            best = mount
    return best


def _parse(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    first, last = before.split(" "), after.split(" ")
    if not separator or len(first) < 5 or len(last) < 2:
        return None
    return Mount(first[2], _plain(first[4]), last[0], _plain(last[1]))


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _is_below(path: str, point: str) -> bool:
    return point in ("/", path) or path.startswith(f"{point}/")


def _server(source: str) -> str:
    """Return the server of a network file system: of `server:/export`, `//server/share`."""
    if source.startswith("//"):
        return source[2:].partition("/")[0].lower()
    host, colon, _ = source.partition(":/")
    return host.lower() if colon and "/" not in host else ""


def _disks(device: str, source: str, block: str) -> list[str]:
    found = disks_of(device, block)
    if not found and source.startswith("/dev/"):
        # Some file systems (btrfs) give each subvolume a device number of its own.
        try:
            number = os.stat(source).st_rdev
        except OSError:
            return []
        found = disks_of(f"{os.major(number)}:{os.minor(number)}", block)
    return sorted(found)


def disks_of(device: str, block: str = _BLOCK, depth: int = _DEPTH) -> set[str]:
    """Return the names of the disks below a block device: through partitions, LVM, RAID, LUKS.

    Args:
        device: `major:minor`.
        block: where the kernel lists block devices by number.
        depth: how many layers are looked through.
    """
    path = os.path.realpath(os.path.join(block, device))
    if not depth or not os.path.isdir(path):
        return set()
    try:
        below = sorted(os.listdir(os.path.join(path, "slaves")))
    except OSError:
        below = []
    found: set[str] = set()
    for name in below:
        try:
            with open(os.path.join(path, "slaves", name, "dev"), encoding="ascii") as file:
                found |= disks_of(file.read().strip(), block, depth - 1)
        except OSError:
            continue
    if found:
        return found
    if os.path.exists(os.path.join(path, "partition")):
        path = os.path.dirname(path)
    return {os.path.basename(path)}
