"""3-2-1-1-0 counts what is proven, names each miss, and never gets worse by a good copy more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.policy.rule321 import Copy, Declared, Flaw, Rule, domains, judge, span

HOUR = 3600.0
RULE = Rule()
LIVE = Copy("prod", live=True, place="p0", domain="disk a", bound="disk a")


def vault(name, *, on=None, declared=None, **more) -> Copy:
    """A vault that nothing is wrong with, on a disk of its own."""
    on = on or f"disk {name}"
    facts = {
        "place": f"place {name}",
        "domain": on,
        "bound": on,
        "declared": Declared(**(declared or {})),
        "newest": "prod@9",
        "age_s": HOUR,
        "metadata_age_s": HOUR,
        "data_age_s": HOUR,
    }
    return Copy(name, **{**facts, **more})


MAIN = vault("main")
OFFSITE = vault("off", declared={"offsite": True}, lock="Object Lock: compliance, 30 days")
GOOD = [LIVE, MAIN, OFFSITE]
GONE = Flaw("store-unavailable", "no answer", "Check the network.")
ROT = Flaw("damaged", "a root is gone", "Run verify.", damaged=True)


def verdicts(copies, rule=RULE):
    return {verdict.part: verdict for verdict in judge(copies, rule)}


def missed(copies, rule=RULE):
    return {part for part, verdict in verdicts(copies, rule).items() if not verdict.met}


def codes(copies, part, rule=RULE):
    return {reason.code for reason in verdicts(copies, rule)[part].reasons}


def test_three_good_copies_meet_all_of_it():
    found = judge(GOOD, RULE)
    assert [verdict.part for verdict in found] == [
        "copies", "media", "offsite", "immutable", "errors", "rpo",
    ]  # fmt: skip
    assert all(verdict.met and not verdict.reasons for verdict in found)
    assert [verdict.found for verdict in found] == [3, 3, 1, 1, 0, HOUR]


@pytest.mark.parametrize(
    ("copies", "parts"),
    [
        ([], {"copies", "media", "offsite", "immutable", "rpo"}),
        ([LIVE], {"copies", "media", "offsite", "immutable", "rpo"}),
        ([MAIN, OFFSITE], {"copies"}),
        ([LIVE, MAIN, vault("b")], {"offsite", "immutable"}),
        ([LIVE, MAIN, replace(OFFSITE, lock="")], {"immutable"}),
        ([LIVE, MAIN, replace(OFFSITE, lock="", declared=Declared(offsite=True, offline=True))],
         set()),
        ([LIVE, MAIN, replace(OFFSITE, declared=Declared())], {"offsite"}),
        # Somewhere, nobody knows where.
        ([LIVE, replace(MAIN, domain="", bound=""), replace(OFFSITE, domain="", bound="")],
         {"media"}),
        # Not reached: it does not count, and that is an error even where the others suffice.
        ([replace(LIVE, unusable=GONE), MAIN, OFFSITE], {"copies", "errors"}),
        ([LIVE, MAIN, replace(OFFSITE, unusable=GONE)],
         {"copies", "offsite", "immutable", "errors"}),
        ([*GOOD, vault("b", unusable=GONE)], {"errors"}),
        # Damaged: it cannot be relied on.
        ([LIVE, replace(MAIN, flaws=(ROT,)), OFFSITE], {"copies", "errors"}),
        # Not right, but whole.
        ([LIVE, replace(MAIN, flaws=(Flaw("held", "it shrank", "Confirm."),)), OFFSITE],
         {"errors"}),
        # Too old, too far behind, nothing to restore.
        ([LIVE, MAIN, replace(OFFSITE, age_s=27 * HOUR)], {"rpo"}),
        ([LIVE, MAIN, replace(OFFSITE, behind_s=27 * HOUR)], {"rpo"}),
        ([LIVE, MAIN, replace(OFFSITE, age_s=None)], {"copies", "offsite", "immutable", "rpo"}),
        # Not proven.
        ([LIVE, replace(MAIN, metadata_age_s=None), OFFSITE], {"errors"}),
        ([LIVE, replace(MAIN, metadata_age_s=9 * 24 * HOUR), OFFSITE], {"errors"}),
        ([LIVE, replace(MAIN, data_age_s=None), OFFSITE], {"errors"}),
        ([LIVE, replace(MAIN, data_age_s=36 * 24 * HOUR), OFFSITE], {"errors"}),
    ],
)  # fmt: skip
def test_each_miss_is_named_and_no_other(copies, parts):
    assert missed(copies) == parts
    for verdict in judge(copies, RULE):
        assert bool(verdict.reasons) == (not verdict.met)
        assert all(reason.message and reason.hint for reason in verdict.reasons)


def test_a_rule_that_asks_for_nothing_is_met_by_nothing():
    rule = Rule(copies=0, media=0, offsite=0, immutable=0, errors=99)
    assert missed([], rule) == {"rpo"}
    assert missed([MAIN], rule) == set()


def test_allowed_errors_pass():
    assert missed([LIVE, replace(MAIN, data_age_s=None), OFFSITE], Rule(errors=1)) == set()


class TestPlaces:
    def test_one_place_under_two_names_is_one_copy(self):
        again = replace(MAIN, name="again")
        assert "copies" in missed([LIVE, MAIN, again])
        assert codes([LIVE, MAIN, again], "copies") == {"same-place", "too-few"}

    def test_copies_on_one_disk_are_lost_together(self):
        copies = [LIVE, vault("b", on="disk a"), vault("c", on="disk a")]
        assert codes(copies, "media") == {"same-domain"}
        (reason,) = verdicts(copies)["media"].reasons
        assert "prod, b and c are lost together: disk a" in reason.message

    def test_buckets_of_one_region_are_one_domain_unless_the_configuration_says_otherwise(self):
        one = vault("one", on="AWS x", bound="bucket one")
        two = vault("two", on="AWS x", bound="bucket two")
        assert len(domains([one, two])) == 1
        assert len(domains([one, replace(two, declared=Declared(domain="other"))])) == 2

    def test_domains_that_are_declared_to_be_apart_on_one_disk_are_a_miss(self):
        one = vault("one", on="disk x", declared={"domain": "site-a"})
        two = vault("two", on="disk x", declared={"domain": "site-b"})
        copies = [*GOOD, one, two]
        assert missed(copies) == {"media"}  # though three other domains would do
        (reason,) = verdicts(copies)["media"].reasons
        assert reason.code == "domain-contradicted"
        assert "site-a" in reason.message
        assert "disk x" in reason.message
        assert len(domains([one, two])) == 1

    def test_a_declared_domain_joins_what_looks_apart(self):
        room = {"domain": "room"}
        assert len(domains([vault("a", declared=room), vault("b", declared=room)])) == 1

    def test_offsite_on_the_disk_of_the_registry_is_a_miss(self):
        near = vault("near", on="disk a", declared={"offsite": True})
        assert codes([*GOOD, near], "offsite") == {"offsite-contradicted"}
        assert verdicts([LIVE, MAIN, near])["offsite"].found == 0

    def test_two_offsite_copies_at_one_place_contradict_nothing(self):
        there = {"offsite": True, "domain": "site-b"}
        copies = [LIVE, vault("x", declared=there, lock="lock"), vault("y", declared=there)]
        assert missed(copies) == set()

    def test_a_copy_that_does_not_count_tells_where_it_is_all_the_same(self):
        broken = replace(LIVE, unusable=GONE)
        near = vault("near", on="disk a", declared={"offsite": True})
        assert "offsite-contradicted" in codes([broken, MAIN, near], "offsite")


class TestAges:
    def test_a_vault_may_be_as_old_as_it_is_declared_to_be(self):
        old = vault("shelf", age_s=6 * 24 * HOUR, behind_s=6 * 24 * HOUR)
        assert missed([*GOOD, old]) == {"rpo"}
        weekly = replace(old, declared=Declared(max_age_s=7 * 24 * HOUR))
        assert missed([*GOOD, weekly]) == set()
        assert missed([*GOOD, replace(weekly, age_s=8 * 24 * HOUR)]) == {"rpo"}

    def test_a_young_one_may_be_held_to_less(self):
        strict = vault("strict", age_s=2 * HOUR, declared={"max_age_s": HOUR})
        assert codes([*GOOD, strict], "rpo") == {"too-old"}

    def test_what_is_damaged_makes_no_backup_younger(self):
        rotten = replace(MAIN, flaws=(ROT,))
        assert codes([LIVE, rotten], "rpo") == {"no-snapshot"}
        assert verdicts([*GOOD, replace(rotten, age_s=0.0)])["rpo"].found == HOUR

    def test_what_cannot_be_reached_has_no_age(self):
        assert codes([LIVE, replace(MAIN, unusable=GONE, age_s=None)], "rpo") == {"no-snapshot"}

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0 min"), (-5, "0 min"), (299, "5 min"), (3599, "1 h"), (26 * HOUR, "26 h"),
         (5400, "1 h 30 min"), (8 * 24 * HOUR, "8 d"), (50 * HOUR, "2 d 2 h")],
    )  # fmt: skip
    def test_spans(self, seconds, text):
        assert span(seconds) == text


flaws = st.sampled_from([(), (ROT,), (Flaw("held", "it shrank", "Confirm."),)])
ages = st.one_of(st.none(), st.floats(0, 60 * 24 * HOUR))
names = st.sampled_from(["a", "b", "c"])


@st.composite
def copies(draw):
    bound = draw(st.sampled_from(["", "x", "y"]))
    return Copy(
        name=draw(names),
        live=draw(st.booleans()),
        place=draw(st.sampled_from(["", "1", "2", "3"])),
        domain=bound or draw(st.sampled_from(["", "region"])),
        bound=bound,
        declared=Declared(
            domain=draw(st.one_of(st.none(), names)),
            offsite=draw(st.sampled_from([None, True, False])),
            offline=draw(st.booleans()),
        ),
        lock=draw(st.sampled_from(["", "locked"])),
        unusable=draw(st.sampled_from([None, None, GONE])),
        newest="prod@1",
        age_s=draw(ages),
        behind_s=draw(st.floats(0, 60 * 24 * HOUR)),
        metadata_age_s=draw(ages),
        data_age_s=draw(ages),
        flaws=draw(flaws),
    )


rules = st.builds(
    Rule,
    copies=st.integers(0, 5),
    media=st.integers(0, 4),
    offsite=st.integers(0, 2),
    immutable=st.integers(0, 2),
    errors=st.integers(0, 3),
)


@given(st.lists(copies(), max_size=6), rules, st.booleans(), st.booleans())
def test_a_good_copy_more_never_turns_met_into_missed(others, rule, offsite, locked):
    good = vault(
        "good",
        on="a disk of its own",
        place="a place of its own",
        declared={"offsite": offsite},
        lock="locked" if locked else "",
        age_s=0.0,
        metadata_age_s=0.0,
        data_age_s=0.0,
    )
    before, after = judge(others, rule), judge([*others, good], rule)
    for was, now in zip(before, after, strict=True):
        assert now.met or not was.met, (was, now)


@given(st.lists(copies(), max_size=6), rules)
def test_every_miss_has_a_reason_and_a_next_step(others, rule):
    for verdict in judge(others, rule):
        assert verdict.met == (not verdict.reasons)
        assert all(reason.message and reason.hint for reason in verdict.reasons)


@given(st.lists(copies(), max_size=6), rules)
def test_the_order_of_copies_has_no_say(others, rule):
    def outcome(found):
        return [(v.part, v.met, v.found) for v in found]

    assert outcome(judge(others, rule)) == outcome(judge(others[::-1], rule))
