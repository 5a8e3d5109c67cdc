"""What the lifecycle rules of a bucket do to a vault in it.

The semantics are those of S3 (API reference, LifecycleRule; User Guide, "Lifecycle configuration
elements"): a rule applies to the keys that begin with its prefix; an expiration deletes current
versions, or hides them below a delete marker where versions are kept; objects in an archive class
answer 403 InvalidObjectState until they are restored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from regvault.model.doctor import LifecycleRule

__all__ = ["ARCHIVES", "Harm", "Transition", "aborts", "drops_old_versions", "expirations", "moves"]

#: Classes whose objects cannot be read before they are restored, which takes minutes to days.
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
#: Classes that serve at once, for a price a read and a least size or time that is billed.
INSTANT = frozenset(
    {"STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY"}
)


class Harm(NamedTuple):
    """A rule that reaches into a vault.

    Attributes:
        rule: its name.
        reach: what of the vault it touches, for people.
        when: it does so.
    """

    rule: str
    reach: str
    when: str


class Transition(NamedTuple):
    """A rule that moves objects of a vault to another storage class.

    Attributes:
        harm: which rule, what, when.
        storage_class: the other class.
        hot: it touches what is read by every command.
    """

    harm: Harm
    storage_class: str
    hot: bool


def _touched(rule: LifecycleRule, prefix: str, names: Iterable[str]) -> list[str]:
    """Return which of the vault's names (`vault.json`, `blobs/`, ...) a rule applies to.

    Sizes are not weighed: no bound of one leaves out all objects of a kind for sure.
    """
    if not rule.enabled or rule.tagged:
        return []
    if prefix.startswith(rule.prefix):
        return list(names)
    if not rule.prefix.startswith(prefix):
        return []
    rest = rule.prefix[len(prefix) :]
    return [name for name in names if name.startswith(rest) or rest.startswith(name)]


def _harmless(rule: LifecycleRule, prefix: str, harmless: Sequence[str]) -> bool:
    rest = rule.prefix.removeprefix(prefix)
    return rule.prefix.startswith(prefix) and rest.startswith(tuple(harmless))


def expirations(
    rules: Iterable[LifecycleRule], prefix: str, names: Sequence[str], harmless: Sequence[str] = ()
) -> list[Harm]:
    """Return the rules that delete current versions of what a vault is made of.

    Args:
        rules: of the bucket.
        prefix: of the vault, "" or ending in a slash.
        names: of everything in a vault, each as it is or ending in a slash.
        harmless: beginnings of keys that mean nothing: what probes left behind.
    """
    found = []
    for rule in rules:
        touched = _touched(rule, prefix, names)
        if rule.expires and touched and not _harmless(rule, prefix, harmless):
            found.append(Harm(rule.name, _reach(touched, names), rule.expires))
    return found


def moves(
    rules: Iterable[LifecycleRule], prefix: str, names: Sequence[str], cold: Sequence[str]
) -> list[Transition]:
    """Return the transitions of current versions of what a vault is made of.

    Args:
        rules: of the bucket.
        prefix: of the vault, "" or ending in a slash.
        names: of everything in a vault.
        cold: those of them that hold layers, and are only read by restores.
    """
    found = []
    for rule in rules:
        touched = _touched(rule, prefix, names)
        for storage_class, when in rule.transitions if touched else ():
            harm = Harm(rule.name, _reach(touched, names), when)
            found.append(Transition(harm, storage_class, not set(touched) <= set(cold)))
    return found


def aborts(rules: Iterable[LifecycleRule], prefix: str) -> str:
    """Return when unfinished uploads of a vault are deleted, for people; "": never."""
    return next((r.aborts for r in _of_all(rules, prefix) if r.aborts), "")


def drops_old_versions(rules: Iterable[LifecycleRule], prefix: str) -> str:
    """Return when old versions of all of a vault are deleted, for people; "": never."""
    return next((r.noncurrent for r in _of_all(rules, prefix) if r.noncurrent), "")


def _of_all(rules: Iterable[LifecycleRule], prefix: str) -> Iterable[LifecycleRule]:
    for rule in rules:
        if rule.enabled and not rule.tagged and not rule.sized and prefix.startswith(rule.prefix):
            yield rule


def _reach(touched: Sequence[str], names: Sequence[str]) -> str:
    return "all of the vault" if len(touched) == len(names) else ", ".join(touched)
