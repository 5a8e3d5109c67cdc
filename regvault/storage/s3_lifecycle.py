"""Lifecycle rules of a bucket that move what regvault has tagged to another storage class.

Rules of others are never changed: ours have names of their own, one for each prefix and class. S3
knows no conditional write of the rules, so they are read again before and after they are written.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from regvault.errors import PreconditionError, StoreError
from regvault.storage.s3_errors import answer_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.classes import Placement
    from regvault.storage.s3 import S3Store

__all__ = ["TAG", "add_rules", "mark", "missing_rules"]

TAG: Final = "regvault-class"
"""Key of the tag; its value is the storage class where the object is to go."""

_LEAST: Final = "TransitionDefaultMinimumObjectSize"
_MOST_TAGS: Final = 10
_MOST_RULES: Final = 1000
_NONE: Final = frozenset({"NoSuchLifecycleConfiguration", "404"})
#: S3 refuses a rule that moves objects into these classes earlier.
_LEAST_DAYS: Final = {"STANDARD_IA": 30, "ONEZONE_IA": 30}


def mark(store: S3Store, key: str, storage_class: str, expected: Placement) -> None:
    """Tag an object; see `RuledStore.mark_class`."""
    seen = store.placement(key)
    if (seen.entry.size, seen.entry.etag) != (expected.entry.size, expected.entry.etag):
        raise PreconditionError(f"{key!r} in {store.location} is not what it was", key=key)
    found = store.call("get_object_tagging", "read the tags of", key)["TagSet"]
    tags = [tag for tag in found if tag["Key"] != TAG]
    if len(tags) >= _MOST_TAGS:
        raise StoreError(
            f"{key!r} in {store.location} has {len(tags)} tags, and there is room for no other",
            key=key,
        )
    tags.append({"Key": TAG, "Value": storage_class})
    store.call("put_object_tagging", "tag", key, Tagging={"TagSet": tags})


def missing_rules(store: S3Store, prefix: str, classes: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rules that are needed and not there."""
    there = _rules(store)
    return [rule for rule in _wanted(store, prefix, classes) if not _has(there, rule)]


def add_rules(store: S3Store, prefix: str, classes: Iterable[str]) -> None:
    """Add the rules that are missing, and look that all others are still there."""
    before = _rules(store)
    wanted = [rule for rule in _wanted(store, prefix, classes) if not _has(before, rule)]
    if not wanted:
        return
    ours = {rule["ID"] for rule in wanted}
    merged = [rule for rule in before if rule.get("ID") not in ours] + wanted
    if len(merged) > _MOST_RULES:
        raise StoreError(f"{store.location} has {len(before)} lifecycle rules: there is no room")
    configuration = _configuration(store)
    if list(configuration.get("Rules", ())) != before:
        raise _changed(store)
    # Left out, it would fall back to what S3 does by itself, for the rules of others too.
    least = configuration.get(_LEAST)
    store.call(
        "put_bucket_lifecycle_configuration",
        "write the lifecycle rules of",
        "",
        LifecycleConfiguration={"Rules": merged},
        **({} if least is None else {_LEAST: least}),
    )
    after = _rules(store)
    others = [rule for rule in before if rule.get("ID") not in ours]
    if not all(_has(after, rule) for rule in (*others, *wanted)):
        raise _changed(store)


def _changed(store: S3Store) -> PreconditionError:
    return PreconditionError(
        f"somebody changes the lifecycle rules of {store.location} at this moment",
        hint="Look at them, then try again.",
    )


def _rules(store: S3Store) -> list[dict[str, Any]]:
    return list(_configuration(store).get("Rules", ()))


def _configuration(store: S3Store) -> dict[str, Any]:
    try:
        return store.call("get_bucket_lifecycle_configuration", "read the lifecycle rules of", "")
    except StoreError as error:
        cause = error.__cause__
        said = answer_of(cause) if isinstance(cause, Exception) else None
        if said is not None and said.code in _NONE:
            return {}
        raise


def _has(rules: list[dict[str, Any]], wanted: dict[str, Any]) -> bool:
    """Return whether a rule is there that says the same; a server may add what it takes for so."""
    for rule in rules:
        if rule.get("ID") == wanted.get("ID") and all(
            rule.get(name) == value for name, value in wanted.items() if value not in (None, "", [])
        ):
            return True
    return False


def _wanted(store: S3Store, prefix: str, classes: Iterable[str]) -> list[dict[str, Any]]:
    whole = store.prefix + prefix
    short = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return [
        {
            "ID": f"regvault-{name}-{short}",
            "Filter": {"And": {"Prefix": whole, "Tags": [{"Key": TAG, "Value": name}]}},
            "Status": "Enabled",
            "Transitions": [{"Days": _LEAST_DAYS.get(name, 0), "StorageClass": name}],
        }
        for name in sorted(set(classes))
    ]
