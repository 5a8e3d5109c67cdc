"""Which cold mounts belong to a registry on a file system, written down at both ends.

`regvault-cold.json` in the registry's root directory (beside `docker/`, where a registry never
looks) lists its cold mounts by name. A file of the same name in each cold mount has the same id. So
every command knows them without being told, no registry leads a reader anywhere else, and a mount
that is away is told from one that is empty.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from regvault.errors import RefusedError, StoreError, UsageError
from regvault.storage.local_errors import MISSING, os_error
from regvault.storage.syscalls import sync_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BINDING",
    "HOT",
    "Bound",
    "bindings_of",
    "bound_to",
    "check_cold_name",
    "is_plain_path",
    "write_binding",
    "write_bindings",
]

BINDING: Final = "regvault-cold.json"
"""The name of the file, at both ends."""

HOT: Final = "hot"
"""The storage class of what lies in the registry's own directory."""

_FORMAT: Final = 1
_LIMIT: Final = 1 << 16
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Bound(NamedTuple):
    """A cold mount of a registry.

    Attributes:
        name: of it; so is the storage class of what lies there.
        path: where it is on this host.
        seen: where the registry sees it: in a container that may be another path.
        id: what both ends have.
    """

    name: str
    path: str
    seen: str
    id: str

    def link(self, suffix: str) -> str:
        """Return what a link in the registry holds for `<alg>/<2 hex>/<hex>/data` in the mount."""
        return f"{self.seen}/blobs/{suffix}"


def check_cold_name(name: str) -> str:
    """Return `name` if a cold mount may have it. Raises UsageError."""
    if not _NAME.fullmatch(name) or name.lower() == HOT:
        raise UsageError(
            f"{name[:100]!r} is no name of a cold mount",
            hint=f"Use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', other than {HOT!r}: hdd.",
        )
    return name


def bindings_of(root: str, paths: Mapping[str, str] | None = None) -> tuple[Bound, ...]:
    """Return the cold mounts that a registry has; () where it has none.

    Args:
        root: the registry's root directory.
        paths: name -> where a mount is on this host, instead of what was written down.

    Raises:
        StoreError: what is written down cannot be read, or is nothing that regvault wrote.
    """
    body = _read(root)
    if body is None:
        return ()
    try:
        bound = tuple(_bound(entry) for entry in body["roots"])
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(root, error) from None
    for field in ("name", "path", "seen", "id"):
        if len({getattr(each, field) for each in bound}) != len(bound):
            raise _invalid(root, f"two cold mounts have one {field}")
    paths = paths or {}
    return tuple(each._replace(path=paths.get(each.name, each.path)) for each in bound)


def _bound(entry: Any) -> Bound:
    found = Bound(entry["name"], entry["path"], entry["seen"], entry["id"])
    if not all(isinstance(text, str) for text in found):
        raise TypeError("a field is no text")
    if not _NAME.fullmatch(found.name) or found.name.lower() == HOT:
        raise ValueError("that is no name of a cold mount")
    if not _ID.fullmatch(found.id):
        raise ValueError("that is no id")
    for path in (found.path, found.seen):
        if not is_plain_path(path):
            raise ValueError(f"not a plain absolute path: {path[:200]!r}")
    return found


def is_plain_path(path: str) -> bool:
    """Return whether a path is absolute, without `.`, `..`, `//` or a slash at the end."""
    return os.path.isabs(path) and path == os.path.normpath(path) != "/" and "\0" not in path


def bound_to(directory: int, location: str) -> tuple[str, str] | None:
    """Return the name and the id that a cold mount's own file has; None where it has no file.

    Args:
        directory: descriptor of the mount's directory.
        location: for messages.

    Raises:
        StoreError: it cannot be read, or is nothing that regvault wrote.
    """
    body = _read(BINDING, directory, location)
    if body is None:
        return None
    try:
        name, id_ = body["name"], body["id"]
        if not (_NAME.fullmatch(name) and _ID.fullmatch(id_)):
            raise ValueError("no name, or no id")
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(location, error) from None
    return name, id_


def _read(where: str, directory: int | None = None, location: str | None = None) -> Any:
    path = os.path.join(where, BINDING) if directory is None else where
    location = location or f"file://{where}"
    try:
        with os.fdopen(os.open(path, _READ, dir_fd=directory), "rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        if error.errno in MISSING:
            return None
        raise os_error(error, "read", location, key=BINDING) from error
    try:
        body = json.loads(data) if len(data) <= _LIMIT else None
    except ValueError as error:
        raise _invalid(location, error) from None
    if not isinstance(body, dict):
        raise _invalid(location, "no object of JSON")
    if body.get("format") != _FORMAT:
        raise _invalid(location, "a format that this regvault does not know")
    return body


def _invalid(location: str, problem: object) -> StoreError:
    place = location.removeprefix("file://")
    return StoreError(
        f"{place}/{BINDING} does not say which cold mounts there are: {problem}",
        key=BINDING,
        hint="Put it back from a copy. Without it no blob behind a link is read.",
    )


def write_bindings(root: str, bound: tuple[Bound, ...]) -> None:
    """Write down which cold mounts a registry has, at once and durably; none: remove the file.

    Raises:
        StoreError: it cannot be written.
    """
    body = {"format": _FORMAT, "roots": [each._asdict() for each in bound]}
    _write(root, body if bound else None, replace=True)


def write_binding(root: str, bound: Bound) -> None:
    """Write into a cold mount whose it is, if nothing says so yet.

    Raises:
        RefusedError: something does.
        StoreError: it cannot be written.
    """
    _write(root, {"format": _FORMAT, "name": bound.name, "id": bound.id}, replace=False)


def _write(root: str, body: dict[str, Any] | None, *, replace: bool) -> None:
    temporary = f".regvault-{secrets.token_hex(8)}.tmp"
    try:
        directory = os.open(root, _DIRECTORY)
        try:
            if body is None:
                with suppress(FileNotFoundError):
                    os.unlink(BINDING, dir_fd=directory)
                os.fsync(directory)
                return
            fd = os.open(temporary, _NEW, 0o644, dir_fd=directory)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(json.dumps(body, indent=2).encode() + b"\n")
                    file.flush()
                    os.fsync(fd)
                _publish(temporary, directory, replace=replace)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise
            sync_directory(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise os_error(error, "write", f"file://{root}", key=BINDING, write=True) from error


def _publish(temporary: str, directory: int, *, replace: bool) -> None:
    # (A mount of object storage has no hard links; of two who bind it at once the id tells.)
    if not replace and _exists(directory):
        raise RefusedError("this cold mount has a binding already")
    os.rename(temporary, BINDING, src_dir_fd=directory, dst_dir_fd=directory)


def _exists(directory: int) -> bool:
    try:
        os.stat(BINDING, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
