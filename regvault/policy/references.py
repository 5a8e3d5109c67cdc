"""What of a snapshot a person means: a repository, a tag, a digest or its beginning. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import UsageError
from regvault.oci.grammar import ALGORITHMS, is_repository, is_tag
from regvault.policy.selectors import is_selector

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Reference",
    "parse_digest_prefix",
    "parse_ls_arguments",
    "parse_reference",
    "parse_wanted",
]

#: Fewer hex digits than this would too often be those of several digests.
MIN_HEX = 8


class Reference(NamedTuple):
    """What of a snapshot is meant: a repository, one of its tags, or one of its manifests.

    Attributes:
        repository: its name.
        tag: or None.
        digest: whole, or its first hex digits (at least 8) after the algorithm; or None.
    """

    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        if self.tag is not None:
            return f"{self.repository}:{self.tag}"
        return self.repository if self.digest is None else f"{self.repository}@{self.digest}"


def parse_digest_prefix(text: str) -> str | None:
    """Return a digest, or the beginning of one with its algorithm; None where `text` is neither.

    At least 8 hex digits; without an algorithm it is `sha256`.
    """
    algorithm, separator, digits = text.lower().rpartition(":")
    algorithm = algorithm if separator else "sha256"
    length = ALGORITHMS.get(algorithm, 0)
    if not MIN_HEX <= len(digits) <= length or set(digits) - set("0123456789abcdef"):
        return None
    return f"{algorithm}:{digits}"


def parse_reference(text: str) -> Reference:
    """Parse `REPO`, `REPO:TAG` or `REPO@DIGEST`.

    Raises:
        UsageError: it is none.
    """
    name, at, digest = text.partition("@")
    if at:
        found = parse_digest_prefix(digest)
        if is_repository(name) and found is not None:
            return Reference(name, None, found)
    else:
        name, colon, tag = text.partition(":")
        if is_repository(name) and (not colon or is_tag(tag)):
            return Reference(name, tag if colon else None)
    raise UsageError(
        f"{text!r} is neither a snapshot nor a repository",
        hint="Use REPO, REPO:TAG or REPO@DIGEST, such as team/app:1.0; and for a snapshot latest, "
        "a number or a time.",
    )


def parse_wanted(text: str) -> str | Reference:
    """Return what `find` is to look for: a digest or its beginning, or a REPO:TAG or REPO@DIGEST.

    Raises:
        UsageError: it is none of these.
    """
    digest = parse_digest_prefix(text)
    if digest is not None:
        return digest
    try:
        reference = parse_reference(text)
    except UsageError:
        reference = None
    if (
        reference is None
        or (reference.tag is None and reference.digest is None)
        or reference.repository in ALGORITHMS  # a digest with a slip in it
    ):
        raise UsageError(
            f"{text!r} is neither a digest nor a tag",
            hint=f"Use sha256:..., at least {MIN_HEX} of its hex digits, REPO:TAG or REPO@DIGEST.",
        )
    return reference


def parse_ls_arguments(arguments: Sequence[str]) -> tuple[str, Reference | None]:
    """Return the SNAPSHOT and the reference that the arguments of `ls` mean.

    `latest`, a number, a TIME, and each with `REGISTRY@` before it, is a snapshot; anything else is
    a repository. A repository with such a name comes after the snapshot: `ls latest 2026`.

    Raises:
        UsageError: they are no [SNAPSHOT] [REPO[:TAG]].
    """
    match list(arguments):
        case []:
            return "latest", None
        case [one]:
            return (one, None) if is_selector(one) else ("latest", parse_reference(one))
        case [first, second] if is_selector(first):
            return first, parse_reference(second)
        case [first, second] if is_selector(second):
            return second, parse_reference(first)
        case [first, _]:
            raise UsageError(
                f"{first!r} is no SNAPSHOT",
                hint="regvault ls [SNAPSHOT] [REPO[:TAG]], where SNAPSHOT is latest, a number or a "
                "time, each with REGISTRY@ before it where the vault has several registries.",
            )
        case _:
            raise UsageError("too many arguments", hint="regvault ls [SNAPSHOT] [REPO[:TAG]]")
