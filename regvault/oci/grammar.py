r"""Names, tags and digests, as a registry takes them, and the globs that select repositories.

All names that come from a registry, a vault or a client are hostile input: a path is made only of
what passed here. `re.ASCII` and `fullmatch` throughout, since `\w` is Unicode and `$` admits a
newline. The grammar is that of the OCI distribution specification 1.1 and of distribution's
`reference` package.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "ALGORITHMS",
    "MAX_NAME_LENGTH",
    "MAX_NUMBER",
    "Digest",
    "InvalidNameError",
    "glob_matcher",
    "is_component",
    "is_digest",
    "is_hex",
    "is_repository",
    "is_tag",
    "parse_digest",
    "parse_number",
    "sha256_digest",
    "unmatched",
]

ALGORITHMS: dict[str, int] = {"sha256": 64, "sha384": 96, "sha512": 128}
"""The algorithms of digests, with the number of their hex digits."""

MAX_NAME_LENGTH = 255
"""Characters of a repository's name, slashes included."""

MAX_NUMBER = (1 << 63) - 1
"""No size, count or offset is larger: file systems and SQLite have 64 bits, one for the sign."""

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*", re.ASCII)
_NAME = re.compile(rf"{_COMPONENT.pattern}(?:/{_COMPONENT.pattern})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_HEX = {name: re.compile(f"[a-f0-9]{{{size}}}", re.ASCII) for name, size in ALGORITHMS.items()}
_DIGEST = re.compile(
    "|".join(f"{name}:[a-f0-9]{{{size}}}" for name, size in ALGORITHMS.items()), re.ASCII
)


class InvalidNameError(ValueError):
    """Not a name, tag, digest or glob."""


class Digest(NamedTuple):
    """A digest in its parts.

    Attributes:
        algorithm: `sha256`, `sha384` or `sha512`.
        hex: lower-case hex digits, as many as the algorithm has.
    """

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def is_component(text: str) -> bool:
    """Return whether `text` may be one part, between slashes, of a repository's name."""
    return len(text) <= MAX_NAME_LENGTH and _COMPONENT.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Return whether `text` is the name of a repository, at most 255 characters in all."""
    return len(text) <= MAX_NAME_LENGTH and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Return whether `text` is a tag, at most 128 characters."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Return whether `text` is a digest of a known algorithm."""
    return _DIGEST.fullmatch(text) is not None


def is_hex(algorithm: str, text: str) -> bool:
    """Return whether `text` is the hex part of a digest of `algorithm`."""
    pattern = _HEX.get(algorithm)
    return pattern is not None and pattern.fullmatch(text) is not None


def parse_digest(text: str) -> Digest:
    """Return the parts of a digest.

    Raises:
        InvalidNameError: it is none, or of an algorithm that is not known.
    """
    if not is_digest(text):
        raise InvalidNameError(f"not a digest: {text[:200]!r}")
    algorithm, _, digits = text.partition(":")
    return Digest(algorithm, digits)


def parse_number(text: str) -> int:
    """Return a size, a count or an offset: decimal, without sign or leading zeros, below 2**63.

    Raises:
        InvalidNameError: it is none. (`int` takes `+1`, `1_0` and digits of all scripts too.)
    """
    if len(text) <= 19 and text.isascii() and text.isdigit() and (text[0] != "0" or text == "0"):
        value = int(text)
        if value <= MAX_NUMBER:
            return value
    raise InvalidNameError(f"not a number: {text[:50]!r}")


def sha256_digest(data: bytes) -> str:
    """Return the `sha256:...` digest of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def glob_matcher(globs: Iterable[str]) -> Callable[[str], bool]:
    """Return a predicate over repository names: whether any of `globs` matches, case-sensitively.

    - `*` is any run of characters within one path component, `?` one of them, `[abc]`, `[a-c]`
      and `[!a-c]` one of a set;
    - `**` is any run of characters, slashes included; as a whole component followed by a slash
      it may be empty too: `**/app` matches `app` and `team/x/app`;
    - a glob that ends in a slash is everything below: `team/` is `team/**`, without `team` itself;
    - anything else is the name itself.

    Raises:
        InvalidNameError: a glob is empty, begins with a slash, or has an unclosed bracket.
    """
    patterns = [_glob_pattern(glob) for glob in globs]
    return lambda name: any(pattern.fullmatch(name) for pattern in patterns)


def unmatched(globs: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return the globs that match none of the names, of which no more are read than need be.

    Raises:
        InvalidNameError: a glob is none.
    """
    left = {glob: _glob_pattern(glob) for glob in globs}
    if left:
        for name in names:
            for glob in [g for g, pattern in left.items() if pattern.fullmatch(name)]:
                del left[glob]
            if not left:
                break
    return list(left)


@lru_cache(maxsize=1024)
def _glob_pattern(glob: str) -> re.Pattern[str]:
    if not glob or glob.startswith("/") or len(glob) > 4 * MAX_NAME_LENGTH:
        raise InvalidNameError(f"not a glob of repository names: {glob[:200]!r}")
    text = glob + "**" if glob.endswith("/") else glob
    parts: list[str] = []
    at = 0
    while at < len(text):
        if text.startswith("**", at):
            run = len(text) - len(text[at:].lstrip("*"))
            whole = (at == 0 or text[at - 1] == "/") and text.startswith("/", run)
            parts.append("(?:.*/)?" if whole else ".*")
            at = run + 1 if whole else run
            continue
        character = text[at]
        at += 1
        if character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            piece, at = _bracket(text, at)
            parts.append(piece)
        else:
            parts.append(re.escape(character))
    # (.*)(.*) would match in exponential time: neighbours that are the same are one.
    merged = [p for n, p in enumerate(parts) if n == 0 or p != parts[n - 1] or p[-1] not in "*?"]
    return re.compile("".join(merged), re.ASCII | re.DOTALL)


def _bracket(text: str, at: int) -> tuple[str, int]:
    """Return the pattern of a set that begins before `at`, and where it ends."""
    end = text.find("]", at + 1 if text[at : at + 1] != "!" else at + 2)
    inner = text[at:end]
    if end < 0 or "/" in inner:
        raise InvalidNameError(f"a set is not closed: {text[:200]!r}")
    negated = inner.startswith("!")
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner[1:] if negated else inner)
    try:
        re.compile(f"[{escaped}]")
    except re.error as error:
        raise InvalidNameError(f"not a set: [{inner}] in {text[:200]!r}") from error
    # A range may include the slash, and beside a hyphen it would begin another range.
    return f"(?!/)[{'^' if negated else ''}{escaped}]", end + 1
