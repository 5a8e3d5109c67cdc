"""Signals of somebody, or of somewhere, that was not known before."""

from __future__ import annotations

import ipaddress
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from regvault.audit.signals.memory import as_saved
from regvault.audit.signals.signal import Signal

if TYPE_CHECKING:
    from regvault.audit.signals.memory import Memory
    from regvault.model.event import Event

__all__ = ["NewNetwork", "TagActors", "network_of"]

_AGAIN_S: Final = 600.0


@lru_cache(10_000)
def network_of(address: str | None) -> str:
    """Return the network of an address: its first 24 bits, of IPv6 48; what is none, as it is."""
    if address is None:
        return ""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    bits = 24 if found.version == 4 else 48
    return str(ipaddress.ip_network((found, bits), strict=False))


class TagActors:
    """Notices that a tag is overwritten by somebody who had not pushed it before.

    Who that is: the user, and where a registry has none, the network. A tag that was not seen
    before belongs to whoever pushes it first.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.learning = True

    def take(self, event: Event, moment: float, received: float) -> list[Signal]:
        """Take the next event. See `Detector`."""
        repository, tag, digest = event["repository"], event["tag"], event["digest"]
        if event["action"] != "push" or repository is None or tag is None:
            return []
        if (event["status"] or 200) >= 400:
            return []
        memory = self._memory
        place = repository, tag
        before = memory.get("tag", *place)
        if digest is None and before:
            return []  # a log's record of what a notification tells better
        who = event["actor"] or network_of(event["address"])
        known = memory.get("tag-actor", *place, who) is not None
        memory.put("tag", *place, value=digest or "", at=received)
        memory.put("tag-actor", *place, who, value="", at=received)
        if before is None or known or self.learning or (digest is not None and before == digest):
            return []
        about = {
            "repository": repository,
            "tag": tag,
            "digest": digest,
            "actor": event["actor"],
            "address": event["address"],
            "raw": json.dumps({"event": event["id"], "before": before or None}),
        }
        words = "a tag was overwritten by somebody who had not pushed it before"
        return [Signal("tag-new-actor", moment, (event["id"],), words, about=about)]

    def tick(self, now: float) -> list[Signal]:  # noqa: ARG002 (nothing lasts)
        """Return nothing: it happens at once. See `Detector`."""
        return []

    def save(self) -> Any:
        """Return nothing: it is all in the memory. See `Detector`."""
        return None

    def load(self, saved: Any) -> None:
        """Know nothing again. See `Detector`."""


class NewNetwork:
    """Notices a pull from a network that none came from before: at all, or of a known user."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._told: dict[str, float] = {}
        self.learning = True

    def take(self, event: Event, moment: float, received: float) -> list[Signal]:
        """Take the next event. See `Detector`."""
        address, actor = event["address"], event["actor"]
        if event["action"] != "pull" or address is None or (event["status"] or 200) >= 400:
            return []
        memory = self._memory
        network = network_of(address)
        compares = memory.get("networks") is not None
        new = memory.get("network", network) is None
        memory.put("networks", value="", at=received)
        memory.put("network", network, value="", at=received)
        if actor is not None:
            known = memory.get("actor", actor) is not None
            of_actor = memory.get("actor-network", actor, network) is None
            memory.put("actor", actor, value="", at=received)
            memory.put("actor-network", actor, network, value="", at=received)
            new = new or (known and of_actor)
        if not new or not compares or self.learning:
            return []
        # One request may have several records: of a notification, of logs.
        told = self._told.get(network)
        if told is not None and abs(moment - told) <= _AGAIN_S:
            return []
        self._told = {n: at for n, at in self._told.items() if moment - at <= _AGAIN_S}
        self._told[network] = moment
        about = {
            "repository": event["repository"],
            "tag": event["tag"],
            "digest": event["digest"],
            "actor": actor,
            "address": address,
            "raw": json.dumps({"event": event["id"], "network": network}),
        }
        words = "the first pull from a network"
        return [Signal("new-network", moment, (event["id"],), words, about=about)]

    def tick(self, now: float) -> list[Signal]:  # noqa: ARG002 (nothing lasts)
        """Return nothing: it happens at once. See `Detector`."""
        return []

    def save(self) -> Any:
        """Return which networks were told of within the last minutes. See `Detector`."""
        return list(self._told.items())

    def load(self, saved: Any) -> None:
        """Know again what was saved. See `Detector`."""
        self._told = dict(as_saved(saved, list[tuple[str, float]]))
