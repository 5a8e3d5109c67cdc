"""Object Lock on S3: what a PUT carries, what locks an object, and locking it for longer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from regvault.errors import StoreError
from regvault.model.store import Retention
from regvault.storage.s3_errors import answer_of
from regvault.storage.s3_list import datetime_ns

if TYPE_CHECKING:
    from regvault.storage.s3 import S3Store

__all__ = ["enabled", "extend", "params_of", "retention"]

# What servers answer where a bucket cannot lock.
_NONE = frozenset({"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"})
_SECOND_NS = 1_000_000_000


def _moment(ns: int) -> datetime:
    """Return a time as S3 takes it: whole seconds, never earlier than asked for."""
    return datetime.fromtimestamp(-(-ns // _SECOND_NS), UTC)


def params_of(retention: Retention) -> dict[str, Any]:
    """Return the parameters of a request that makes an object which is locked from the start."""
    return {
        "ObjectLockMode": retention.mode.upper(),
        "ObjectLockRetainUntilDate": _moment(retention.until_ns),
    }


def _code(error: StoreError) -> str:
    cause = error.__cause__
    answer = answer_of(cause) if isinstance(cause, Exception) else None
    return answer.code if answer is not None else ""


def enabled(store: S3Store) -> bool:
    """Return whether Object Lock is enabled for the bucket."""
    try:
        answer = store.call("get_object_lock_configuration", "look at", "")
    except StoreError as error:
        if _code(error) in _NONE:
            return False
        raise
    return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


def retention(store: S3Store, key: str) -> Retention | None:
    """Return what locks the present version of an object, or None.

    Raises:
        ObjectNotFoundError: there is none; its versions may be there still.
    """
    # HEAD tells it to whom s3:GetObjectRetention is allowed, on every server there is.
    answer = store.call("head_object", "look at the lock of", key)
    mode, until = answer.get("ObjectLockMode"), answer.get("ObjectLockRetainUntilDate")
    return Retention(mode.lower(), datetime_ns(until)) if mode and until else None


def extend(store: S3Store, key: str, wanted: Retention) -> bool:
    """Lock an object for longer; see `LockingStore.extend_retention`.

    Looking first costs a cheap request, and spares the dear one where nothing is due. It also keeps
    a server that does not enforce locks from shortening one.
    """
    found = retention(store, key)
    if found is not None and found.until_ns >= wanted.until_ns:
        return False
    mode = "compliance" if found is not None and found.mode == "compliance" else wanted.mode
    store.call(
        "put_object_retention",
        "lock",
        key,
        Retention={"Mode": mode.upper(), "RetainUntilDate": _moment(wanted.until_ns)},
    )
    return True
