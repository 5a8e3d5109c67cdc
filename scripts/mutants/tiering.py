"""Mutants of tiering: what is known when, what is never moved, what is paid for."""

from __future__ import annotations

from mutant import Mutant

LEARNED = "policy/tiering/test_learned.py::"
OPTIMUM = "policy/tiering/test_optimum.py::"
WALK = "policy/tiering/test_walk.py::"
TRACE = "ops/tier/test_trace.py::"
GARBAGE = "ops/tier/test_garbage.py::"
FAULTS = "faults/test_garbage_faults.py::"
CENSUS, PROOF = "ops/tier/garbage/census.py", "ops/tier/garbage/proof.py"
ALL_TOLD = GARBAGE + "TestProof::test_whatever_single_thing_is_lost_is_told_and_comes_back"

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
        "return None if self.rules.ignores(*who) else READ",
        "return READ",
        "Scanners, replication and probes do not count (rule 21).",
        (TRACE + "test_who_is_no_client_and_what_is_no_read",),
    ),
    Mutant(
        "gc-children",
        CENSUS,
        "                todo += [child for child in children if child in revisions]\n",
        "",
        "What a tagged index reaches is needed (rule 15).",
        (GARBAGE + "TestPlan::test_what_no_tag_reaches_is_to_go_where_that_is_asked_for",),
    ),
    Mutant(
        "gc-links",
        CENSUS,
        '            return finding.detail == "revision link"\n',
        "            return False\n",
        "Where a link says something else than its path, what is needed is not known.",
        (GARBAGE + "TestPlan::test_a_link_of_nothing_hides_what_it_was_for",),
    ),
    Mutant(
        "gc-size",
        PROOF,
        "            if now == before:\n",
        "            if now is not None:\n",
        "A blob of another size is lost (rule 16).",
        (GARBAGE + "TestProof::test_a_blob_of_another_size_is_lost",),
    ),
    Mutant(
        "gc-layer-links",
        PROOF,
        '                proof.lose(name, "layer", digest)\n                unlinked.add(digest)\n',
        "                pass\n",
        "A layer without its link is not served: it is lost.",
        (ALL_TOLD,),
    ),
    Mutant(
        "gc-unreadable",
        PROOF,
        '                proof.lose(name, "unreadable", finding.subject)\n            return\n',
        "                pass\n            return\n",
        "What cannot be looked at is not taken for whole.",
        (FAULTS + "test_no_error_of_any_look_lets_a_loss_pass",),
    ),
    Mutant(
        "gc-lacking",
        "ops/tier/garbage/backing.py",
        "        return not self.lacking and not self.revisions\n",
        "        return True\n",
        "A vault that lacks something cannot bring it back.",
        (GARBAGE + "TestWhatIsInTheWay::test_a_vault_that_lacks_something",),
    ),
    Mutant(
        "gc-quiet",
        "ops/tier/garbage/run.py",
        "        _require_quiet(plan, source, progress, clock, sleep)\n",
        "",
        "Nothing is collected while somebody pushes.",
        (GARBAGE + "TestWhatIsInTheWay::test_a_push_between_plan_and_collection",),
    ),
    Mutant(
        "gc-first-pushes",
        "registry/uploads.py",
        '        elif is_directory and not name.startswith("_"):\n',
        "        elif False:\n",
        "An upload is seen wherever it goes.",
        (
            GARBAGE + "TestWhatIsInTheWay::test_an_upload_to_what_is_no_repository_yet",
            GARBAGE + "TestWhatIsInTheWay::test_uploads_in_flight_and_fresh_blobs",
        ),
    ),
    Mutant(
        "gc-lease",
        "ops/tier/garbage/run.py",
        "        yield _Hold(vault, backing, lease, max(vault.slots(backing.registry)))\n",
        "        lease.release()\n"
        "        yield _Hold(vault, backing, lease, max(vault.slots(backing.registry)))\n",
        "No snapshot begins while garbage is collected.",
        (GARBAGE + "TestHolding::test_snapshots_and_prunes_wait_while_it_collects",),
    ),
    Mutant(
        "gc-child-process",
        "ops/tier/garbage/collect.py",
        "        if process is not None:\n            _terminate(process)\n",
        "",
        "A collection is over when regvault is.",
        ("ops/tier/test_collect_command.py::test_an_interruption_is_passed_on_and_waited_for",),
    ),
]
