"""Every error that regvault raises on purpose, in one tree.

RegvaultError                   1   anything below, or a failure without a better name
├── UsageError                  2   the command line asks for something that makes no sense
│   └── ConfigurationError      2   the configuration file is wrong
├── VaultDamagedError           4   stored bytes of the vault are not what they should be
├── RefusedError                5   refused for safety: format, feature, clock, lost lease
│   ├── UnknownFormatError      5   written by a newer regvault
│   └── LeaseLostError          5   another party ended this run
├── TemporaryError              6   worth trying again as it is
│   └── SourceUnavailableError  6   the registry to read cannot be reached, or is not mounted
├── NotFoundError              10   no such vault, snapshot, repository, tag or digest
├── LeaseHeldError             11   another writer is at work
├── CredentialError            12   wrong or missing key or credential
├── SourceError                 1   something of the live registry cannot be read
│   └── SourceTooLargeError     1   it is larger than such a thing ever is
└── StoreError                      what an object store answered (see the classes below)
    ├── ObjectNotFoundError    10   no such key
    ├── PreconditionError       1   If-Match or If-None-Match did not hold
    ├── DigestMismatchError     1   the bytes streamed are not the digest that was promised
    ├── StoreUnavailableError   6   unreachable, throttled, timed out
    ├── ObjectArchivedError     6   it lies in an archive, and has to be thawed before it is read
    ├── StoreFullError          6   no space, no inodes, quota
    ├── StoreAccessError       12   credentials are missing, wrong, or do not suffice
    ├── ReadOnlyStoreError     12   the store cannot be written (mount, role)
    └── StoreMissingError      10   the bucket or the root directory does not exist

Errors of the vault, of the source and of the configuration never share a path (invariant 9):
`regvault.registry` turns each StoreError of a *source* into a SourceError or a
SourceUnavailableError; a StoreError that reaches the command line is of a vault or a target.

The libraries below (botocore, os) are translated at the edge, in `regvault.storage`.
"""

from __future__ import annotations

__all__ = [
    "EXIT_CODES",
    "ConfigurationError",
    "CredentialError",
    "DigestMismatchError",
    "LeaseHeldError",
    "LeaseLostError",
    "NotFoundError",
    "ObjectArchivedError",
    "ObjectNotFoundError",
    "PreconditionError",
    "ReadOnlyStoreError",
    "RefusedError",
    "RegvaultError",
    "SourceError",
    "SourceTooLargeError",
    "SourceUnavailableError",
    "StoreAccessError",
    "StoreError",
    "StoreFullError",
    "StoreMissingError",
    "StoreUnavailableError",
    "TemporaryError",
    "UnknownFormatError",
    "UsageError",
    "VaultDamagedError",
]

EXIT_CODES: dict[int, str] = {
    0: "done, all of it",
    1: "failed: nothing of what was asked is to be relied on",
    2: "usage or configuration",
    3: "done in part: new damage or something unreadable at the source, a held snapshot, a finding",
    4: "the vault is damaged",
    5: "refused for safety",
    6: "temporary: unreachable, throttled, full; worth trying again as it is",
    10: "no such vault, snapshot, repository, tag or digest",
    11: "another writer holds the lease",
    12: "wrong or missing key or credential",
    130: "interrupted (SIGINT)",
    143: "interrupted (SIGTERM)",
}


class RegvaultError(Exception):
    """Base of all errors that regvault raises on purpose.

    Attributes:
        message: what failed, on what.
        hint: what to do next, or None.
        code: a stable word for machines (`--json`), one for each class.
        exit_code: the exit code of the command that it ends.
    """

    exit_code: int = 1
    code: str = "failed"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RegvaultError):
    """The command line asks for something that makes no sense."""

    exit_code = 2
    code = "usage"


class ConfigurationError(UsageError):
    """The configuration file is wrong."""

    code = "configuration"


class VaultDamagedError(RegvaultError):
    """Stored bytes of the vault are not what their name or checksum says.

    Attributes:
        key: of the object whose bytes they are; None where it is not known or not one alone.
    """

    exit_code = 4
    code = "vault-damaged"

    #: Where nothing better is known.
    HINT = (
        "See what it takes with it: regvault verify --read-data. Mend it from the registry, or a "
        "copy: regvault repair --from WHERE"
    )

    def __init__(self, message: str, *, hint: str | None = None, key: str | None = None) -> None:
        super().__init__(message, hint=hint or self.HINT)
        self.key = key


class RefusedError(RegvaultError):
    """Refused for safety."""

    exit_code = 5
    code = "refused"


class UnknownFormatError(RefusedError):
    """The vault was written by a newer regvault."""

    code = "unknown-format"


class LeaseLostError(RefusedError):
    """Another party ended this run; it must not write any more."""

    code = "lease-lost"


class TemporaryError(RegvaultError):
    """Worth trying again as it is."""

    exit_code = 6
    code = "temporary"


class SourceUnavailableError(TemporaryError):
    """The registry to read cannot be reached, or is not mounted."""

    code = "source-unavailable"


class NotFoundError(RegvaultError):
    """No such vault, snapshot, repository, tag or digest."""

    exit_code = 10
    code = "not-found"


class LeaseHeldError(RegvaultError):
    """Another writer is at work."""

    exit_code = 11
    code = "lease-held"


class CredentialError(RegvaultError):
    """A key or a credential is wrong or missing."""

    exit_code = 12
    code = "credential"


class SourceError(RegvaultError):
    """Something of the live registry cannot be read."""

    code = "source"


class SourceTooLargeError(SourceError):
    """Something of the live registry is larger than such a thing ever is."""

    code = "source-too-large"


class StoreError(RegvaultError):
    """What an object store answered.

    Attributes:
        key: the key that was asked for, or "" where the whole store is meant.
    """

    code = "store"

    def __init__(self, message: str, *, key: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.key = key


class ObjectNotFoundError(StoreError):
    """No such key."""

    exit_code = 10
    code = "object-not-found"


class PreconditionError(StoreError):
    """If-Match or If-None-Match did not hold."""

    code = "precondition"


class DigestMismatchError(StoreError):
    """The bytes streamed are not the digest, or not the size, that was promised."""

    code = "digest-mismatch"


class StoreUnavailableError(StoreError, TemporaryError):
    """Unreachable, throttled, or timed out after all retries."""

    exit_code = 6
    code = "store-unavailable"


class ObjectArchivedError(StoreError, TemporaryError):
    """It lies in an archive class, and has to be thawed before it can be read."""

    exit_code = 6
    code = "archived"


class StoreFullError(StoreError, TemporaryError):
    """No space, no inodes, or over quota."""

    exit_code = 6
    code = "store-full"


class StoreAccessError(StoreError, CredentialError):
    """Credentials are missing, wrong, or do not suffice."""

    exit_code = 12
    code = "access-denied"


class ReadOnlyStoreError(StoreAccessError):
    """The store cannot be written: a read-only mount, or a reader's credentials."""

    code = "read-only"


class StoreMissingError(StoreError):
    """The bucket or the root directory does not exist."""

    exit_code = 10
    code = "store-missing"
