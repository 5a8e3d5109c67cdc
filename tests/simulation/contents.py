"""What a registry of a simulated life holds, less what goes from it."""

from __future__ import annotations

from world import BASE, blob_key, digest_of


def linked(registry: dict[str, bytes]) -> dict[str, bytes]:
    """Return a registry without the blobs that no link names: a garbage collection takes these."""
    named = {blob_key(data.decode()) for key, data in registry.items() if key.endswith("/link")}
    return {k: v for k, v in registry.items() if not k.endswith("/data") or k in named}


def without(held: dict[str, bytes], digest: str) -> dict[str, bytes]:
    """Return what is left of a registry: less a content, and less every image that needs it."""
    bad = {digest}
    while True:
        more = {
            digest_of(data)
            for key, data in held.items()
            if key.endswith("/data")
            and b"schemaVersion" in data
            and any(each.encode() in data for each in bad)
        } - bad
        if not more:
            break
        bad |= more
    hexes = [each.partition(":")[2] for each in bad]
    kept = {}
    for key, data in held.items():
        content = data.decode("ascii", "replace")
        named = any(each in key for each in hexes) or content in bad
        if not named or ("/_layers/" in key and digest.partition(":")[2] not in key):
            kept[key] = data
    assert blob_key(digest) not in kept
    assert all(key.startswith(BASE) for key in kept)
    return kept
