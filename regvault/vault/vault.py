"""A vault: opened, its chains of roots, its trees."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from regvault.errors import NotFoundError, ObjectNotFoundError, VaultDamagedError
from regvault.vault.amendments import Amended, brought_along, first_names, read_amendments
from regvault.vault.envelope import SEALED, read_document
from regvault.vault.fetch import fetch, fetch_document
from regvault.vault.keyring import open_seal
from regvault.vault.keys import SNAPSHOTS, VAULT_JSON, root_key
from regvault.vault.locks import Locks
from regvault.vault.objectlist import Amendments, ObjectList
from regvault.vault.records import read_records
from regvault.vault.root import Root, RootName, parse_root
from regvault.vault.sealing import PLAIN, ProvenSealedError, Seal, SealedToOthersError
from regvault.vault.signing import NO_KEYS, Keys, VaultId, check_signatures
from regvault.vault.slots import numbers
from regvault.vault.tree import MAX_STORED, ChunkRef, Node, Tree, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.model.store import ObjectStore
    from regvault.vault.kept import KeptChunks
    from regvault.vault.objectlist import ListRef
    from regvault.vault.tree import TreeRef

__all__ = ["LOST_VAULT_JSON", "Vault"]

_NODES_KEPT = 256
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


#: What helps where `vault.json` is gone or damaged.
LOST_VAULT_JSON = (
    "Make it again from what the snapshots say: regvault repair --dry-run. A new vault.json, or "
    "that of a copy, is another vault's, and no snapshot here would belong to it."
)


def _sealing_key(body: dict[str, Any]) -> str | None:
    """Return the id of the naming key that the `vault.json` of a sealed vault states, else None.

    Raises:
        VaultDamagedError: it states none.
    """
    if SEALED not in body.get("features", ()):
        return None
    sealing = body.get("sealing")
    key = sealing.get("key") if isinstance(sealing, dict) else None
    if not isinstance(key, str) or not _ID.fullmatch(key):
        raise VaultDamagedError(
            f"{VAULT_JSON} is damaged: it does not say which key it is sealed with",
            hint=LOST_VAULT_JSON,
        )
    return key


class Vault:
    """One vault that exists. Thread-safe.

    Attributes:
        store: where it is.
        id: its permanent id.
        created: RFC 3339 UTC.
        sealing_key: of a sealed vault, the id of the key that names are made with; else None.
        locks: what is locked for how long.
        on_proof: is told (key, size in bytes) of each chunk of a tree that was read and proven.
    """

    def __init__(self, store: ObjectStore, keys: Keys = NO_KEYS) -> None:
        """Open it.

        Args:
            store: where it is.
            keys: what to sign with, and whose signatures count. In a vault that was made for
                signed documents, the key to sign with counts too.

        Raises:
            NotFoundError: there is no vault.
            VaultDamagedError, UnknownFormatError: there is one that cannot be used.
            UntrustedError: `vault.json` is not signed by whom is trusted.
        """
        self.store = store
        try:
            data = fetch_document(store, VAULT_JSON)
        except ObjectNotFoundError:
            if next(iter(store.list(SNAPSHOTS)), None) is not None:
                raise VaultDamagedError(
                    f"{VAULT_JSON} is gone from the vault at {store.location}",
                    hint=LOST_VAULT_JSON,
                ) from None
            raise NotFoundError(
                f"there is no vault at {store.location}",
                hint="Make one with: regvault init VAULT. If there was one: is it mounted, is the "
                "path right? One that was deleted from a bucket with versioning is there still: "
                "--vault-at TIME.",
            ) from None
        try:
            document = read_document(data, VAULT_JSON, types=("vault",), vault=None)
        except VaultDamagedError as error:
            raise VaultDamagedError(error.message, hint=LOST_VAULT_JSON) from None
        body, signed = document.body, bool(document.signatures)
        if signed and keys.signer is not None:
            keys = keys._replace(trusted=(*keys.trusted, keys.signer.public))
        identity = body.get("vault")
        if (
            not isinstance(identity, str)
            or not _ID.fullmatch(identity)  # it becomes the name of a directory of the cache
            or not isinstance(body.get("created"), str)
        ):
            raise VaultDamagedError(
                f"{VAULT_JSON} is damaged: it does not say which vault this is",
                hint=LOST_VAULT_JSON,
            )
        self.id = VaultId(identity, keys, signed=signed)
        check_signatures(self.id, VAULT_JSON, data.split(b"\n", 1)[0], document.signatures)
        self.created: str = body["created"]
        self.sealing_key = _sealing_key(body)
        self._seal: Seal | None = None if self.sealing_key is not None else PLAIN
        self.locks = Locks(store, identity)
        self.on_proof: Callable[[str, int], None] | None = None
        self.kept: KeptChunks | None = None
        self._lock = threading.Lock()
        self._nodes: OrderedDict[tuple[str, str], Node] = OrderedDict()
        self._amended: Amended | None = None
        self._all_amendments = False
        self._confirmations: list[dict[str, Any]] | None = None
        self._titles: dict[str, str] | None = None

    @property
    def seal(self) -> Seal:
        """How its contents are sealed; that of a plain vault changes nothing. Read once.

        Raises:
            CredentialError: it is sealed, and no identity that was given opens it.
            VaultDamagedError: the key records are gone.
        """
        if self._seal is None:
            assert self.sealing_key is not None
            identities = self.id.keys.identities
            self._seal = open_seal(self.store, self.id, self.sealing_key, identities)
        return self._seal

    def forget_seal(self) -> None:
        """Have the key records read again."""
        self._seal = PLAIN if self.sealing_key is None else None

    def titles(self) -> dict[str, str]:
        """Return the names of the registries that are known: id -> name. {} in a plain vault."""
        if self.sealing_key is None:
            return {}
        if self._titles is None:
            found: dict[str, str] = {}
            for registry in self.registries():
                for root in self.roots(registry, damaged=lambda _: None):
                    if root.name.label:
                        found[registry] = root.name.label
                    if root.name.label or not self.seal.opens_names:
                        break
            self._titles = found
        return self._titles

    def title(self, registry: str) -> str:
        """Return the name of a registry, for people; its id where its name is not known."""
        return self.titles().get(registry, registry)

    @property
    def amended(self) -> Amended:
        """What became of keys that roots name, and what was purged; read once.

        What cannot be read of it is left out (`verify` names it): a reader proves each blob by
        its digest, so it gets all the others. Who writes calls `require_amendments` first.
        """
        if self._amended is None:
            leave = not self._all_amendments
            self._amended = read_amendments(self.store, self.id, leave_damaged=leave)
        return self._amended

    @property
    def amendments(self) -> Amendments:
        """What became of keys that roots name."""
        return self.amended.changes

    def purged(self, root: Root) -> frozenset[str]:
        """Return the names of the contents that were purged from a snapshot: see `Seal.name`."""
        return self.amended.purged | brought_along(root).purged

    def require_amendments(self) -> None:
        """Read all of the amendments, again if need be.

        Raises:
            VaultDamagedError: one cannot be read, or is gone.
        """
        self._amended = read_amendments(self.store, self.id)
        self._all_amendments = True

    def look_again(self) -> None:
        """Read amendments anew when they are asked for next: a purge or a repair may have ended."""
        self._amended = None

    @property
    def confirmations(self) -> list[dict[str, Any]]:
        """Which held snapshots were confirmed; read once.

        A damaged one confirms nothing: its snapshot stays held, and no backup waits for a repair.
        """
        if self._confirmations is None:
            self._confirmations = read_records(
                self.store, self.id, "confirmations", leave_damaged=True
            )
        return self._confirmations

    def registries(self) -> list[str]:
        """Return the names of all registries, sorted; in a sealed vault, their ids."""
        return sorted(self.store.list_prefixes(SNAPSHOTS))

    def slots(self, registry: str) -> list[int]:
        """Return the numbers of all filled slots of a chain, ascending: roots, stubs and voids."""
        prefix = f"{SNAPSHOTS}{registry}/"
        return numbers(self.store, prefix, lambda number: root_key(registry, number))

    def read_slot(self, name: RootName, *, unopened: bool = False) -> Root | None:
        """Return the root in a slot, or None where there is a void or a stub.

        Args:
            name: of the slot.
            unopened: do without what a sealed one tells of its contents.

        Raises:
            NotFoundError: the slot is empty.
            VaultDamagedError: what is there is none of these.
        """
        try:
            data = fetch_document(self.store, name.key)
        except ObjectNotFoundError:
            raise NotFoundError(
                f"there is no snapshot {name}", hint="See: regvault snapshots"
            ) from None
        return parse_root(data, name, self.id, PLAIN) if unopened else self.parse_root(data, name)

    def parse_root(self, data: bytes, name: RootName) -> Root | None:
        """Parse what is in a slot; None where it is a void or a stub. Raises VaultDamagedError."""
        return parse_root(data, name, self.id, self.seal)

    def roots(
        self, registry: str, *, damaged: Callable[[VaultDamagedError], None] | None = None
    ) -> Iterator[Root]:
        """Yield the roots of a chain, the newest first.

        Args:
            registry: whose.
            damaged: is told of a root that cannot be read, which is passed over; None raises.
        """
        for sequence in reversed(self.slots(registry)):
            try:
                root = self.read_slot(RootName(registry, sequence))
            except VaultDamagedError as error:
                if damaged is None:
                    raise
                damaged(error)
                continue
            if root is not None:
                yield root

    def all_roots(self) -> Iterator[Root]:
        """Yield the roots of all chains that can be read, the newest of each first."""
        for registry in self.registries():
            yield from self.roots(registry, damaged=lambda _: None)

    def first_names(self) -> set[str]:
        """Return the keys whose lines in the catalog tell of other objects; see `Catalog.merge`.

        Only in a sealed vault: in others each object has lines of its own.
        """
        return set() if self.sealing_key is None else first_names(self.amendments, self.all_roots())

    def object_list(self, root: Root) -> ObjectList:
        """Return the object list of a root, with the vault's amendments applied."""
        amendments = self.amendments
        brought = brought_along(root).changes
        if brought:
            amendments = {**amendments, **brought}
        return self.list_of(root.objects, amendments)

    def list_of(self, ref: ListRef, amendments: Amendments) -> ObjectList:
        """Return an object list that a root, or the stub of one, names."""
        return ObjectList(
            ref, lambda kind, chunk: self._node(kind, chunk, None, keyed=True), amendments
        )

    def tree(self, kind: str, ref: TreeRef | ChunkRef, objects: ObjectList) -> Tree:
        """Return a tree of a snapshot whose object list is `objects`.

        Raises:
            CredentialError: the root that is to name it was not opened.
        """
        top = ref if isinstance(ref, ChunkRef) else ref.top
        if not top.digest:
            self.seal.name("")  # refuses where no identity was given
            raise ProvenSealedError(None)
        return Tree(top, lambda chunk: self._node(kind, chunk, objects, keyed=False))

    def _node(self, kind: str, ref: ChunkRef, objects: ObjectList | None, *, keyed: bool) -> Node:
        with self._lock:
            node = self._nodes.get((kind, ref.digest))
            if node is not None:
                self._nodes.move_to_end((kind, ref.digest))
                return node
        data = self.chunk_bytes(ref, objects)
        node = parse(data, ref.key or ref.digest, kind, keyed=keyed)
        with self._lock:
            self._nodes[kind, ref.digest] = node
            if len(self._nodes) > _NODES_KEPT:
                self._nodes.popitem(last=False)
        return node

    def chunk_bytes(self, ref: ChunkRef, objects: ObjectList | None) -> bytes:
        """Return the frame that a chunk is, proven against its digest.

        Raises:
            VaultDamagedError: no object that may hold it has these bytes.
        """
        if self.kept is not None and (kept := self.kept.get(ref.digest)) is not None:
            return kept
        # Object lists say the key, and are not sealed.
        seal = PLAIN if ref.key else self.seal
        plain = ref.key or seal.chunk_key(ref.digest.partition(":")[2])
        problem = bad = ""
        places: list[tuple[str, str]] = [] if seal.sealed else [(plain, "")]
        if seal.sealed and objects is not None:
            places = [(r.key, r.sha256) for r in objects.variants(plain)]
            objects = None
        if not places:
            problem = f"the chunk {plain} is in no list of objects"
        others: SealedToOthersError | None = None
        while places:
            key, sha256 = places.pop(0)
            try:
                stored = fetch(self.store, key, MAX_STORED)
                # What the list does not prove is not opened: see `age.check_header`.
                if sha256 and hashlib.sha256(stored).hexdigest() != sha256:
                    raise VaultDamagedError(
                        f"{key} is damaged: its bytes are not what the list of objects says"
                    )
                data = seal.open_index(stored, key)
            except ObjectNotFoundError:
                problem = problem or f"{key} is gone"
            except SealedToOthersError as error:
                others = others or ProvenSealedError(error.key)
                problem, bad = problem or error.message, bad or key
            except VaultDamagedError as error:
                problem, bad = problem or error.message, bad or key
            else:
                if "sha256:" + hashlib.sha256(data).hexdigest() == ref.digest:
                    if self.on_proof is not None:
                        self.on_proof(key, len(stored))
                    if self.kept is not None:
                        self.kept.add(ref.digest, data)
                    return data
                problem = problem or f"{key} is damaged: its bytes are not what its name says"
                bad = bad or key
            if objects is not None:
                places = [(r.key, "") for r in objects.variants(plain) if r.key != key]
                objects = None
        if others is not None and others.key == bad:
            raise others
        hint = "See all of it with: regvault verify"
        raise VaultDamagedError(problem, hint=hint, key=bad or None)

    def forget_nodes(self) -> None:
        """Drop the chunks that are kept in memory."""
        with self._lock:
            self._nodes.clear()
