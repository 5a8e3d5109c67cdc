"""Age files (age-encryption.org/v1), and the identities and recipients they are for.

The library is `pyrage`, an extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regvault.errors import CredentialError, UsageError
from regvault.vault.extra import not_installed

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AGE_MAGIC",
    "HEADER_BYTES",
    "MAX_RECIPIENTS",
    "OVERHEAD",
    "Identity",
    "age_header_length",
    "check_header",
    "identities_text",
    "is_no_match",
    "library",
    "open_sealed",
    "parse_identities",
    "parse_recipient",
    "plain_size",
    "recipients_of",
    "seal_to",
]

#: What every age file begins with.
AGE_MAGIC = b"age-encryption.org/v1\n"
#: A vault is sealed to no more than so many.
MAX_RECIPIENTS = 64
#: No header of a file for so many and the writer is longer, or has more parts. The library's time
#: grows with the square of both, and nothing interrupts it.
HEADER_BYTES = 8 << 10
_MAX_STANZAS = MAX_RECIPIENTS + 8
#: An age file of less than a mebibyte is never so much longer than what it seals: some hundred
#: bytes a recipient, 16 a 64 KiB.
OVERHEAD = 16 << 10

_PREFIX = "AGE-SECRET-KEY-1"
#: Payload of an age file: a nonce, then chunks of 64 KiB with a tag each.
_NONCE, _CHUNK, _TAG = 16, 64 << 10, 16
_MAKE_IT = (
    f"It is written {_PREFIX}..., as `regvault key generate --identity FILE` and age-keygen do."
)


class Identity:
    """A private age key (X25519). Its text is in no message and no `repr`.

    Attributes:
        public: the recipient that it opens for: `age1...`.
    """

    def __init__(self, key: Any) -> None:
        self._key = key
        self.public = str(key.to_public())

    @classmethod
    def generate(cls) -> Identity:
        """Make a new one."""
        return cls(library().x25519.Identity.generate())

    def secret(self) -> str:
        """Return its text: a secret."""
        return str(self._key)

    @property
    def key(self) -> Any:
        """What the library opens with."""
        return self._key


def identities_text(identities: Iterable[Identity]) -> str:
    """Return a file of identities, as `age-keygen` writes it: a secret."""
    return "".join(f"# public key: {each.public}\n{each.secret()}\n" for each in identities)


def parse_identities(text: str, where: str) -> tuple[Identity, ...]:
    """Read a file of age identities, as `age-keygen` and `regvault key generate` write it.

    Raises:
        CredentialError: there is none, or a line is none. The message does not repeat it.
    """
    found: list[Identity] = []
    age = library()
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        try:
            found.append(Identity(age.x25519.Identity.from_str(line)))
        except age.IdentityError:
            raise CredentialError(
                f"line {number} of {where} is no age identity",
                hint=_MAKE_IT,
            ) from None
    if not found:
        raise CredentialError(f"there is no age identity at {where}", hint=_MAKE_IT)
    return tuple(found)


def parse_recipient(text: str) -> str:
    """Return an age recipient (X25519). Raises UsageError; it never repeats an identity."""
    age = library()
    if _PREFIX in text.upper():
        raise UsageError(
            "that is an identity, which is a secret, and no recipient",
            hint="Name the recipient that goes with it, age1..., as `age-keygen -y FILE` shows it. "
            "What was typed may be in the shell's history now: consider a new identity.",
        )
    try:
        return str(age.x25519.Recipient.from_str(text.strip()))
    except age.RecipientError:
        raise UsageError(
            f"{text[:100]!r} is no age recipient",
            hint="It is written age1..., as `regvault key generate --identity FILE` and "
            "age-keygen show it.",
        ) from None


def seal_to(recipients: Iterable[str], data: bytes) -> bytes:
    """Return an age file of `data` that each of these recipients can open."""
    return bytes(library().encrypt(data, recipients_of(recipients)))


def open_sealed(data: bytes, identities: Iterable[Identity]) -> bytes | None:
    """Return what an age file holds; None where none of the identities opens it.

    Raises:
        ValueError: it is none, or is damaged.
    """
    age = library()
    check_header(data[:HEADER_BYTES])
    try:
        return bytes(age.decrypt(data, [identity.key for identity in identities]))
    except age.DecryptError as error:
        if is_no_match(error):
            return None
        raise ValueError(str(error)) from None


def recipients_of(texts: Iterable[str]) -> list[Any]:
    """Return recipients as the library has them."""
    age = library()
    return [age.x25519.Recipient.from_str(text) for text in texts]


def is_no_match(error: Exception) -> bool:
    """Say whether the library means that a file is for other identities, and not that it is bad."""
    return "No matching keys" in str(error)


def age_header_length(head: bytes) -> int | None:
    """Return how many bytes the header of an age file takes; None where `head` does not tell."""
    at = head.find(b"\n--- ")
    end = head.find(b"\n", at + 1) if at >= 0 else -1
    return None if end < 0 else end + 1


def check_header(head: bytes) -> None:
    """Refuse what the library would be busy with for minutes.

    Args:
        head: the first `HEADER_BYTES` of an age file, or all of it.

    Raises:
        ValueError: it does not begin as one, or its header is longer than one for a vault is.
    """
    length = age_header_length(head)
    if not head.startswith(AGE_MAGIC) or length is None:
        raise ValueError("it does not begin as an age file for so few recipients does")
    if head.count(b"\n-> ", 0, length) > _MAX_STANZAS:
        raise ValueError("it is for more recipients than a vault has")


def plain_size(head: bytes, stored: int) -> int | None:
    """Return how many bytes an age file holds.

    Args:
        head: its first bytes.
        stored: its size.
    """
    header = age_header_length(head)
    if header is None:
        return None
    payload = stored - header - _NONCE
    chunks = -(-payload // (_CHUNK + _TAG))
    size = payload - chunks * _TAG
    return size if payload >= _TAG and size >= 0 else None


def library() -> Any:
    """Return `pyrage`. Raises CredentialError where it is not installed."""
    try:
        import pyrage
    except ImportError:
        raise not_installed("sealed vaults") from None
    return pyrage
