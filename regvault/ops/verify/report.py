"""What a verification found."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.vault.slots import gaps

if TYPE_CHECKING:
    from collections.abc import Callable

from regvault.vault.keys import is_object_key

__all__ = ["Problem", "Report"]

_KEPT = 10_000
#: Damaged objects that a record names.
_RECORDED = 1000
#: Of one gap in a row of slots, so many are named one by one.
_GAPS_NAMED = 100


class Problem(NamedTuple):
    """One thing that is wrong with the vault.

    Attributes:
        key: the object; or the digest that no object serves.
        what: `missing`, `size`, `damaged`, `unreadable`, `gap`, `chain`, `closure`, `uncatalogued`,
            `untrue` (what the catalog says of it), `untrusted` (nobody signed it whose key counts).
        detail: words for people.
        snapshots: those that are hurt, `registry@sequence`; () where it is not known or none.
    """

    key: str
    what: str
    detail: str
    snapshots: tuple[str, ...] = ()


@dataclass(slots=True)
class Report:
    """Collects problems and counts what was checked. Thread-safe.

    Attributes:
        problems: the first 10,000.
        count: all of them.
        objects, nbytes: that were read and hashed.
        present: objects that were looked up in LIST.
        carried: objects that an earlier verification found damaged, and that are still there.
            Unless they are seen to be good, they go into the record of this one.
        unopened: what was sealed to others than whose identities were given: only its stored bytes
            were proven.
        archived, archived_bytes: objects that lie in an archive, and were not read.
        wrong_members: pack or meta object -> its members with other bytes, where they are known.
    """

    problems: list[Problem] = field(default_factory=list)
    count: int = 0
    objects: int = 0
    nbytes: int = 0
    present: int = 0
    images: list[tuple[str, str, str]] = field(default_factory=list)
    wrong_members: dict[str, set[str]] = field(default_factory=dict)
    carried: set[str] = field(default_factory=set)
    unopened: int = 0
    archived: int = 0
    archived_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def add_member(self, key: str, digest: str) -> None:
        """Note that a blob in an object has other bytes than its name says."""
        self.add(key, "damaged", f"{digest} in it has other bytes")
        with self._lock:
            if sum(map(len, self.wrong_members.values())) < _KEPT:
                self.wrong_members.setdefault(key, set()).add(digest)

    def add_unopened(self) -> None:
        """Note that something could not be opened."""
        with self._lock:
            self.unopened += 1

    def add_archived(self, size: int) -> None:
        """Note an object that cannot be read since it lies in an archive.

        Args:
            size: of it, bytes.
        """
        with self._lock:
            self.archived += 1
            self.archived_bytes += size

    def add_untrue(self, key: str, digest: str) -> None:
        """Note that the catalog says of an object that a blob lies in it, and it does not."""
        self.add(key, "untrue", f"the catalog says that {digest} lies in it, and it does not")
        with self._lock:
            if sum(map(len, self.wrong_members.values())) < _KEPT:
                self.wrong_members.setdefault(key, set()).add(digest)

    def add(self, key: str, what: str, detail: str, snapshots: tuple[str, ...] = ()) -> None:
        """Report a problem; the same one of the same key is reported once."""
        with self._lock:
            if (key, what) in self._seen:
                return
            self._seen.add((key, what))
            self.count += 1
            if len(self.problems) < _KEPT:
                self.problems.append(Problem(key, what, detail, snapshots))

    def add_gaps(self, numbers: list[int], key_of: Callable[[int], str], later: str) -> None:
        """Report the slots that are empty though later ones are not.

        Args:
            numbers: of the filled ones, ascending.
            key_of: number -> key.
            later: what the later ones hold.
        """
        for gap in gaps(numbers):
            for number in gap[:_GAPS_NAMED]:
                self.add(key_of(number), "gap", f"there are later {later}, but this slot is empty")
            if len(gap) > _GAPS_NAMED:
                said = f"this slot is empty, and so are all from {key_of(gap[_GAPS_NAMED])} on"
                self.add(key_of(gap[-1]), "gap", f"there are later {later}, but {said}")

    def read(self, nbytes: int) -> None:
        """Count one object that was read."""
        with self._lock:
            self.objects += 1
            self.nbytes += nbytes

    def bad_keys(self) -> set[str]:
        """Return the keys that have problems."""
        return {problem.key for problem in self.problems}

    def damaged_objects(self) -> list[str]:
        """Return the objects whose bytes are wrong, of this and earlier verifications: 1,000."""
        found = {p.key for p in self.problems if p.what == "damaged" and is_object_key(p.key)}
        return sorted(found | self.carried)[:_RECORDED]

    def to_json(self) -> dict[str, Any]:
        """Return the part of the document that is about problems."""
        return {
            "problem_count": self.count,
            "problems": [
                {**problem._asdict(), "snapshots": list(problem.snapshots)}
                for problem in self.problems
            ],
            "damaged_images": [
                {"repository": repository, "image": image, "needs": digest}
                for repository, image, digest in self.images
            ],
            "objects_listed": self.present,
            "objects_read": self.objects,
            "bytes_read": self.nbytes,
            "unopened": self.unopened,
            "archived_not_read": {"objects": self.archived, "bytes": self.archived_bytes},
        }
