"""Mutants of tiering a vault: what a snapshot relies on, what is promised, what is thawed."""

from __future__ import annotations

from mutant import Mutant

REUSE = "ops/tier/test_archived_reuse.py::"
PLAN = "ops/tier/test_plan_vault.py::"
APPLY = "ops/tier/test_apply_vault.py::"
THAW = "ops/tier/test_thaw.py::"
RULED = "ops/tier/test_ruled_vault.py::"
SEEN = "ops/tier/test_archived_seen.py::"
NUMBERS = "policy/tiering/test_promise.py::"

MUTANTS = [
    Mutant(
        "vault-tier-archived",
        "vault/presence.py",
        "        return key not in self.missing and key not in self.bad and not self.is_cold(key)\n",
        "        return key not in self.missing and key not in self.bad\n",
        "What lies in an archive does not count as present.",
        (REUSE + "test_what_comes_back_to_the_registry_is_not_taken_from_an_archive",),
    ),
    Mutant(
        "vault-tier-moving",
        "vault/presence.py",
        "        if key in self._announced.moving:\n            return True\n",
        "",
        "What a tiering is about to move is not reused.",
        (REUSE + "test_what_a_tiering_is_about_to_move_is_not_reused",),
    ),
    Mutant(
        "vault-tier-unreadable",
        "vault/tiering.py",
        "            found.moving, found.unread = _Everything(), True\n",
        "",
        "Where it cannot be read what is moved, nothing is relied on anew.",
        (REUSE + "test_where_it_cannot_be_read_nothing_old_is_reused",),
    ),
    Mutant(
        "vault-tier-renew",
        "ops/snapshot/plan.py",
        "self.removed or self.cold)\n",
        "self.removed)\n",
        "What the newest snapshot needs of an archive is stored again.",
        (REUSE + "test_what_the_newest_needs_and_an_archive_has_is_stored_again",),
    ),
    Mutant(
        "vault-tier-writers",
        "ops/tier/apply_vault.py",
        "    _wait_for_writers(vault, wait_s, progress)\n",
        "",
        "A snapshot that began before a tiering is waited for.",
        (APPLY + "test_a_snapshot_that_is_at_work_is_waited_for",),
    ),
    Mutant(
        "vault-tier-recheck",
        "ops/tier/apply_vault.py",
        "        return move.key not in judged.allowed\n",
        "        return False\n",
        "What the newest snapshots need since the plan was made stays.",
        (APPLY + "test_what_a_snapshot_needs_since_stays",),
    ),
    Mutant(
        "vault-tier-held",
        "ops/tier/shelf.py",
        "if point.sequence >= good[-count:][0]}\n",
        "if point.sequence in good[-count:]}\n",
        "What is held may be confirmed: it is under the promise.",
        (PLAN + "test_what_is_held_may_be_confirmed",),
    ),
    Mutant(
        "vault-tier-budget",
        "policy/tiering/promise.py",
        "        if any(self.left[number] + given < cost * (1 - 1e-12) for number in snapshots):\n"
        "            return False\n",
        "",
        "No snapshot under the promise costs more than was promised.",
        (NUMBERS + "test_a_budget_is_of_each_snapshot_and_what_lies_there_counts",),
    ),
    Mutant(
        "vault-tier-hours",
        "policy/tiering/promise.py",
        "if hours is None or w.hours <= hours + 1e-9]\n",
        "if True]\n",
        "No way back is taken that is too slow.",
        (NUMBERS + "test_the_cheapest_way_within_the_hours",),
    ),
    Mutant(
        "thaw-refuse",
        "ops/restore/run.py",
        "        if plan.untold or (plan.cold and thaw is None):\n",
        "        if plan.untold:\n",
        "A restore that needs what is archived writes nothing before that is said.",
        (THAW + "test_it_refuses_before_anything_is_written",),
    ),
    Mutant(
        "thaw-twice",
        "ops/tier/thaw.py",
        "        todo = [each for each in cold if not each.thawing]\n",
        "        todo = list(cold)\n",
        "Nothing is asked for twice.",
        (THAW + "test_asked_for_and_waited_for_apart_from_a_restore",),
    ),
    Mutant(
        "verify-archived",
        "ops/verify/data.py",
        "            report.add_archived(ref.size)\n",
        '            report.add(ref.key, "damaged", WRONG_BYTES)\n',
        "What cannot be read since it is archived is no damage.",
        (SEEN + "test_verify_counts_what_it_cannot_read_and_calls_nothing_damaged",),
    ),
    Mutant(
        "ruled-waiting",
        "ops/tier/apply_vault.py",
        "            waiting = waiting or (marked is not None and lies != move.target)\n",
        "",
        "What was only marked is not relied on until a rule has moved it.",
        (RULED + "test_what_is_marked_is_not_reused_while_it_waits_for_the_rules",),
    ),
    Mutant(
        "ruled-carried",
        "ops/tier/apply_vault.py",
        "    for number in shelf.among(marked or ()).tolist():\n",
        "    for number in shelf.among(()).tolist():\n",
        "What an earlier tiering has marked is on its way whatever a later one does.",
        (RULED + "test_a_tiering_that_marks_nothing_still_names_what_an_earlier_one_has",),
    ),
    Mutant(
        "ruled-promise",
        "ops/tier/apply_vault.py",
        "            kept = kept or (marked is not None and bool(snapshots))\n",
        "",
        "Nothing that the newest snapshots need is left to rules.",
        (RULED + "test_nothing_of_the_newest_snapshots_is_left_to_rules",),
    ),
    Mutant(
        "tier-judged-again",
        "ops/tier/apply_vault.py",
        "                if now != seen:\n",
        "                if False:\n",
        "Who begins to read, and what is newest since, is looked at while objects move.",
        (
            APPLY + "test_who_begins_to_read_while_it_moves_keeps_what_is_read",
            APPLY + "test_what_is_the_newest_once_others_were_forgotten_stays",
        ),
    ),
    Mutant(
        "tier-begun-again",
        "ops/tier/apply_vault.py",
        "    first.update(dict.fromkeys(_promised_before(vault, header.id), True))\n",
        "",
        "A tiering that is begun again forgets nothing of what it has promised.",
        (
            APPLY
            + "test_a_finished_tiering_that_is_begun_again_beside_a_snapshot_forgets_no_promise",
        ),
    ),
]
