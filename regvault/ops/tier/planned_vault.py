"""What a plan of a vault may say: it may come from anywhere, and is checked before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.ops.tier.cold import DATA
from regvault.vault.keys import digest_of_key, is_object_key

if TYPE_CHECKING:
    from regvault.ops.tier.planned import Header

__all__ = ["is_data_key", "is_promise"]

_NUMBERS = ("hours", "per_object", "per_gb")
_MOST = 10**11  # seconds: three thousand years
_RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within_seconds")


def is_promise(header: Header) -> bool:
    """Return whether what is promised of a vault can be gone by."""
    promise = header.promise or {}
    return (
        header.kind == "vault"
        and all(isinstance(promise[name], (int, float)) for name in ("hours", "cost"))
        and isinstance(promise["newest"], int)
        and promise["newest"] > 0
        and header.hot in promise["back"]
        and all(
            set(back) == {"way", *_NUMBERS}
            and isinstance(back["way"], str)
            and all(isinstance(back[name], (int, float)) and back[name] >= 0 for name in _NUMBERS)
            and back["hours"] <= promise["hours"] + 1e-9
            for back in promise["back"].values()
        )
        and all(
            name in _RULES and isinstance(value, int) and 0 <= value <= _MOST
            for rules in promise["policies"].values()
            for name, value in rules.items()
        )
        and all(
            isinstance(each["snapshot"], str)
            and isinstance(each["bytes"], int)
            and all(isinstance(n, (int, float)) for n in (*each["hours"], *each["cost"]))
            and {"newest", "kept"} <= set(each)
            for each in header.restore
        )
    )


def is_data_key(key: str, digest: str) -> bool:
    """Return whether a key is that of data in a vault; it has the digest that it states."""
    return key.startswith(DATA) and is_object_key(key) and digest == (digest_of_key(key) or "")
