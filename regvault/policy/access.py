"""What counts as access to a manifest or a blob: only a GET by a real client.

Not HEAD, which asks and reads nothing; not scanners, replication and probes, which read all there
is; not regvault itself. Where nobody knows who it was it counts: too much is kept at hand then,
never too little.
"""

from __future__ import annotations

import hashlib
import re
from fnmatch import translate
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regvault.model.event import Event

__all__ = ["AccessRules", "is_pull", "is_push"]

_VERSION: Final = 1
_SCANNERS: Final = (
    "trivy",
    "clair",
    "grype",
    "syft",
    "anchore",
    "snyk",
    "neuvector",
    "prismacloud",
    "twistlock",
    "aquasec",
    "docker-scout",
    "harbor-scanner",
)
_AGENTS: Final = (
    "regvault",
    *_SCANNERS,
    "harbor-registry-client",
    "regsync",
    "kube-probe",
    "blackbox-exporter",
    "Blackbox Exporter",
    "Prometheus",
    "ELB-HealthChecker",
    "GoogleHC",
)
_AGENT = re.compile(
    rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, _AGENTS))})(?![A-Za-z0-9])", re.IGNORECASE
)
# Harbor makes a robot account for each scan: the scanner's name and a UUID.
_SCAN_ROBOT = re.compile(
    rf"robot\$.*(?:{'|'.join(map(re.escape, _SCANNERS))}|scanner).*"
    r"-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    re.IGNORECASE,
)


def is_pull(event: Event) -> bool:
    """Return whether a record is of a GET of a manifest or a blob that was answered."""
    status = event["status"]
    return (
        event["action"] == "pull"
        and event["method"] in (None, "GET")
        and not (isinstance(status, int) and status >= 400)
    )


def is_push(event: Event) -> bool:
    """Return whether a record is of a manifest or a blob that was brought, or linked."""
    status = event["status"]
    return event["action"] in ("push", "mount") and not (isinstance(status, int) and status >= 400)


class AccessRules:
    """Who is no real client.

    Attributes:
        id: 16 hex digits: of these rules. Statistics are of one set of rules.
        ignored: what a site says, as it was given, sorted.
    """

    def __init__(self, ignored: Iterable[str] = ()) -> None:
        """Take what a site says beside what is known.

        Args:
            ignored: each `agent=GLOB`, `actor=GLOB` or `address=NETWORK`.

        Raises:
            UsageError: one is none of these.
        """
        self.ignored = tuple(sorted(set(ignored)))
        found: dict[str, list[Callable[[str], object]]] = {"agent": [], "actor": [], "address": []}
        for text in self.ignored:
            kind, equals, value = text.partition("=")
            if kind not in found or not equals or not value:
                raise UsageError(
                    f"{text!r} does not say who is to be ignored",
                    hint="One is agent=mirror/*, actor=robot$sync or address=10.1.0.0/16.",
                )
            found[kind].append(_in_network(value) if kind == "address" else _glob(value))
        told = "\n".join([str(_VERSION), _AGENT.pattern, _SCAN_ROBOT.pattern, *self.ignored])
        self.id = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        agents: list[Callable[[str], object]] = [_AGENT.search, *found["agent"]]
        actors: list[Callable[[str], object]] = [_SCAN_ROBOT.fullmatch, *found["actor"]]
        self._agent = lru_cache(16_384)(lambda text: any(test(text) for test in agents))
        self._actor = lru_cache(16_384)(lambda text: any(test(text) for test in actors))
        self._address = lru_cache(65_536)(lambda text: any(test(text) for test in found["address"]))

    def ignores(self, useragent: str | None, actor: str | None, address: str | None) -> bool:
        """Return whether whoever is told of is known to be no real client."""
        return (
            (useragent is not None and self._agent(useragent))
            or (actor is not None and self._actor(actor))
            or (address is not None and self._address(address))
        )


def _glob(text: str) -> Callable[[str], object]:
    return re.compile(translate(text), re.IGNORECASE).fullmatch


def _in_network(text: str) -> Callable[[str], object]:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise UsageError(
            f"{text!r} is neither an address nor a network", hint="One is 10.1.0.0/16."
        ) from None

    def has(address: str) -> bool:
        try:
            return ip_address(address) in network
        except ValueError:  # a name
            return False

    return has
