"""What a bucket says of itself: where it is, and whether its objects are locked. Only reads."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from regvault.errors import StoreError
from regvault.model.whereabouts import Lock, Whereabouts
from regvault.storage.s3_errors import answer_of

if TYPE_CHECKING:
    from datetime import datetime

    from regvault.storage.s3 import S3Store

__all__ = ["object_lock", "whereabouts"]

_NO_LOCK = frozenset(
    {
        "ObjectLockConfigurationNotFoundError",
        "ObjectLockConfigurationNotFound",
        "NoSuchObjectLockConfiguration",
    }
)
_UNKNOWN = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})


def whereabouts(store: S3Store) -> Whereabouts:
    """Return which endpoint or region a bucket is in, as the server says it.

    Raises:
        StoreError: the bucket cannot be reached.
    """
    answer = store.call("head_bucket", "look at", "")
    meta: Any = store.connection.client.meta
    url = urlsplit(meta.endpoint_url)
    host = (url.hostname or "").lower()
    remark = ""
    if host == "amazonaws.com" or host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region") or answer.get("BucketRegion")
        domain = f"AWS {region or meta.region_name}"
    else:
        here = _is_this_machine(host)
        server = f"{'127.0.0.1' if here else host}{f':{url.port}' if url.port else ''}"
        domain = f"S3 at {server}"
        if here:
            remark = (
                "its endpoint is this machine: whether its disks are other ones than those of "
                "vaults and registries here cannot be seen"
            )
    bound = f"bucket {store.bucket} of {domain}"
    return Whereabouts(f"{bound} {store.prefix}", domain, bound, "object", remark)


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def object_lock(store: S3Store, key: str | None, now: datetime) -> Lock:
    """Return whether what is in a bucket is locked, by its configuration and by one object.

    Args:
        store: below whose prefix it is.
        key: of an object, as new as any; None looks at the bucket alone.
        now: aware.

    Raises:
        StoreError: the bucket cannot be reached. That it may not be asked is no error: then
            nothing is known to be locked.
    """
    try:
        answer = store.call("get_object_lock_configuration", "ask for the Object Lock of", "")
    except StoreError as error:
        found = answer_of(error.__cause__) if isinstance(error.__cause__, Exception) else None
        if found is not None and found.code in _NO_LOCK:
            return Lock(held=False, detail="the bucket has no Object Lock")
        if found is not None and found.code in _UNKNOWN:
            return Lock(held=False, detail="this server knows no Object Lock")
        if found is not None and found.status == 403:
            detail = "these credentials may not ask (s3:GetBucketObjectLockConfiguration)"
            return Lock(held=False, detail=f"whether it is locked is not known: {detail}")
        raise
    configuration = answer.get("ObjectLockConfiguration", {})
    if configuration.get("ObjectLockEnabled") != "Enabled":
        return Lock(held=False, detail="the bucket has no Object Lock")
    default = configuration.get("Rule", {}).get("DefaultRetention", {})
    return _of_object(store, key, now, _words(default))


def _words(default: dict[str, Any]) -> str:
    """Return a default retention for people; "" where there is none."""
    mode = str(default.get("Mode", "")).lower()
    for name in ("Days", "Years"):
        if mode and default.get(name):
            unit = name.lower() if default[name] != 1 else name.lower()[:-1]
            return f"{mode}, {default[name]} {unit}"
    return ""


def _of_object(store: S3Store, key: str | None, now: datetime, default: str) -> Lock:
    """Return what one object says; a bucket may lock by default, or each PUT may have done it."""
    head = store.call("head_object", "look at", key) if key else {}
    mode, until = str(head.get("ObjectLockMode", "")).lower(), head.get("ObjectLockRetainUntilDate")
    if mode and until is not None:
        day = until.date().isoformat()
        if until <= now:
            return Lock(held=False, detail=f"the Object Lock of {key} ended on {day}")
        how = f"by default {default}; " if default else ""
        return Lock(held=True, detail=f"Object Lock: {how}the newest snapshot {mode} until {day}")
    if default:
        return Lock(held=True, detail=f"Object Lock: by default {default}")
    detail = "the bucket has Object Lock, but no default retention, and the newest snapshot none"
    return Lock(held=False, detail=detail)
