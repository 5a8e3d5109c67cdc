"""Look at a vault: its store, and what is in it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from regvault.errors import (
    NotFoundError,
    RegvaultError,
    StoreAccessError,
    StoreMissingError,
)
from regvault.model.classes import archives_of
from regvault.model.doctor import Asked, BucketFacts, Credentials, ask, unasked
from regvault.ops.doctor.keys import try_identities, try_signing
from regvault.ops.doctor.trials import nothing_written, try_store
from regvault.ops.tier.outside import in_archive
from regvault.ops.unlock import parties
from regvault.policy.doctor import access, contents, keys
from regvault.policy.doctor.bucket import judge_bucket, judge_bucket_trials, judge_spool
from regvault.policy.doctor.check import Check, error, failed, ok, skipped
from regvault.policy.doctor.disk import judge_above, judge_disk
from regvault.vault.certain import MAX_SKEW_S
from regvault.vault.downgrade import GIVEN, IF_PLAIN, SEALED_ROOT, first_sealed
from regvault.vault.keys import (
    CATALOG,
    CONDEMNED,
    FORMAT,
    LEASES,
    LOCKS,
    OBJECT_PREFIXES,
    PROBES,
    PRUNE_LOCK,
    RECORDS,
    SNAPSHOTS,
    VAULT_JSON,
)
from regvault.vault.pack import PACK_BYTES
from regvault.vault.prune_lock import PRUNE_REQUEST_S
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.doctor import DiskFacts, StoreProbe, Trials
    from regvault.model.store import ObjectStore
    from regvault.ops.doctor.subjects import DoctorOptions, VaultSubject
    from regvault.vault.root import Root

__all__ = ["examine_vault"]

#: Of everything in a vault, for lifecycle rules to be held against.
_NAMES = (
    VAULT_JSON,
    *OBJECT_PREFIXES,
    SNAPSHOTS,
    CATALOG,
    RECORDS,
    LEASES,
    CONDEMNED,
    LOCKS,
    "audit/",
    "evidence/",
)
#: What only a directory that is there shows.
_TRIED = (
    "clock",
    "permission-delete",
    "create-only",
    "compare-and-swap",
    "read-after-write",
    "range-read",
    "durable",
)
#: What only restores read.
_COLD = ("blobs/", "packs/")
#: Each run leaves its lease, and reading one takes three requests.
_NEWEST_LEASES = 100


def examine_vault(subject: VaultSubject, options: DoctorOptions) -> Iterator[Check]:
    """Yield the checks of one vault."""
    try:
        store, probe = subject.open(options.write)
    except StoreMissingError as missing:
        yield from _missing(subject, missing, options)
        return
    except RegvaultError as problem:
        yield _unreachable(problem)
        return
    try:
        yield from _Examination(subject, store, probe, options).checks()
    finally:
        store.close()


def _missing(
    subject: VaultSubject, missing: StoreMissingError, options: DoctorOptions
) -> Iterator[Check]:
    """Yield the checks of a vault whose directory is not there."""
    if not options.new:
        hint = f"{missing.hint}. Before the first run: regvault init, or look with --new."
        yield error("reachable", missing.message, hint, missing.exit_code)
        return
    above = ask(subject.above)
    if above.value is None:
        yield failed("reachable", above)
        return
    yield ok("reachable", f"{missing.message}: regvault init makes it")
    yield from judge_above(above.value)
    for check in _TRIED:
        yield skipped(check, "there is no directory yet to try it in: after init, look again")


def _unreachable(problem: RegvaultError) -> Check:
    asked = ask(lambda: _raise(problem))
    return error("reachable", asked.why, asked.hint, asked.exit_code)


def _raise(problem: RegvaultError) -> bool:
    raise problem


class _Examination:
    """One look at one vault that was opened."""

    def __init__(
        self, subject: VaultSubject, store: ObjectStore, probe: StoreProbe, options: DoctorOptions
    ) -> None:
        self._subject = subject
        self._store = store
        self._probe = probe
        self._options = options
        self._vault: Vault | None = None
        self._empty = False
        self._lists = True
        self._newest: list[Root] = []

    def checks(self) -> Iterator[Check]:
        """Yield all checks."""
        try:
            listing = self._probe.reach()
        except RegvaultError as problem:
            yield _unreachable(problem)
            if isinstance(problem, StoreAccessError):
                yield from self._clock()  # a clock that is wrong makes every signature wrong
            return
        facts = ask(self._probe.look)
        is_bucket = isinstance(facts.value, BucketFacts)
        known = "the server answers, and knows these credentials"
        yield ok("reachable", known if is_bucket else "the directory is there, and can be listed")
        yield access.judge_listing(listing)
        self._lists = bool(listing.value)
        yield from self._contents()
        trials = self._trials()
        if is_bucket or trials.written.value:
            yield from self._clock()
        else:
            yield skipped("clock", "a file system shows its clock only to those who write")
        yield from self._access(trials, bucket=is_bucket)
        if facts.value is None:
            yield failed("file-system", facts)
        elif isinstance(facts.value, BucketFacts):
            yield from self._bucket(facts.value, trials)
        else:
            yield from self._disk(facts.value)

    # What is in it

    def _contents(self) -> Iterator[Check]:
        yield self._open()
        if self._vault is None or not self._lists:
            no_vault = "there is no vault that can be read"
            for check in ("snapshots", "identity", "sign-key", "leases", "prune-lock"):
                yield skipped(check, "keys cannot be listed" if self._vault else no_vault)
            return
        yield self._snapshots(self._vault)
        if archives_of(self._store):
            yield self._archived(self._vault)
        yield from self._keys(self._vault)
        yield from self._parties(self._vault)

    def _open(self) -> Check:
        check = "vault-format"
        try:
            self._vault = Vault(self._store)
        except NotFoundError as missing:
            found = ask(self._what_is_there)
            return failed(check, found) if found.value is None else self._none(missing, found.value)
        except RegvaultError as problem:
            return _unreachable(problem)._replace(id=check)
        return ok(
            check, f"vault {self._vault.id}, format {FORMAT}, made {self._vault.created[:10]}"
        )

    def _what_is_there(self) -> str:
        """Return the first key of a place that has no vault; "" where it is empty."""
        keys = (entry.key for entry in self._store.list() if not entry.key.startswith(PROBES))
        return next(keys, "")

    def _none(self, missing: NotFoundError, first: str) -> Check:
        check = "vault-format"
        if first.startswith("docker/registry/"):
            return error(
                check,
                "there is a registry at this place, not a vault",
                "A vault needs a place of its own, beside the registry.",
                missing.exit_code,
            )
        if first:
            return error(
                check,
                f"there is no vault, but something else: {first}",
                "Is the path right? A vault needs a directory or a prefix of its own.",
                missing.exit_code,
            )
        self._empty = True
        if self._options.new:
            return ok(check, "the place is empty: regvault init makes a vault")
        hint = f"{missing.hint} To probe a place before `init`: regvault doctor --new"
        return error(check, missing.message, hint, missing.exit_code)

    def _snapshots(self, vault: Vault) -> Check:
        """Read the newest root of each registry: every run begins with them."""
        check = "snapshots"

        def read() -> list[str]:
            names = vault.registries()
            self._newest = [r for name in names if (r := next(vault.roots(name), None)) is not None]
            return names

        names = ask(read)
        if names.value is None:
            return failed(check, names)
        if not names.value:
            return ok(check, "none yet")
        newest = ", ".join(str(root.name) for root in self._newest[:5])
        more = ", ..." if len(self._newest) > 5 else ""
        return ok(check, f"the newest can be read: {newest}{more}")

    def _archived(self, vault: Vault) -> Check:
        """Look whether the newest snapshots can be read at once."""
        found = ask(lambda: in_archive(vault, self._newest, threads=self._subject.threads))
        if found.value is None:
            return failed("archived", found)
        outside = {name: each.objects for name, each in found.value.items()}
        promised = sum(each.promised for each in found.value.values())
        return contents.judge_archived(outside, promised)

    def _keys(self, vault: Vault) -> Iterator[Check]:
        """Try what the keys that are given open, and whether there is one to sign with."""
        role, roots = self._options.role, self._newest
        given = ask(self._subject.identities)
        if given.value is None:
            yield keys.judge_no_key("identity", given)
        elif vault.sealing_key is None:
            yield keys.judge_not_sealed(
                GIVEN if given.value else SEALED_ROOT if first_sealed(roots) else "", IF_PLAIN
            )
        elif not given.value:
            yield keys.judge_no_identity(role)
        else:
            identities = given.value
            yield keys.judge_identity(ask(lambda: try_identities(vault, roots, identities)), role)
        signing = ask(self._subject.signing)
        if signing.value is None:
            yield keys.judge_no_key("sign-key", signing)
        else:
            own = signing.value
            yield keys.judge_sign_key(ask(lambda: try_signing(vault, roots, own)), role)

    def _parties(self, vault: Vault) -> Iterator[Check]:
        asked = ask(lambda: list(parties(vault, newest=_NEWEST_LEASES)))
        if asked.value is None:
            yield failed("leases", asked)
            yield skipped("prune-lock", "the leases cannot be read")
            return
        leases = [party for party in asked.value if party.key != PRUNE_LOCK]
        yield contents.judge_leases(
            alive=sum(not party.dead for party in leases),
            dead=[f"{party.role} {party.run}" for party in leases if party.dead],
            looked_at=f"of the newest {_NEWEST_LEASES} leases",
        )
        lock = next((party for party in asked.value if party.key == PRUNE_LOCK), None)
        yield contents.judge_prune_lock(
            state="" if lock is None else str(lock.body.get("state")),
            run="" if lock is None else lock.run,
            dead=lock is not None and lock.dead,
            idle_s=0.0 if lock is None else lock.idle_s,
            patience_s=PRUNE_REQUEST_S,
        )

    # What it lies on

    def _trials(self) -> Trials:
        if not self._options.write:
            return nothing_written(unasked("--no-write: nothing is written"))
        if self._vault is None and not (self._empty and self._options.new):
            return nothing_written(unasked("nothing is written where there is no vault"))
        return try_store(self._store, self._probe, lists=self._lists)

    def _clock(self) -> Iterator[Check]:
        skew = ask(lambda: (self._store.now_ns() - time.time_ns()) / 1e9)
        if skew.value is None:
            yield failed("clock", skew)
        else:
            yield access.judge_clock(skew.value, limit_s=MAX_SKEW_S)

    def _access(self, trials: Trials, *, bucket: bool) -> Iterator[Check]:
        role = self._options.role
        read = trials.read_back
        if not read.tried and self._vault is not None:
            read = Asked(True)  # vault.json was
        elif read.value is False:
            read = Asked(True)  # that it is wrong, read-after-write says
        yield access.judge_reading(read)
        yield access.judge_writing(trials.written, role)
        yield access.judge_deleting(trials.deleted, role, bucket=bucket)
        yield access.judge_creates(trials.winners, trials.writers)
        yield access.judge_swap(trials.swapped)
        yield access.judge_read_after_write(trials.listed, trials.read_back)
        yield access.judge_ranges(trials.ranged)
        if not bucket:
            yield access.judge_durable(trials.durable)

    def _bucket(self, facts: BucketFacts, trials: Trials) -> Iterator[Check]:
        role = self._options.role
        if trials.bucket is not None:
            yield from judge_bucket_trials(trials.bucket, role, facts.lock)
        else:
            for check in ("permission-delete-versions", "checksums", "multipart"):
                yield skipped(check, trials.read_back.why)
        yield from judge_bucket(facts, role, names=_NAMES, cold=_COLD, harmless=(PROBES,))
        if role is Credentials.READER:
            return  # what is spooled is what is written
        yield judge_spool(
            facts.spool, needed=2 * PACK_BYTES, usual=max(2, self._subject.threads) * PACK_BYTES
        )

    def _disk(self, facts: DiskFacts) -> Iterator[Check]:
        newest = max((root.counts.nbytes for root in self._newest), default=None)
        yield from judge_disk(facts, newest_bytes=newest)
