"""Judged: the keys that a vault is opened with, and signed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regvault.model.doctor import Credentials
from regvault.policy.doctor.check import Check, error, failed, ok, warning

if TYPE_CHECKING:
    from regvault.model.doctor import Asked, Openings, Signing

__all__ = [
    "judge_identity",
    "judge_no_identity",
    "judge_no_key",
    "judge_not_sealed",
    "judge_sign_key",
]

#: Of a command that lacks a key: see docs/exit-codes.md.
_KEYS = 12
_REFUSED = 5
_NAME_IT = "Name it: --identity file:/PATH, `identity` in the configuration, or $REGVAULT_IDENTITY."
_NONE = "sealed, and no identity is given"
_LIST = "See to whom it is sealed: regvault key list"


def judge_no_key(check: str, asked: Asked[Any]) -> Check:
    """Judge a key that is named, and cannot be read: every command fails, whatever the role."""
    hint = asked.hint or "Put it where it is said to be, or name another place."
    return error(check, asked.why, hint, asked.exit_code)


# Who can open it


def judge_not_sealed(wrong: str, hint: str) -> Check:
    """Judge a vault that needs no identity; `wrong`: why it is meant to be sealed, or ""."""
    if wrong:
        return error("identity", f"{wrong}: nothing is written", hint, _REFUSED)
    return ok("identity", "not sealed")


def judge_no_identity(role: Credentials) -> Check:
    """Judge that a sealed vault is looked at without an identity."""
    check = "identity"
    if role is Credentials.PRUNER:
        return ok(check, f"{_NONE}, as it should be for a pruner")
    if role is Credentials.WRITER:
        return error(check, f"{_NONE}: no snapshot is taken", _NAME_IT, _KEYS)
    if role is Credentials.READER:
        return error(check, f"{_NONE}: nothing is restored", _NAME_IT, _KEYS)
    return warning(
        check,
        f"{_NONE}: it can be verified, copied and pruned from here, and "
        "neither a backup nor a restore works",
        _NAME_IT,
    )


def judge_identity(asked: Asked[Openings], role: Credentials) -> Check:
    """Judge what identities open of a sealed vault."""
    check, found = "identity", asked.value
    if found is None:
        return failed(check, asked)
    if not found.vault:
        which = (
            "the identity that is" if found.given == 1 else f"none of the {found.given} that are"
        )
        opens = "opens nothing" if found.given == 1 else "opens anything"
        return error(check, f"{which} given {opens} of this vault", _LIST, _KEYS)
    if role is Credentials.PRUNER:
        return ok(check, f"{_opened(found)}; a pruner needs no identity")
    if not all(found.names):
        return error(
            check,
            f"{found.names.count(False)} of {len(found.names)} roots and lists that were tried "
            "stay closed: what is stored stays sealed to whom it was then",
            "A host needs the file that `regvault key rotate` made, which holds the older identity "
            f"too; a recipient who was added later needs an older one's as well. {_LIST}",
            _KEYS,
        )
    if not found.writes and role is not Credentials.READER:
        return _closed_tomorrow(found, role)
    return _contents(found, role)


def _closed_tomorrow(found: Openings, role: Credentials) -> Check:
    """Judge identities that open what is there, and not what will be written."""
    what = f"{_opened(found)}, but what is written from now on is sealed to others"
    hint = "Use the file that `regvault key rotate` made, or ask to be a recipient: regvault key "
    hint += "add-recipient"
    if role is Credentials.WRITER:
        return error("identity", f"{what}: the host must read its own lists", hint, _KEYS)
    return warning("identity", what, hint)


def _contents(found: Openings, role: Credentials) -> Check:
    check = "identity"
    tried = found.contents or (found.reads_contents,)
    if all(tried):
        if found.host_reads and role is not Credentials.READER:
            return warning(
                check,
                f"{_opened(found)}: the host that takes snapshots is a recipient itself, so who "
                "takes it over reads every image, which sealing is there to prevent",
                "Begin a new vault, whose host has an identity of its own: what is stored here "
                f"stays open to this one. {_LIST}",
            )
        if role is Credentials.WRITER:
            return warning(
                check,
                f"{_opened(found)}: who takes over this host reads every image, which sealing is "
                "there to prevent",
                "Keep the recipient's identity elsewhere, offline; this host needs its own only, "
                f"which opens names. {_LIST}",
            )
        return ok(check, _opened(found))
    if any(tried):
        what = f"{_opened(found)}: what was stored before is sealed to others"
        hint = f"A restore needs an identity of theirs as well, in one file. {_LIST}"
        if role is Credentials.READER:
            return error(check, what, hint, _KEYS)
        return warning(check, what, hint)
    if role is Credentials.READER:
        return error(
            check,
            f"{_opened(found)}: nothing is restored",
            f"It is the host's that takes snapshots. A restore needs a recipient's. {_LIST}",
            _KEYS,
        )
    if role is Credentials.WRITER:
        return ok(check, f"{_opened(found)}, as it should be where snapshots are taken")
    return ok(check, f"{_opened(found)}: snapshots are taken from here, and nothing is restored")


def _opened(found: Openings) -> str:
    """Return what is opened, for people."""
    tried = found.contents or (found.reads_contents,)
    parts = {(True, True): "names and contents", (False, True): "names and some contents"}
    what = parts.get((all(tried), any(tried)), "names only")
    if found.contents:
        return f"opens {what} (tried on {found.snapshot})"
    return f"opens {what} (as its key records say; there is nothing yet to try it on)"


# Who signs it


def judge_sign_key(asked: Asked[Signing], role: Credentials) -> Check:
    """Judge the key to sign with, and whose signatures count."""
    check, found = "sign-key", asked.value
    if found is None:
        return failed(check, asked)
    if found.refused:
        return error(
            check,
            f"{found.refused}: every command refuses this vault",
            "Trust the key that signed it, after comparing it: regvault key list, `trusted_keys` "
            "in the configuration, or $REGVAULT_TRUSTED_KEYS. If nobody's key did, compare the "
            "vault with a second copy.",
            4,
        )
    if not found.signer:
        return _no_signer(found, role)
    if role is Credentials.READER:
        return warning(
            check,
            f"key {found.signer} can sign from here, which a reader does not need",
            "Take it away: who takes over this host could write snapshots that others trust. "
            "A reader needs public keys only: `trusted_keys`.",
        )
    if found.trusts and not found.trusts_itself:
        return warning(
            check,
            f"key {found.signer} signs, and is not among the trusted keys that are given: who "
            "trusts these alone refuses what it signs",
            "Add its public key to `trusted_keys` ($REGVAULT_TRUSTED_KEYS), here and wherever the "
            "vault is read.",
        )
    if not found.signed:
        return ok(check, f"key {found.signer} signs; the vault takes what is not signed as well")
    return ok(check, f"signed, and key {found.signer} signs")


def _no_signer(found: Signing, role: Credentials) -> Check:
    check = "sign-key"
    if not found.signed:
        return ok(check, "not signed")
    hint = (
        "Name it: `sign_key` in the configuration, or $REGVAULT_SIGN_KEY: file:/PATH or env:NAME."
    )
    what = "signed, and no key to sign with is given"
    if role in (Credentials.WRITER, Credentials.PRUNER):
        return error(check, f"{what}: nothing can be committed", hint, _KEYS)
    if role is Credentials.ANY:
        return warning(check, f"{what}: a backup fails; a restore works", hint)
    if not found.trusts:
        return warning(
            check,
            "signed, and no trusted keys are given: signatures are passed over, and what anybody "
            "has forged is taken",
            "Name the public keys that count: `trusted_keys` in the configuration, or "
            "$REGVAULT_TRUSTED_KEYS. Ask whoever signs for them, not the vault.",
        )
    return ok(check, "signed; what the trusted keys signed is taken")
