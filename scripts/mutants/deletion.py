"""Mutants of what may be forgotten, condemned and deleted (invariants 4, 5 and 6)."""

from __future__ import annotations

from mutant import Mutant

PRUNE = "ops/test_prune.py::"
UNKNOWN = "ops/test_repair_unknown.py::"
INTERLEAVED = "interleavings/test_interleavings.py::test_no_interleaving_loses_anything"

MUTANTS = [
    Mutant(
        "prune-grace",
        "ops/prune/plan.py",
        "before_ns = vault.store.now_ns() - int(grace_s * 1e9)",
        "before_ns = vault.store.now_ns() + int(1e9)",
        "What is younger than the grace time stays.",
        (PRUNE + "test_a_young_object_stays",),
    ),
    Mutant(
        "prune-young-again",
        "ops/prune/plan.py",
        "if not needed and seen.key not in condemned and seen.modified_ns < before_ns:",
        "if not needed and seen.key not in condemned:",
        "The age is judged again under the lock: a run may have begun meanwhile.",
        (PRUNE + "test_what_a_run_may_have_stored_that_failed_meanwhile_stays",),
    ),
    Mutant(
        "prune-needed-again",
        "ops/prune/plan.py",
        "if not needed and seen.key not in condemned and seen.modified_ns < before_ns:",
        "if seen.key not in condemned and seen.modified_ns < before_ns:",
        "What is needed is decided again under the lock.",
        (PRUNE + "test_what_a_snapshot_came_to_need_meanwhile_is_not_condemned", INTERLEAVED + "[reuse-1-0-0]"),
    ),
    Mutant(
        "prune-claims",
        "ops/prune/plan.py",
        "        lists += claimed_lists(vault)\n",
        "        list(claimed_lists(vault))\n",
        "What a reader claims stays.",
        (PRUNE + "TestWhoIsAtWork::test_a_reader_keeps_what_it_claims", INTERLEAVED + "[reader-forget-prune-1-0-0]"),
    ),
    Mutant(
        "prune-unfinished",
        "ops/prune/plan.py",
        "return before_ns if since is None else min(before_ns, since)",
        "return before_ns",
        "What an unfinished run stored stays for 7 days.",
        (PRUNE + "TestWhoIsAtWork::test_what_an_unfinished_run_stored_is_kept",),
    ),
    Mutant(
        "prune-own-chunks",
        "vault/reach.py",
        "        _note(own, _checked(chunk.key for chunk in each.own_chunks()), bit)\n",
        "",
        "The chunks of an object list are needed, though it does not name them.",
        (PRUNE + "test_needed_keys_are_those_of_all_lists", INTERLEAVED + "[reuse-1-0-0]"),
    ),
    Mutant(
        "prune-amended",
        "vault/reach.py",
        "        _note(own, [key], which)\n",
        "        pass\n",
        "What took the place of an amended key is needed.",
        ("ops/test_purge.py::test_what_took_the_place_of_old_objects_outlives_a_prune",),
    ),
    Mutant(
        "prune-copied-keys",
        "vault/reach.py",
        "        _note(own, _checked(each.brought_keys(but=amendments)), bit)\n",
        "",
        "What a copied root's own amendment names is needed.",
        ("ops/test_copy.py::test_what_was_condemned_there_comes_back_under_another_name",),
    ),
    Mutant(
        "prune-copied-elsewhere",
        "vault/reach.py",
        "        _note(elsewhere, each.replaced_lines(but=amendments), bit)\n",
        "",
        "Nor does a copied root need the condemned key in whose place it has another.",
        ("ops/test_copy.py::test_what_is_condemned_there_and_not_yet_deleted_is_not_counted_on",),
    ),
    Mutant(
        "stub-changes",
        "vault/stub.py",
        '        **({"changes": changes_json(changes)} if changes else {}),\n',
        "",
        "The stub of a copied root says where its objects are: a reader may have claimed it.",
        (
            "ops/test_copy.py::test_what_a_reader_claims_stays_under_its_other_name_though_the_copy_is_forgotten",
            "interleavings/test_interleavings.py::test_a_schedule_that_lost_something_can_be_replayed",
        ),
    ),
    Mutant(
        "prune-needed-at-deletion",
        "ops/prune/run.py",
        "            if needed:\n                plan.needed",
        "            if False:\n                plan.needed",
        "What a snapshot needs is not deleted, though it is condemned.",
        (PRUNE + "TestRefusals::test_what_is_needed_all_the_same_is_not_deleted",),
    ),
    Mutant(
        "prune-needed-in-plan",
        "ops/prune/plan.py",
        "    if needed:\n        if condemned:",
        "    if needed and not condemned:\n        if condemned:",
        "A condemned key that is needed is no leftover: it stays, and is named.",
        (PRUNE + "TestRefusals::test_a_condemned_key_that_is_needed_stays_and_is_named",),
    ),
    Mutant(
        "prune-only-condemned",
        "ops/prune/run.py",
        "            elif seen.key in condemned:\n                yield seen",
        "            else:\n                yield seen",
        "Only what a list condemns that is there now is deleted.",
        (PRUNE + "TestRefusals::test_what_no_list_condemns_any_more_is_not_deleted",),
    ),
    Mutant(
        "delete-head",
        "ops/prune/deleting.py",
        "            again_when_broken(lambda: store.head(key))\n",
        "            return seen, True, None\n",
        "A deletion counts when a HEAD finds nothing.",
        ("ops/test_purge.py::test_a_deletion_that_did_not_happen_is_noticed",),
    ),
    Mutant(
        "prune-gap",
        "vault/certain.py",
        "        if number != expected:\n",
        "        if False:\n",
        "A gap in a chain stops whoever destroys.",
        (
            PRUNE + "TestRefusals::test_a_gap_stops_it",
            "ops/test_forget.py::test_a_chain_that_is_not_whole_stops_it",
        ),
    ),
    Mutant(
        "prune-root-unreadable",
        "vault/certain.py",
        "        yield Filled(name, entry.modified_ns, *parse_slot(data, name, vault.id))\n",
        "        try:\n"
        "            yield Filled(name, entry.modified_ns, *parse_slot(data, name, vault.id))\n"
        "        except VaultDamagedError:\n"
        "            continue\n",
        "A root that cannot be read stops whoever destroys.",
        (
            PRUNE + "TestRefusals::test_what_cannot_be_read_stops_it"
            "[snapshots/prod/00000002.json]",
        ),
    ),
    Mutant(
        "prune-lease-unreadable",
        "vault/lease.py",
        "            if certain:\n                raise\n",
        "",
        "A lease that cannot be read stops a pruner: it may be of a living writer.",
        ("vault/test_vault_lease.py::test_a_lease_that_cannot_be_read_stops_who_must_be_certain",),
    ),
    Mutant(
        "prune-superseded-unread",
        "ops/prune/plan.py",
        "            segment.prove()\n",
        "",
        "A segment supersedes others only where it can be read to its end.",
        (PRUNE + "test_a_damaged_segment_supersedes_nothing",),
    ),
    Mutant(
        "clock",
        "vault/certain.py",
        "    if abs(skew_s) > MAX_SKEW_S:\n",
        "    if False:\n",
        "Nothing is destroyed by a clock that differs from the store's.",
        (
            PRUNE + "TestRefusals::test_a_clock_that_differs_stops_it",
            "ops/test_forget.py::test_a_clock_that_differs_stops_it",
        ),
    ),
    Mutant(
        "condemned-repeats",
        "vault/condemned.py",
        "every = sorted({*keys, *condemned}) if number % REPEAT_EVERY == 0 else keys",
        "every = keys",
        "Every hundredth condemned list repeats the earlier ones.",
        (PRUNE + "test_every_hundredth_list_repeats_the_earlier_ones",),
    ),
    Mutant(
        "condemned-gap",
        "vault/condemned.py",
        "        if number not in there:\n            raise VaultDamagedError(",
        "        if number not in there:\n            continue\n            raise VaultDamagedError(",
        "A condemned list that is gone stops whoever would reuse an object.",
        ("vault/test_vault_condemned.py::test_a_list_that_is_gone_stops_whoever_would_reuse",),
    ),
    Mutant(
        "condemned-void",
        "vault/condemned.py",
        "        if number % REPEAT_EVERY == 0 and keys is not None:\n",
        "        if number % REPEAT_EVERY == 0:\n",
        "A void in the place of a list that would repeat the others repeats nothing.",
        (
            "vault/test_vault_condemned.py::"
            "test_a_void_in_place_of_a_repeating_list_does_not_free_what_came_before",
        ),
    ),
    Mutant(
        "condemned-written",
        "vault/writer.py",
        "return key in self._condemned or key in presence.bad or presence.is_cold(key)",
        "return key in presence.bad or presence.is_cold(key)",
        "A condemned key is never written again.",
        (
            "vault/test_vault_writer.py::test_a_condemned_name_is_neither_reused_nor_written",
            "vault/test_vault_writer.py::test_a_condemned_raw_blob_and_pack_get_another_name",
        ),
    ),
    Mutant(
        "condemned-reused",
        "ops/snapshot/lookup.py",
        "        if key in self._condemned:\n            return False\n        if cold",
        "        if cold",
        "A condemned object is never reused.",
        ("ops/test_snapshot_worst_day.py::test_a_condemned_key_is_never_used_or_written_again",),
    ),
    Mutant(
        "condemned-copied",
        "ops/copy/feed.py",
        "        if ref.key in self._condemned or self._presence.size(ref.key) != ref.size:\n",
        "        if self._presence.size(ref.key) != ref.size:\n",
        "A copy counts on no condemned object.",
        ("ops/test_copy.py::test_what_is_condemned_there_and_not_yet_deleted_is_not_counted_on",),
    ),
    Mutant(
        "purge-claims",
        "ops/purge.py",
        "    free = [seen for seen in doomed if seen.key not in result.claimed]\n",
        "    free = doomed\n",
        "A purge leaves what a reader claims to a later prune.",
        ("ops/test_purge.py::test_a_reader_keeps_what_it_reads_until_it_is_done",),
    ),
    Mutant(
        "purge-claims-later",
        "ops/prune/run.py",
        "            elif seen.key in needs.amendments and any(c.named(seen.key) for c in claims):\n"
        "                result.claimed.append(seen.key)\n",
        "",
        "So does that prune, while the claim lives.",
        ("ops/test_purge.py::test_a_reader_keeps_what_it_reads_until_it_is_done",),
    ),
    Mutant(
        "repair-need-unknown",
        "ops/repair/remedies.py",
        "        if self._needed.unknown:\n            return action.without_remedy(*self._unknown())\n        lost =",
        "        lost =",
        "A repair gives up nothing while a root, a state or a list cannot be read.",
        (UNKNOWN + "test_what_an_unreadable_snapshot_may_need_is_not_given_up[a root-damaged-plain]",),
    ),
    Mutant(
        "repair-need-gathered",
        "ops/repair/remedies.py",
        "            if self._needed.unknown:\n                return action.without_remedy(*self._unknown())\n",
        "",
        "Nor does it replace an object of which nothing tells what lay in it.",
        (UNKNOWN + "test_a_pack_of_which_nothing_tells_all_is_left_alone_while_states_are_gone[plain]",),
    ),
    Mutant(
        "repair-need-partly",
        "ops/repair/remedies.py",
        '            if self._needed.unknown:\n                return Action(ref, problem, "none")',
        '            if False:\n                return Action(ref, problem, "none")',
        "Nor one that may have held more than is told of it.",
        (UNKNOWN + "test_a_pack_of_which_nothing_tells_all_is_left_alone_while_states_are_gone[plain]",),
    ),
    Mutant(
        "repair-need-again",
        "ops/repair/run.py",
        "refused = _refused(vault, actions)",
        "refused = dict[str, str]()",
        "What is needed is decided again under the lock.",
        (UNKNOWN + "test_a_snapshot_that_comes_to_need_it_meanwhile_keeps_it",),
    ),
    Mutant(
        "repair-unsure",
        "ops/repair/spares.py",
        '            unsure.append(f"{spare.name}: {error.message}")\n',
        "            pass\n",
        "A place that cannot be asked may have it: nobody gives it up.",
        (UNKNOWN + "test_a_registry_that_cannot_be_read_has_it_for_all_one_knows",),
    ),
    Mutant(
        "repair-closed",
        "ops/repair/remedies.py",
        "        if found.closed:\n",
        "        if False:\n",
        "What cannot be opened is not given up, and not moved unseen.",
        ("ops/test_repair_sealed.py::test_whoever_cannot_open_it_gives_up_nothing[drop-lost-host]",),
    ),
    Mutant(
        "repair-claims",
        "ops/repair/run.py",
        "_delete(vault, goes - claimed, progress)",
        "_delete(vault, goes, progress)",
        "A repair leaves what a reader claims to a later prune.",
        (UNKNOWN + "test_what_a_restore_reads_is_not_deleted",),
    ),
    Mutant(
        "claims-amended",
        "vault/objectlist.py",
        "            if any(map(self.lists, keys)):\n                return True\n",
        "            return self.lists(key)\n",
        "A claim holds what an amendment put in the place of what its list names.",
        (UNKNOWN + "test_what_a_restore_reads_in_the_place_of_another_is_not_deleted",),
    ),
    Mutant(
        "incomplete-catalog",
        "vault/blobs.py",
        "_DOUBTED = (False, True)",
        "_DOUBTED = (False,)",
        "A blob that segments leave out is looked for in the objects.",
        (UNKNOWN + "test_a_blob_that_segments_leave_out_is_not_lost[packed]",),
    ),
    Mutant(
        "purge-plan",
        "ops/purge.py",
        "            if not now.keys() <= plan.keys():\n",
        "            if False:\n",
        "Nothing is purged that was not in the plan.",
        ("ops/test_purge.py::test_what_turned_up_after_the_look_is_not_purged_unseen",),
    ),
    Mutant(
        "forget-swap",
        "vault/stub.py",
        "store.put(root.name.key, stub_document(vault, root, run), if_match=etag)",
        "store.put(root.name.key, stub_document(vault, root, run))",
        "A root is forgotten by compare-and-swap.",
        ("ops/test_forget.py::test_a_slot_that_changed_is_left_alone",),
    ),
    Mutant(
        "forget-newest",
        "ops/forget.py",
        "            if newest is not None and point.sequence == newest.sequence:\n",
        "            if False:\n",
        "The newest complete snapshot cannot be forgotten by name.",
        ("ops/test_forget.py::TestByName::test_not_the_newest_good_one",),
    ),
    Mutant(
        "forget-pinned",
        "ops/forget.py",
        "            if point.pinned:\n",
        "            if False:\n",
        "A pinned snapshot cannot be forgotten by name.",
        ("ops/test_forget.py::TestByName::test_not_a_pinned_one",),
    ),
    Mutant(
        "forget-time",
        "ops/forget.py",
        "datetime.fromtimestamp(slot.modified_ns / 1e9, UTC),",
        "slot.root.started_at,",
        "Retention counts by the store's times, not by what a snapshot says.",
        ("ops/test_forget.py::test_a_snapshot_that_lies_about_its_time_is_no_other_day",),
    ),
    Mutant(
        "retention-newest",
        "policy/retention.py",
        '        keep(newest_first[0], "newest")\n',
        "",
        "Retention keeps the newest complete snapshot.",
        (
            "policy/test_retention.py::TestWhatAlwaysStays::"
            "test_the_newest_stays_though_its_day_has_a_first_one",
        ),
    ),
    Mutant(
        "retention-floor",
        "policy/retention.py",
        "        for name, point in days[:FLOOR_DAYS]:\n",
        "        for name, point in days[:0]:\n",
        "Retention keeps the first of each of 7 days.",
        (
            "policy/test_retention.py::TestWhatAlwaysStays::"
            "test_a_flood_does_not_push_out_the_days_before",
        ),
    ),
    Mutant(
        "retention-held",
        "policy/retention.py",
        '            keep(point, "held")\n',
        "            pass\n",
        "What is held stays until a person says what it is.",
        (
            "policy/test_retention.py::TestWhatAlwaysStays::"
            "test_held_ones_are_not_counted_and_stay",
        ),
    ),
    Mutant(
        "retention-held-counts",
        "policy/retention.py",
        "return self.complete and not self.held",
        "return self.complete",
        "What is held expires nothing.",
        (
            "policy/test_retention.py::TestWhatAlwaysStays::"
            "test_held_ones_are_not_counted_and_stay",
            "ops/test_forget.py::test_held_snapshots_neither_count_nor_expire_anything",
        ),
    ),
    Mutant(
        "retention-pinned",
        "policy/retention.py",
        '            keep(point, "pinned")\n',
        "            pass\n",
        "What is pinned stays.",
        ("policy/test_retention.py::TestWhatAlwaysStays::test_pinned",),
    ),
    Mutant(
        "shrunk",
        "policy/shrink.py",
        "        if has < had * (1 - SHRINK_LIMIT):\n",
        "        if False:\n",
        "A source that shrank by more than 10 % is held.",
        (
            "ops/test_snapshot_worst_day.py::"
            "test_a_registry_that_shrank_is_held_until_it_is_confirmed",
        ),
    ),
    Mutant(
        "empty",
        "policy/shrink.py",
        '    if now["repositories"] == 0:\n',
        "    if False:\n",
        "An empty source is held.",
        ("ops/test_snapshot_worst_day.py::test_an_empty_registry_is_held",),
    ),
    Mutant(
        "purge-opens",
        "ops/purge.py",
        "        return told | {place.digest for place in recover.members_of(vault.store, ref, vault.seal)}\n",
        "        return told\n",
        "A purge does not believe the catalog about what else lies in what it deletes.",
        (
            "ops/test_purge_catalog.py::"
            "test_a_wrong_catalog_neither_costs_a_neighbour_nor_hides_the_content",
        ),
    ),
    Mutant(
        "claim-amendments",
        "ops/claim.py",
        "            vault.look_again()\n",
        "",
        "A reader learns what a purge deleted before it could see the claim.",
        ("ops/test_purge_and_copy.py::test_a_reader_that_claims_looks_at_amendments_again",),
    ),
    Mutant(
        "repaired-forgotten",
        "ops/repair/roots.py",
        "            (name.registry, name.sequence, root.sha256) in forgets\n",
        "            False\n",
        "A repair brings no root back that was forgotten.",
        (
            "ops/test_repair_roots.py::TestForgotten::"
            "test_a_forgotten_snapshot_does_not_come_back_from_a_copy[False-a bit]",
        ),
    ),
    Mutant(
        "repaired-condemned",
        "ops/repair/roots.py",
        "            or _is_condemned(vault, root, condemned)\n",
        "",
        "Nor one whose objects are condemned.",
        (
            "ops/test_repair_roots.py::TestForgotten::"
            "test_what_is_condemned_is_told_by_the_lists_where_the_record_is_gone",
        ),
    ),
    Mutant(
        "repaired-signed",
        "ops/repair/roots.py",
        "    forgets = set() if vault.id.signed else forgotten(vault.store, vault.id)\n",
        "    forgets = forgotten(vault.store, vault.id)\n",
        "In a signed vault no unsigned record has a snapshot forgotten.",
        (
            "ops/test_repair_roots.py::TestForgotten::"
            "test_an_unsigned_record_makes_no_signed_stub",
        ),
    ),
    Mutant(
        "given-up-asked",
        "ops/repair/plan.py",
        "        return [*self.roots, *(self.given_up if self.lost_allowed else ())]\n",
        "        return [*self.roots, *self.given_up]\n",
        "No snapshot is given up unless a person says so.",
        ("ops/test_repair_roots.py::TestGivenUp::test_a_root_that_nobody_has[2-gone]",),
    ),
    Mutant(
        "given-up-last",
        "ops/repair/roots.py",
        "        if ids is None:\n            continue\n",
        "",
        "And not the last one that is left of a registry.",
        (
            "ops/test_repair_roots.py::TestGivenUp::"
            "test_the_last_root_of_a_registry_is_never_given_up",
        ),
    ),
    Mutant(
        "given-up-readable",
        "ops/repair/roots.py",
        '        return bool(body.get("vault") == vault.id)\n    return False\n',
        "        return True\n    return True\n",
        "Nor one that is right for others.",
        (
            "ops/test_repair_roots.py::TestGivenUp::"
            "test_what_only_the_wrong_key_makes_unreadable_is_never_given_up",
        ),
    ),
    Mutant(
        "strangers-certain",
        "ops/repair/plan.py",
        "    if strangers and all_own(vault):\n",
        "    if strangers:\n",
        "Records are removed only where no snapshot is of another vault.",
        (
            "ops/test_repair_identity.py::"
            "test_nothing_is_removed_where_it_is_not_certain_which_vault_this_is",
        ),
    ),
]  # fmt: skip
