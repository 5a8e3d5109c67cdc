"""The rule 3-2-1-1-0, and how old a backup may be: a pure function from facts to verdicts.

Of one registry there are to be

- **3** copies: the live registry is one, each vault with a snapshot of it that can be restored is;
- in **2** failure domains;
- **1** of them offsite;
- **1** that is immutable, or offline;
- **0** errors: all copies can be read, were proven not long ago, and nothing was found;

and by the *RPO* the newest snapshot in each vault is not older than allowed, nor far behind the
newest of all.

Facts are evidence: what the stores say now. What only the configuration says (`Declared`) counts
where evidence cannot say it, and is a miss where evidence says otherwise. What is not known does
not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.policy.rule321_facts import Copy, Declared, Flaw, Reason, Rule, Verdict, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Copy", "Declared", "Flaw", "Reason", "Rule", "Verdict", "domains", "judge", "span"]


def judge(copies: Sequence[Copy], rule: Rule) -> list[Verdict]:
    """Hold the copies of one registry against the rule.

    A good copy more, at a place and in a domain of its own, never turns met into missed.

    Returns:
        Verdicts for `copies`, `media`, `offsite`, `immutable`, `errors` and `rpo`, in this order.
    """
    good = [copy for copy in copies if copy.not_counted is None]
    return [
        _copies(copies, good, rule),
        _media(copies, good, rule),
        _offsite(copies, good, rule),
        _immutable(good, rule),
        _errors(copies, rule),
        _rpo(copies, rule),
    ]


def domains(copies: Iterable[Copy]) -> list[list[Copy]]:
    """Return copies that fail together, each group in the order given.

    A declared domain takes the place of what is seen, except that two copies that are bound to one
    thing are never apart. A copy of which nothing is known is in no group.
    """
    groups: list[tuple[set[tuple[str, str]], list[Copy]]] = []
    for copy in copies:
        keys = {("bound", copy.bound)} if copy.bound else set()
        if copy.declared.domain:
            keys.add(("declared", copy.declared.domain))
        elif copy.domain:
            keys.add(("seen", copy.domain))
        if not keys:
            continue
        joined = [group for group in groups if group[0] & keys]
        groups = [group for group in groups if not group[0] & keys]
        members = [member for group in joined for member in group[1]]
        groups.append((keys.union(*(group[0] for group in joined)), [*members, copy]))
    return [members for _, members in groups]


def _distinct(copies: Iterable[Copy]) -> list[Copy]:
    """Return the copies but for those that are at the place of another one."""
    found: dict[object, Copy] = {}
    for copy in copies:
        found.setdefault(copy.place or object(), copy)
    return list(found.values())


def _count(
    part: str, wanted: int, found: int, names: Iterable[str], reasons: Sequence[Reason]
) -> Verdict:
    met = found >= wanted
    listed = ", ".join(names)
    summary = f"{found} ({wanted} wanted){f': {listed}' if listed else ''}"
    return Verdict(part, wanted, found, met, summary, () if met else tuple(reasons))


def _copies(copies: Sequence[Copy], counted: list[Copy], rule: Rule) -> Verdict:
    good = _distinct(counted)
    reasons = [
        Reason(copy.name, flaw.code, f"{copy.name} does not count: {flaw.message}", flaw.hint)
        for copy in copies
        if (flaw := copy.not_counted) is not None
    ]
    for copy in counted:
        if not any(copy is each for each in good):
            first = next(each for each in good if each.place == copy.place)
            message = f"{copy.name} and {first.name} are one and the same place"
            reasons.append(Reason(copy.name, "same-place", message, "Name it once."))
    if not any(copy.live for copy in copies):
        reasons.append(
            Reason(
                "",
                "registry-not-named",
                "the live registry was not looked at, so it does not count",
                "Name it, or configure it: regvault check fs:/var/lib/registry --vault VAULT",
            )
        )
    reasons.append(
        Reason(
            "",
            "too-few",
            f"there are {len(good)} copies to rely on, {rule.copies} are asked for"
            if len(good) != 1
            else f"there is 1 copy to rely on, {rule.copies} are asked for",
            "Make another one: regvault init VAULT, then regvault copy --from VAULT --to VAULT",
        )
    )
    return _count("copies", rule.copies, len(good), (copy.name for copy in good), reasons)


def _media(copies: Sequence[Copy], good: list[Copy], rule: Rule) -> Verdict:
    groups = domains(good)
    reasons = [_together(group) for group in groups if len(group) > 1]
    reasons += [
        Reason(
            copy.name,
            "domain-unknown",
            f"where {copy.name} lies is not known",
            "Say so by 'domain' in the configuration.",
        )
        for copy in good
        if not copy.where
    ]
    if not reasons:
        word = "domain" if len(groups) == 1 else "domains"
        reasons.append(
            Reason(
                "",
                "too-few",
                f"the copies that count are in {len(groups)} failure {word}",
                "Keep a copy on another kind of storage: regvault copy --from VAULT --to VAULT",
            )
        )
    names = (group[0].where for group in groups)
    verdict = _count("media", rule.media, len(groups), names, reasons)
    return _unless_contradicted(verdict, _false_domains(copies))


def _together(group: list[Copy]) -> Reason:
    names = _and(copy.name for copy in group)
    hint = "Put one of them elsewhere."
    if not group[0].bound or any(copy.bound != group[0].bound for copy in group):
        hint = "Put one of them elsewhere; where they are apart in truth, and it cannot be seen "
        hint += "from here, say so by 'domain' in the configuration."
    return Reason("", "same-domain", f"{names} are lost together: {group[0].where}", hint)


def _false_domains(copies: Sequence[Copy]) -> list[Reason]:
    """Return what is wrong with domains that are declared to be apart, and are not."""
    by_bound: dict[str, list[Copy]] = {}
    for copy in copies:
        if copy.bound and copy.declared.domain:
            by_bound.setdefault(copy.bound, []).append(copy)
    return [
        Reason(
            copy.name,
            "domain-contradicted",
            f"{copy.name} is declared to be in {copy.declared.domain}, and {group[0].name} in "
            f"{group[0].declared.domain}, but both are on {copy.domain or copy.bound}",
            "Put one of them elsewhere, or give both the same 'domain'.",
        )
        for group in by_bound.values()
        for copy in group[1:]
        if copy.declared.domain != group[0].declared.domain
    ]


def _offsite(copies: Sequence[Copy], good: list[Copy], rule: Rule) -> Verdict:
    # Any copy whose place is known tells where that is, also one that does not count.
    near = {
        id(copy): home
        for group in domains(copies)
        for copy in group
        if copy.declared.offsite
        and (home := next((each for each in group if not each.declared.offsite), None))
    }
    found = _distinct(c for c in good if c.declared.offsite and id(c) not in near)
    false = [
        Reason(
            copy.name,
            "offsite-contradicted",
            f"{copy.name} is declared to be offsite, but it is lost together with "
            f"{near[id(copy)].name}, which is not: {copy.domain or copy.where}",
            "Put it elsewhere; where it is elsewhere in truth, say so by 'domain' too.",
        )
        for copy in copies
        if id(copy) in near
    ]
    reasons = [
        Reason(
            copy.name,
            "offsite-not-counted",
            f"{copy.name} is declared to be offsite, but does not count: {flaw.message}",
            flaw.hint,
        )
        for copy in copies
        if copy.declared.offsite and (flaw := copy.not_counted) is not None
    ]
    if not reasons:
        reasons.append(
            Reason(
                "",
                "too-few",
                f"{len(found) or 'no'} {'copy is' if len(found) <= 1 else 'copies are'} declared "
                "to be offsite",
                "Copy to a place of another site, and say 'offsite: true' of it in the "
                "configuration: where a place is, no store tells.",
            )
        )
    names = (f"{copy.name} (declared)" for copy in found)
    verdict = _count("offsite", rule.offsite, len(found), names, reasons)
    return _unless_contradicted(verdict, false)


def _unless_contradicted(verdict: Verdict, false: list[Reason]) -> Verdict:
    """Return a miss where the configuration says what is not so: nothing of it can be relied on."""
    if not false or not verdict.wanted:
        return verdict
    reasons = (*false, *verdict.reasons)
    return verdict._replace(met=False, reasons=reasons)


def _immutable(good: list[Copy], rule: Rule) -> Verdict:
    found = _distinct(copy for copy in good if copy.lock or copy.declared.offline)
    names = (
        f"{copy.name} ({copy.lock})" if copy.lock else f"{copy.name} (declared offline)"
        for copy in found
    )
    details: dict[str, list[str]] = {}
    for copy in good:
        if copy.lock_detail:
            details.setdefault(copy.lock_detail, []).append(copy.name)
    seen = "; ".join(f"{_and(names)}: {detail}" for detail, names in details.items())
    reason = Reason(
        "",
        "none-immutable",
        "too few copies are safe from whoever may write" + (f" ({seen})" if seen else ""),
        "Copy to a bucket with Object Lock and a default retention, or to a disk that is kept "
        "detached ('offline: true' in the configuration).",
    )
    return _count("immutable", rule.immutable, len(found), names, [reason])


def _errors(copies: Sequence[Copy], rule: Rule) -> Verdict:
    reasons: list[Reason] = []
    for copy in copies:
        flaws = [copy.unusable] if copy.unusable else [*copy.flaws, *_unproven(copy, rule)]
        reasons += [
            Reason(copy.name, flaw.code, f"{copy.name}: {flaw.message}", flaw.hint)
            for flaw in flaws
        ]
    count = len(reasons)
    met = count <= rule.errors
    summary = f"{count}, at most {rule.errors} allowed" if rule.errors else f"{count}"
    return Verdict("errors", rule.errors, count, met, summary, () if met else tuple(reasons))


def _unproven(copy: Copy, rule: Rule) -> Iterable[Flaw]:
    """Yield what was not proven, or not for too long."""
    if copy.live or copy.age_s is None:
        return
    for what, age_s, allowed_s, option in (
        ("metadata", copy.metadata_age_s, rule.verify_metadata_s, ""),
        ("data", copy.data_age_s, rule.verify_data_s, " --read-data"),
    ):
        hint = f"Run, and let cron run: regvault verify --vault {copy.name}{option}"
        if age_s is None:
            message = f"its {what} was never verified in full and found whole"
            yield Flaw(f"{what}-never-verified", message, hint)
        elif age_s > allowed_s:
            message = f"its {what} was last verified in full {span(age_s)} ago, "
            message += f"more than {span(allowed_s)}"
            yield Flaw(f"{what}-verified-too-long-ago", message, hint)


def _rpo(copies: Sequence[Copy], rule: Rule) -> Verdict:
    vaults = [copy for copy in copies if not copy.live and copy.unusable is None]
    # What lies in a vault that is damaged may not come back: it makes nothing younger.
    dated: list[tuple[Copy, float]] = [
        (c, c.age_s) for c in vaults if c.age_s is not None and c.not_counted is None
    ]
    reasons = [
        Reason(
            copy.name,
            "nothing-restorable",
            f"{copy.name} has no snapshot that is complete and not held",
            f"See: regvault snapshots --vault {copy.name}",
        )
        for copy in vaults
        if copy.age_s is None
    ]
    for copy, age_s in dated:
        reasons += _late(copy, age_s, rule)
    if not dated and not reasons:
        reasons.append(
            Reason(
                "",
                "no-snapshot",
                "no vault that can be relied on has a snapshot of it",
                "Take one: regvault snapshot SOURCE --vault VAULT",
            )
        )
    found = min((age_s for _, age_s in dated), default=None)
    summary = "no snapshot"
    if found is not None:
        oldest = max(age_s for _, age_s in dated)
        summary = f"the newest is {span(found)} old"
        if span(oldest) != span(found):
            summary += f", that of the vault furthest behind {span(oldest)}"
        summary += f"; at most {span(rule.max_age_s)}"
    return Verdict("rpo", rule.max_age_s, found, not reasons, summary, tuple(reasons))


def _late(copy: Copy, age_s: float, rule: Rule) -> Iterable[Reason]:
    allowed_s = rule.max_age_s if copy.declared.max_age_s is None else copy.declared.max_age_s
    # A vault that may be older for once a month may be as far behind.
    behind_s = max(rule.max_behind_s, copy.declared.max_age_s or 0.0)
    hint = "Is the schedule running? Take a snapshot, or copy it: regvault copy --from VAULT --to "
    hint += copy.name
    if age_s > allowed_s:
        message = f"{copy.name}: {copy.newest} is {span(age_s)} old, more than {span(allowed_s)}"
        yield Reason(copy.name, "too-old", message, hint)
    if copy.behind_s > behind_s:
        message = f"{copy.name}: {copy.newest} is {span(copy.behind_s)} behind the newest snapshot"
        message += f" of all vaults, more than {span(behind_s)}"
        yield Reason(copy.name, "behind", message, hint)


def _and(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
