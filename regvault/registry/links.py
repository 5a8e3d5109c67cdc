"""From the content of links to what they say, the same for file systems and object storage."""

from __future__ import annotations

import hashlib
import sys
from array import array
from typing import TYPE_CHECKING

from regvault.model.registry import Finding, Kind, LinkState, RepositoryLinks, TagLinks
from regvault.registry.layout import parse_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["SETTLED_NS", "Fingerprint", "LinkBuilder", "link_state"]

SETTLED_NS = 2_000_000_000
"""What changed less than this before a survey began may change again within one tick of a coarse
clock (ext3 and NFSv3: 1 s, FAT: 2 s), so that neither mtime nor size would tell."""


class Fingerprint:
    """A hash over columns of what a survey saw: few calls, however many links."""

    def __init__(self, repository: str) -> None:
        self._hash = hashlib.blake2b(repository.encode(), digest_size=20)

    def texts(self, column: Sequence[str]) -> None:
        """Take strings that hold no NUL."""
        joined = "\0".join(column).encode("utf-8", "surrogateescape")
        self._hash.update(b"t%d,%d:" % (len(column), len(joined)))
        self._hash.update(joined)

    def numbers(self, column: Sequence[int]) -> None:
        """Take integers below 2**64 in size."""
        try:
            values: array[int] = array("q", column)
        except OverflowError:
            values = array("Q", [value & 0xFFFF_FFFF_FFFF_FFFF for value in column])
        if sys.byteorder == "big":
            values.byteswap()
        self._hash.update(b"n%d:" % len(values))
        self._hash.update(values)

    def contents(self, column: Sequence[bytes | None]) -> None:
        """Take byte strings; None where there is no file."""
        self.numbers([-1 if content is None else len(content) for content in column])
        self._hash.update(b"".join(content for content in column if content))

    def finish(self, kind: str, version: int) -> str:
        """Return `kind:version:hash`."""
        return f"{kind}:{version}:{self._hash.hexdigest()}"


def link_state(digest: str, content: bytes) -> LinkState:
    """Judge the content of a link whose path says `digest`."""
    if content == digest.encode():
        return LinkState.GOOD
    return LinkState.INVALID if content else LinkState.EMPTY


class LinkBuilder:
    """Collects what the links of one repository say.

    What a link means together with other links or manifests is not judged here: a tag that points
    to a revision that is gone is listed as it is.
    """

    def __init__(self, repository: str) -> None:
        self._repository = repository
        self._revisions: set[str] = set()
        self._layers: set[str] = set()
        self._current: dict[str, bytes | None] = {}
        self._history: dict[str, set[str]] = {}
        self._findings: set[Finding] = set()

    def note(self, kind: Kind, subject: str, *, image: str = "", detail: str = "") -> None:
        """Add a finding."""
        self._findings.add(Finding(self._repository, kind, subject, image, detail))

    def layer(self, digest: str, state: LinkState) -> None:
        """Add a layer link."""
        self._layers.add(digest)
        self._derivable(digest, state, "layer link")

    def layers(self, digests: Iterable[str]) -> None:
        """Add good layer links."""
        self._layers.update(digests)

    def revision(self, digest: str, state: LinkState) -> None:
        """Add a revision link."""
        self._revisions.add(digest)
        self._derivable(digest, state, "revision link")

    def revisions(self, digests: Iterable[str]) -> None:
        """Add good revision links."""
        self._revisions.update(digests)

    def history(self, tag: str, digest: str, state: LinkState) -> None:
        """Add one link of a tag's history."""
        self._history.setdefault(tag, set()).add(digest)
        self._derivable(digest, state, f"history of :{tag}")

    def tag(self, tag: str, content: bytes | None) -> None:
        """Add a tag by the content of its `current` link, None where it has none."""
        self._current[tag] = content

    def _derivable(self, digest: str, state: LinkState, detail: str) -> None:
        if state is LinkState.EMPTY:
            self.note(Kind.LINK_EMPTY, digest, detail=detail)
        elif state is LinkState.INVALID:
            self.note(Kind.LINK_INVALID, digest, detail=detail)

    def build(self) -> RepositoryLinks:
        """Return it all, sorted."""
        tags = []
        for name in sorted(self._current.keys() | self._history.keys()):
            history = tuple(sorted(self._history.get(name, ())))
            content = self._current.get(name)
            current = None if content is None else parse_link(content)
            self._judge(name, content, current, history)
            if content is not None or history:
                tags.append(TagLinks(name, current, history))
        return RepositoryLinks(
            tuple(tags),
            tuple(sorted(self._revisions)),
            tuple(sorted(self._layers)),
            tuple(sorted(self._findings)),
        )

    def _judge(
        self, name: str, content: bytes | None, current: str | None, history: tuple[str, ...]
    ) -> None:
        subject = f":{name}"
        if content is None:
            kind = Kind.TAG_WITHOUT_CURRENT if history else Kind.EMPTY_TAG
            self.note(kind, subject)
        elif current is None:
            words = "its link holds no digest" if content else "its link is empty"
            self.note(Kind.TAG_UNREADABLE, subject, image=subject, detail=words)
