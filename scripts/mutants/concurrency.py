"""Mutants of who may commit, and when (invariants 2 and 4; "Commit, condemn, delete")."""

from __future__ import annotations

from mutant import Mutant

LEASES = "ops/test_snapshot_leases.py::"
LEASE = "vault/test_vault_lease.py::"
PRUNE = "ops/test_prune.py::"
COPY = "ops/test_copy.py::"
INTERLEAVED = "interleavings/test_interleavings.py::test_no_interleaving_loses_anything"

MUTANTS = [
    Mutant(
        "root-create-only",
        "ops/snapshot/commit.py",
        "vault.store.put(name.key, data, if_none_match=True)",
        "vault.store.put(name.key, data)",
        "A root is created only where its slot is free.",
        (
            LEASES + "test_a_slot_that_someone_else_filled_is_left_to_him",
            LEASES + "test_a_sleeper_whose_slot_was_filled_never_publishes",
            INTERLEAVED + "[two-writers-of-one-registry-1-0-0]",
        ),
    ),
    Mutant(
        "slot-create-only",
        "vault/slots.py",
        "            store.put(key, data, if_none_match=True)\n",
        "            store.put(key, data)\n",
        "So is a condemned list, and an amendment.",
        (PRUNE + "TestWhoIsAtWork::test_a_slot_that_was_filled_meanwhile_is_left_alone",),
    ),
    Mutant(
        "renew-before-root",
        "ops/snapshot/commit.py",
        "        lease.renew(slot=name.key)\n",
        "",
        "The lease is renewed, and names the slot, before the root is written.",
        (LEASES + "test_a_lease_that_another_ended_never_publishes",),
    ),
    Mutant(
        "renew-before-slot",
        "vault/slots.py",
        "        holding.renew(slot=key)\n",
        "",
        "The prune lock is renewed before anything is condemned.",
        (PRUNE + "TestWhoIsAtWork::test_a_lock_that_another_ended_condemns_nothing",),
    ),
    Mutant(
        "renew-before-copied-root",
        "ops/copy/feed.py",
        "        lease.renew(slot=name.key)\n",
        "",
        "The lease is renewed before a copied root is written.",
        (COPY + "test_a_copier_that_was_declared_dead_commits_nothing",),
    ),
    Mutant(
        "lease-swap",
        "vault/parties.py",
        "self._store.put(self.key, data, if_match=self._etag)",
        "self._store.put(self.key, data)",
        "A lease is renewed by compare-and-swap: not once another party has ended it.",
        (LEASE + "test_a_lease_that_another_party_ended_cannot_be_renewed_nor_committed_with", INTERLEAVED + "[reuse-0-0-1]"),
    ),
    Mutant(
        "end-swap",
        "vault/parties.py",
        'store.put(key, write_document({**body, "state": "ended"})[0], if_match=etag)',
        'store.put(key, write_document({**body, "state": "ended"})[0])',
        "A lease is ended by compare-and-swap: not one that was renewed meanwhile.",
        (LEASE + "test_one_that_renews_while_it_is_being_ended_lives",),
    ),
    Mutant(
        "lock-swap",
        "vault/prune_lock.py",
        "self._store.put(self.key, data, if_match=etag)",
        "self._store.put(self.key, data)",
        "The prune lock is taken by compare-and-swap: of two pruners one gets it.",
        (PRUNE + "TestWhoIsAtWork::test_of_two_that_take_the_lock_at_once_one_gets_it[again]",),
    ),
    Mutant(
        "lock-create-only",
        "vault/prune_lock.py",
        "self._store.put(self.key, data, if_none_match=True)",
        "self._store.put(self.key, data)",
        "The first time it is created only where it is not there.",
        (PRUNE + "TestWhoIsAtWork::test_of_two_that_take_the_lock_at_once_one_gets_it[first]",),
    ),
    Mutant(
        "void-before-ended",
        "vault/parties.py",
        '        fill_with_void(store, vault, slot, str(body.get("run"))[:100])\n',
        "        pass\n",
        "The slot that a dead party named is filled: its late commit fails.",
        (LEASE + "test_a_dead_writer_is_ended_and_the_slot_that_it_named_is_filled", INTERLEAVED + "[reuse-0-0-1]"),
    ),
    Mutant(
        "void-after-ended",
        "vault/parties.py",
        '    slot = body.get("slot")\n'
        "    if isinstance(slot, str) and is_slot(slot):\n"
        '        fill_with_void(store, vault, slot, str(body.get("run"))[:100])\n',
        '    slot = body.get("slot")\n'
        '    store.put(key, write_document({**body, "state": "ended"})[0], if_match=etag)\n'
        "    if isinstance(slot, str) and is_slot(slot):\n"
        '        fill_with_void(store, vault, slot, str(body.get("run"))[:100])\n'
        "    return True\n",
        "And before it is ended: `ended` always means that the slot is filled.",
        (LEASE + "test_whoever_cannot_fill_the_slot_of_the_dead_does_not_end_him",),
    ),
    Mutant(
        "void-fresh",
        "vault/parties.py",
        "    while slot.startswith(SNAPSHOTS):\n",
        "    while False:\n",
        "A void that a copier may be about to replace is replaced first.",
        (LEASE + "test_a_void_that_a_copier_meant_to_replace_is_another_void_then",),
    ),
    Mutant(
        "void-over-root",
        "vault/parties.py",
        "            if not _is_void(store, slot, vault):\n                return  # that",
        "            if False:\n                return  # that",
        "What the dead had committed counts.",
        (LEASE + "test_a_root_that_the_dead_committed_counts", INTERLEAVED + "[two-writers-of-one-registry-0-0-1]"),
    ),
    Mutant(
        "failed-fills",
        "vault/parties.py",
        "            if failed and slot is not None:\n",
        "            if False:\n",
        "A run that failed fills its slot before it lets go.",
        (
            LEASE + "test_a_failed_run_fills_the_slot_that_it_named_before_it_lets_go",
            "ops/test_snapshot_crashes.py::"
            "test_whoever_got_no_answer_fills_his_slot_before_he_lets_go",
        ),
    ),
    Mutant(
        "unknown-outcome",
        "ops/snapshot/commit.py",
        "            # Its outcome is not known. (The lease fills the slot before it is let go.)\n"
        "            if not holds(vault.store, name.key, data):\n                raise\n",
        "            pass\n",
        "A root that got no answer counts where its bytes are found, and only there.",
        (
            "ops/test_snapshot_crashes.py::"
            "test_whoever_got_no_answer_fills_his_slot_before_he_lets_go",
        ),
    ),
    Mutant(
        "own-bytes",
        "vault/slots.py",
        "        return store.get(key, length=len(data) + 1) == data\n",
        "        return bool(store.get(key, length=len(data) + 1))\n",
        "What is in a slot is one's own only where the bytes are.",
        (LEASES + "test_a_slot_that_someone_else_filled_is_left_to_him",),
    ),
    Mutant(
        "previous",
        "ops/snapshot/commit.py",
        "                previous = found or previous\n",
        "",
        "A root follows the one that is before it, also where that came meanwhile.",
        (LEASES + "test_a_slot_that_someone_else_filled_is_left_to_him",),
    ),
    Mutant(
        "narrowed",
        "ops/snapshot/commit.py",
        "                if found is not None and narrowed:\n",
        "                if False:\n",
        "A run that inherits does not commit over a root that it has not read.",
        (LEASES + "test_a_narrowed_run_does_not_publish_over_a_newer_root",),
    ),
    Mutant(
        "condemned-since",
        "ops/snapshot/commit.py",
        "        refuse_if_condemned_since(vault.store, session.condemned_to)\n",
        "",
        "Nothing is committed beside a prune that did not see the lease.",
        (LEASES + "test_a_prune_that_did_not_see_this_run_stops_it",),
    ),
    Mutant(
        "condemned-since-copied",
        "ops/copy/feed.py",
        "        refuse_if_condemned_since(store, self._condemned_to)\n",
        "",
        "Nor is a copied root.",
        (COPY + "test_a_prune_that_did_not_see_this_copy_stops_it",),
    ),
    Mutant(
        "create-only-proven",
        "vault/lease.py",
        '        if role == "writer":\n            self._prove_create_only()\n',
        "",
        "A store that overwrites what it was told to create only is refused.",
        (
            LEASE + "test_a_store_that_overwrites_what_it_should_create_only_is_refused",
            LEASES + "test_a_store_that_overwrites_what_it_should_only_create_is_refused",
        ),
    ),
    Mutant(
        "init-probe",
        "vault/vault.py",
        "    if not probe_conditional_writes(store):\n",
        "    if False:\n",
        "Nor is a vault made in a store whose conditions are not atomic.",
        ("vault/test_vault_blobs.py::test_a_store_without_atomic_conditions_gets_no_vault",),
    ),
    Mutant(
        "local-create-only",
        "storage/local_write.py",
        "            os.link(self.name, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)\n",
        "            os.rename(self.name, name, src_dir_fd=at, dst_dir_fd=at)\n"
        "            return\n",
        "On a disk, too, of many that create one key one succeeds.",
        ("contract/test_local_store.py::TestConditions::test_what_another_writes_just_before_it_gets_its_name_stays[if_none_match]",),
    ),
    Mutant(
        "local-swap",
        "storage/local.py",
        "                        with write_lock(self._tree, create=if_match is not None):\n"
        "                            self._check(key, name, directory, if_none_match, if_match)\n",
        "                        with write_lock(self._tree, create=if_match is not None):\n",
        "And of many that swap it.",
        ("contract/test_local_store.py::TestConditions::test_what_another_writes_just_before_it_gets_its_name_stays[if_match]",),
    ),
    Mutant(
        "lock-sees-leases",
        "vault/prune_lock.py",
        "                if writer is None:\n                    break\n",
        "                break\n",
        "A pruner waits for living writers.",
        (PRUNE + "TestWhoIsAtWork::test_a_writer_is_waited_for", INTERLEAVED + "[reuse-1-0-0]"),
    ),
    Mutant(
        "lock-before-leases",
        "vault/prune_lock.py",
        "                self._take(deadline, poll_s)\n"
        "                writer = next(living_writers(store, vault, certain=True), None)\n",
        "                writer = next(living_writers(store, vault, certain=True), None)\n"
        "                self._take(deadline, poll_s)\n",
        "It takes the lock before it reads the leases.",
        (PRUNE + "TestWhoIsAtWork::test_a_writer_that_began_just_before_the_lock_was_taken_is_seen",),
    ),
    Mutant(
        "lease-before-lock",
        "ops/writing.py",
        "            if not prune_decides(vault.store, vault.id):\n",
        "            if True:\n",
        "A writer looks at the lock once more when its lease is written.",
        (LEASES + "test_a_lock_that_was_taken_just_before_the_lease_is_seen",),
    ),
    Mutant(
        "request-waited-for",
        "vault/prune_lock.py",
        '        elif body.get("state") != "requested" or idle_s >= PRUNE_REQUEST_S or dead:\n',
        "        else:\n",
        "Snapshots that start later wait for a pruner that asked for its turn.",
        (LEASES + "test_a_prune_that_decides_is_waited_for[requested]",),
    ),
    Mutant(
        "claim-looks-again",
        "ops/claim.py",
        "            if found is None or found.sha256 != root.sha256:\n",
        "            if False:\n",
        "A reader looks, once its claim is written, whether its roots are still there.",
        (PRUNE + "TestWhoIsAtWork::test_a_claim_that_came_too_late_is_told_so", INTERLEAVED + "[reader-forget-prune-1-0-0]"),
    ),
    Mutant(
        "one-writer",
        "vault/lease.py",
        "        if living is None:\n            return\n",
        "        return\n",
        "A second snapshot of one registry is turned away.",
        (LEASES + "test_a_second_snapshot_of_one_registry_is_turned_away",),
    ),
    Mutant(
        "dead-after",
        "vault/lease.py",
        "(etag != entry.etag or idle_s < DEAD_AFTER_S)",
        "(etag != entry.etag or idle_s < DEAD_AFTER_S / 2)",
        "A writer elsewhere is dead after 15 minutes, not before.",
        (LEASES + "test_a_writer_elsewhere_is_dead_after_15_minutes_only",),
    ),
    Mutant(
        "dead-elsewhere",
        "vault/parties.py",
        'or holder.get("host") != here["host"]:',
        "or False:",
        "A process of another host is not looked for on this one.",
        (LEASE + "test_a_process_of_another_host_or_namespace_is_not_seen_dead[host]",),
    ),
    Mutant(
        "dead-namespace",
        "vault/parties.py",
        'if not here["namespace"] or holder.get("namespace") != here["namespace"]:',
        'if not here["namespace"]:',
        "Nor one of another container.",
        (LEASE + "test_a_process_of_another_host_or_namespace_is_not_seen_dead[namespace]",),
    ),
    Mutant(
        "dead-pid-reused",
        "vault/parties.py",
        'return isinstance(pid, int) and _started(pid) != holder.get("started")',
        'return isinstance(pid, int) and _started(pid) == ""',
        "A process id that was given to another process does not make the dead look alive.",
        (LEASE + "test_a_process_id_that_was_given_to_another_process_does_not_look_alive",),
    ),
    Mutant(
        "copy-native",
        "ops/copy/feed.py",
        "        if newest.amendment is None:\n",
        "        if False:\n",
        "A copy does not go on from a chain that has snapshots of its own.",
        (COPY + "test_a_registry_of_its_own_is_not_overwritten",),
    ),
    Mutant(
        "copy-stranger",
        "ops/copy/feed.py",
        "        if found != origin or newest.registry_id != root.registry_id:\n",
        "        if False:\n",
        "Nor from one of another origin.",
        (COPY + "test_another_origin_and_another_history_are_refused",),
    ),
    Mutant(
        "copy-rewound",
        "ops/copy/feed.py",
        "        if there not in (None, newest.sha256):\n",
        "        if False:\n",
        "Nor from one that went another way.",
        ("ops/test_copy.py::test_a_source_that_went_another_way_is_refused",),
    ),
    Mutant(
        "copy-takes-no-snapshots",
        "ops/snapshot/session.py",
        "        if self.previous is not None and self.previous.amendment is not None:\n",
        "        if False:\n",
        "A snapshot does not go on from a chain that is fed by copies.",
        (COPY + "test_a_copy_takes_no_snapshots",),
    ),
    Mutant(
        "hidden-slots",
        "vault/slots.py",
        "    yield from filled_after(store, key_of, last)\n",
        "",
        "A slot that LIST hides at its end is found by a HEAD.",
        ("vault/test_vault_condemned.py::test_a_list_that_list_does_not_show_is_found",),
    ),
]  # fmt: skip
