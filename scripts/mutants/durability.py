"""Mutants of what must be on the disk before what (invariants 1 and 2)."""

from __future__ import annotations

from mutant import Mutant

CRASHES = "ops/test_snapshot_crashes.py::test_a_crash_at_any_write_loses_no_committed_snapshot"
FSYNC = "faults/test_fsync.py::"
POWER = "faults/test_power.py::"
DISK = "contract/test_local_store.py::TestDurability::"

MUTANTS = [
    Mutant(
        "barrier-before-segment",
        "vault/segment.py",
        "        store.barrier()\n        stage.commit(key)\n",
        "        stage.commit(key)\n",
        "What a segment tells of is durable before the segment has its name.",
        (CRASHES + "[0-power cut, names stay]",),
    ),
    Mutant(
        "segment-unwritten",
        "vault/segment.py",
        "        store.barrier()\n        stage.commit(key)\n",
        "        stage.commit(key)\n        store.barrier()\n",
        "So are its own bytes.",
        (CRASHES + "[0-power cut, names stay]",),
    ),
    Mutant(
        "barrier-before-root",
        "ops/snapshot/take.py",
        "        vault.store.barrier()\n        self.result.root = commit_root(",
        "        self.result.root = commit_root(",
        "What a root needs is durable before the root.",
        ("ops/test_snapshot_crashes.py::test_what_a_root_needs_is_durable_though_no_blob_is_new",),
    ),
    Mutant(
        "barrier-after-root",
        "ops/snapshot/commit.py",
        "        vault.store.barrier()\n        return replace(candidate, sha256=sha256)",
        "        return replace(candidate, sha256=sha256)",
        "A root that is found after a lost answer is synced before it counts.",
        ("ops/test_snapshot_crashes.py::test_a_root_that_was_found_after_a_lost_answer_is_synced_before_it_counts",),
    ),
    Mutant(
        "barrier-after-slot",
        "vault/slots.py",
        "        store.barrier()\n        return key\n",
        "        return key\n",
        "So is a condemned list, and an amendment.",
        ("ops/test_prune.py::test_a_list_that_was_found_after_a_lost_answer_is_synced_before_it_counts",),
    ),
    Mutant(
        "barrier-before-copied-root",
        "ops/copy/feed.py",
        "        self.vault.store.barrier()\n        changes =",
        "        changes =",
        "What a copied root needs is durable before it.",
        (POWER + "test_the_vault_after_the_power_was_cut[copy-0]",),
    ),
    Mutant(
        "barrier-after-void",
        "vault/parties.py",
        "    # this says that the slot is filled.\n    store.barrier()\n",
        "    # this says that the slot is filled.\n",
        "A slot that shows as filled is durable before the dead is let go.",
        (FSYNC + "test_a_vault_after_a_sync_failed_and_the_power_was_cut[snapshot-once]",),
    ),
    Mutant(
        "barrier-before-amendment",
        "vault/replace.py",
        "        catalog.write(told, run)\n    store.barrier()\n",
        "        catalog.write(told, run)\n",
        "What took the place of an object is durable before an amendment says so.",
        ("ops/test_purge.py::test_what_is_new_is_durable_before_anything_points_to_it",),
    ),
    Mutant(
        "condemned-before-amendment",
        "vault/replace.py",
        "    key = None\n    if changes:\n",
        "    commit_condemned(store, vault.id, lock, run, sorted(goes), condemned)\n"
        "    key = None\n    if changes:\n",
        "An amendment says what took the place of an object before that one is condemned.",
        ("ops/test_purge.py::test_what_is_new_is_durable_before_anything_points_to_it",),
    ),
    Mutant(
        "barrier-before-condemned",
        "ops/prune/run.py",
        "                    vault.store.barrier()\n                    keys =",
        "                    keys =",
        "A stub is durable before what its root needed is condemned.",
        (
            FSYNC
            + "test_a_prune_deletes_nothing_that_a_root_needs_which_is_not_surely_forgotten",
        ),
    ),
    Mutant(
        "condemned-before-deleted",
        "ops/prune/run.py",
        "    keys =",
        "    delete_all(vault.store, final, threads=threads, progress=progress)\n"
        "                    keys =",
        "A condemned list is written before anything of it is deleted.",
        ("ops/test_prune.py::test_nothing_is_deleted_before_it_is_condemned",),
    ),
    Mutant(
        "file-synced",
        "storage/local_write.py",
        "                if sync:\n                    os.fsync(self._fd)\n                elif",
        "                if",
        "A small object is on the disk when it is acknowledged.",
        (DISK + "test_a_put_is_on_the_disk_with_its_file_and_all_new_directories",),
    ),
    Mutant(
        "directory-synced",
        "storage/local.py",
        "                            temporary.publish(name)\n"
        "                            self._tree.sync_parents(path, directory)\n",
        "                            temporary.publish(name)\n",
        "So is its name.",
        (DISK + "test_a_put_is_on_the_disk_with_its_file_and_all_new_directories",),
    ),
    Mutant(
        "directory-synced-new",
        "storage/local.py",
        "                        temporary.publish_new(name)\n"
        "                        self._tree.sync_parents(path, directory)\n",
        "                        temporary.publish_new(name)\n",
        "Also where it may only be created.",
        (DISK + "test_what_is_only_created_is_on_the_disk_with_its_directory",),
    ),
    Mutant(
        "parents-synced",
        "storage/local_tree.py",
        "        while path and self._fresh:\n",
        "        while False:\n",
        "And the directories above it, where they are new.",
        (DISK + "test_a_put_is_on_the_disk_with_its_file_and_all_new_directories",),
    ),
    Mutant(
        "stream-replaces",
        "storage/local_write.py",
        "status = temporary.finish(sync=taken(name, temporary.directory))",
        "status = temporary.finish(sync=False)",
        "What replaces a file is on the disk before it takes the name.",
        (DISK + "test_what_replaces_a_file_is_on_the_disk_before_it_has_its_name[stream]",),
    ),
    Mutant(
        "stage-replaces",
        "storage/local_write.py",
        "status = temporary.finish(sync=taken(name, directory))",
        "status = temporary.finish(sync=False)",
        "Also where its name was not known before.",
        (DISK + "test_what_replaces_a_file_is_on_the_disk_before_it_has_its_name[stage]",),
    ),
    Mutant(
        "local-barrier",
        "storage/local.py",
        "                self._tree.sync()\n",
        "                pass\n",
        "A barrier waits for the disk.",
        (DISK + "test_streams_wait_for_the_barrier",),
    ),
    Mutant(
        "every-file-system",
        "storage/local_tree.py",
        "        for fd in descriptors:\n",
        "        for fd in descriptors[:1]:\n",
        "For each file system that a store lies on.",
        (DISK + "test_a_store_over_two_file_systems_is_synced_on_both",),
    ),
    Mutant(
        "restore-blobs-first",
        "ops/restore/run.py",
        "        write_thawed(writer, self._worklist, plan.cold, thaw)\n",
        "        self._each(Restorer._links, result, again=False)\n"
        "        write_thawed(writer, self._worklist, plan.cold, thaw)\n",
        "A restore writes blobs before the links to them.",
        ("ops/test_restore_identity.py::test_tags_are_written_after_all_that_they_need",),
    ),
    Mutant(
        "restore-tags-last",
        "ops/restore/run.py",
        '        self._progress.phase("Restoring links", total_items=plan.repositories)\n',
        "        self._each(Restorer._tags, result, again=False)\n",
        "And tags after all other links.",
        ("ops/test_restore_identity.py::test_tags_are_written_after_all_that_they_need",),
    ),
    Mutant(
        "barrier-before-links",
        "ops/restore/run.py",
        "        self.target.barrier()\n"
        '        self._progress.phase("Restoring links"',
        '        self._progress.phase("Restoring links"',
        "Blobs are durable before links to them are written.",
        ("ops/test_restore_identity.py::test_blobs_are_durable_before_links_and_links_before_tags",),
    ),
    Mutant(
        "barrier-before-tags",
        "ops/restore/run.py",
        "        self.target.barrier()\n"
        '        self._progress.phase("Restoring tags"',
        '        self._progress.phase("Restoring tags"',
        "Links are durable before tags.",
        ("ops/test_restore_identity.py::test_blobs_are_durable_before_links_and_links_before_tags",),
    ),
    Mutant(
        "restore-doubt",
        "registry/writer.py",
        "                self._store.put_stream(_DOUBT, io.BytesIO(), size=0)\n",
        "                pass\n",
        "A restore whose sync failed is not counted on by the next one.",
        (FSYNC + "test_a_restored_registry_after_a_sync_failed_and_the_power_was_cut[once]",),
    ),
    Mutant(
        "leftovers",
        "vault/writer.py",
        "self._presence.sure_size(key) == size",
        "self._presence.size(key) == size",
        "What only a LIST shows is stored again: a power cut may have left its name alone.",
        ("vault/test_vault_writer.py::test_what_no_root_needs_is_written_again_under_its_name",),
    ),
]  # fmt: skip
