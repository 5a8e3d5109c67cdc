"""Mutants of tiering: what is known when, what is never moved, what is paid for."""

from __future__ import annotations

from mutant import Mutant

LEARNED = "policy/tiering/test_learned.py::"
OPTIMUM = "policy/tiering/test_optimum.py::"
WALK = "policy/tiering/test_walk.py::"
TRACE = "ops/tier/test_trace.py::"

MUTANTS = [
    Mutant(
        "tier-future",
        "policy/tiering/survival.py",
        "        ended = (until < end) & self.is_read[some]\n",
        "        ended = self.is_read[some]\n",
        "What regvault decides rests on what came before.",
        (LEARNED + "test_nothing_is_known_of_what_comes",),
    ),
    Mutant(
        "tier-first-read",
        "policy/tiering/learned.py",
        "    first = group, reads_bucket(runs.before + 1), sizes\n",
        "    first = group, reads_bucket(runs.before + runs.reads), sizes\n",
        "When a blob is read nobody knows of the reads that follow.",
        (LEARNED + "test_nothing_is_decided_by_what_comes",),
    ),
    Mutant(
        "tier-month",
        "policy/tiering/learned.py",
        "        wait = np.maximum(days[made.move[at]], begin - runs.end[here])\n",
        "        wait = days[made.move[at]]\n",
        "What is known of a month is used from its begin on.",
        (LEARNED + "test_nothing_is_decided_by_what_comes",),
    ),
    Mutant(
        "tier-manifests",
        "policy/tiering/learned.py",
        "movable = history.movable[runs.owner] & (size >= 0)",
        "movable = size >= 0",
        "Manifests are never moved.",
        (LEARNED + "test_what_is_small_or_a_manifest_is_never_moved",),
    ),
    Mutant(
        "tier-small",
        "policy/tiering/learned.py",
        "movable = history.movable[runs.owner] & (size >= 0)",
        "movable = history.movable[runs.owner]",
        "What does not pay is never moved.",
        (LEARNED + "test_what_is_small_or_a_manifest_is_never_moved",),
    ),
    Mutant(
        "tier-short-history",
        "policy/tiering/learned.py",
        "    if hazards.days < SHORT_DAYS:\n",
        "    if False:\n",
        "Where history is short nothing is believed of it.",
        (LEARNED + "test_in_the_first_month_only_what_has_paid_for_its_move_goes",),
    ),
    Mutant(
        "tier-optimum-minimum",
        "policy/tiering/optimum.py",
        "[cost + rate * max(0.0, least - (now - since)) for cost, since in each]",
        "[cost for cost, since in each]",
        "The optimum obeys minimum durations.",
        (OPTIMUM + "test_nothing_that_can_be_tried_is_cheaper",),
    ),
    Mutant(
        "tier-optimum-ways",
        "policy/tiering/optimum.py",
        "        if not found or cost < found[-1][0]:\n",
        "        if not found:\n",
        "The optimum forgets no way that may be the best later.",
        (OPTIMUM + "test_nothing_that_can_be_tried_is_cheaper",),
    ),
    Mutant(
        "tier-early",
        "policy/tiering/walk.py",
        "        self.made.moves[blobs] += self.up[where, blobs] + early\n",
        "        self.made.moves[blobs] += self.up[where, blobs]\n",
        "What leaves a class before its minimum is paid for.",
        (WALK + "test_what_leaves_before_its_minimum_is_billed_until_then",),
    ),
    Mutant(
        "tier-scanners",
        "ops/tier/trace.py",
        "return None if self.rules.ignores(*who) else _READ",
        "return _READ",
        "Scanners, replication and probes do not count (rule 21).",
        (TRACE + "test_who_is_no_client_and_what_is_no_read",),
    ),
]
