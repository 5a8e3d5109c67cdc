"""Mutants of the proofs: bytes against digests, and what is counted as present (3, 7, 11, 12)."""

from __future__ import annotations

from mutant import Mutant

SOURCE = "ops/test_source_damage.py::"
RESTORE = "faults/test_damage.py::test_a_restore_gives_all_that_is_whole_and_nothing_that_is_not"
NAMED = "faults/test_damage.py::test_damage_is_named_by_its_key"
WITNESS = "ops/test_attacks.py::TestTheCatalogIsNoWitness::"

MUTANTS = [
    Mutant(
        "stored-digest",
        "storage/streams.py",
        "    if sha256 is not None and got != sha256:\n",
        "    if False:\n",
        "A store takes no bytes that are not their digest.",
        ("contract/test_local_store.py::TestLocalStore::test_wrong_bytes_are_never_visible",),
    ),
    Mutant(
        "stored-size",
        "storage/streams.py",
        "    if total != size:\n",
        "    if False:\n",
        "Nor fewer than were promised.",
        (
            "contract/test_local_store.py::TestLocalStore::"
            "test_a_wrong_size_is_refused_without_a_digest_too",
        ),
    ),
    Mutant(
        "streamed-digest",
        "oci/verify.py",
        "            if got != self._digest:\n",
        "            if False:\n",
        "A stream is proven by its digest when it ends.",
        ("oci/test_verify.py::test_one_wrong_bit_never_passes",),
    ),
    Mutant(
        "source-raw",
        "ops/snapshot/storer.py",
        "self._writer.put_raw(blob_key(digest), body, size, sha256)",
        "self._writer.put_raw(blob_key(digest), body, size, None)",
        "A large blob of the source is proven before it counts.",
        (SOURCE + "test_with_random_damage_all_else_comes_back_and_all_damage_is_named",),
    ),
    Mutant(
        "source-small",
        "ops/snapshot/storer.py",
        "                if not matches(data, digest):\n",
        "                if False:\n",
        "So is a small one.",
        (SOURCE + "test_damage_is_named_survived_known_and_forgotten",),
    ),
    Mutant(
        "source-manifest",
        "ops/snapshot/storer.py",
        "        if not matches_manifest(data, digest):\n",
        "        if False:\n",
        "And a manifest.",
        (SOURCE + "test_damage_is_named_survived_known_and_forgotten",),
    ),
    Mutant(
        "restored-pack",
        "vault/blobs.py",
        "good = len(part) == place.length and is_digest_of(place.digest, part)",
        "good = len(part) == place.length",
        "A member of a pack is proven before it is restored.",
        (RESTORE + "[pack-middle bit]",),
    ),
    Mutant(
        "restored-meta",
        "ops/restore/blobs.py",
        "good = data is not None and matches_manifest(data, place.digest)",
        "good = data is not None",
        "So is one of a meta object.",
        ("ops/test_attacks.py::TestWrongMembers::test_no_restore_writes_one_of_a_meta_object",),
    ),
    Mutant(
        "read-pack",
        "vault/blobs.py",
        "good = is_digest_of(place.digest, data)",
        "good = True",
        "A blob that is read out of a pack is proven.",
        ("vault/test_vault_blobs.py::test_a_blob_is_proven_wherever_it_is_read_from[packs]",),
    ),
    Mutant(
        "read-meta",
        "vault/blobs.py",
        "good = data is not None and matches_manifest(data, place.digest)",
        "good = data is not None",
        "And one out of a meta object.",
        ("vault/test_vault_blobs.py::test_a_blob_is_proven_wherever_it_is_read_from[meta]",),
    ),
    Mutant(
        "restored-raw",
        "registry/writer.py",
        "self._store.put_stream(key, reader, size=size, sha256=digits)",
        "self._store.put_stream(key, reader, size=size)",
        "A raw blob is proven while it is restored.",
        (RESTORE + "[raw blob-middle bit]",),
    ),
    Mutant(
        "restored-sha512",
        "registry/writer.py",
        "self._store.put_stream(key, VerifyingReader(reader, digest, size), size=size)",
        "self._store.put_stream(key, reader, size=size)",
        "Also where its digest is of another algorithm.",
        (
            "registry/test_registry_writer.py::"
            "test_bytes_that_are_not_the_digest_are_refused_and_what_was_there_stays",
        ),
    ),
    Mutant(
        "restored-kept",
        "ops/restore/blobs.py",
        "        return hasher.hexdigest() == hexed\n",
        "        return True\n",
        "What the target has already is proven before it is kept.",
        ("ops/test_restore_identity.py::test_good_blobs_are_kept_and_wrong_ones_replaced",),
    ),
    Mutant(
        "chunk",
        "vault/vault.py",
        'if "sha256:" + hashlib.sha256(data).hexdigest() == ref.digest:',
        "if True:",
        "A chunk of a tree, of states and of object lists, is proven before it is read.",
        (
            "vault/test_vault_blobs.py::"
            "test_a_chunk_is_found_under_its_renamed_key_and_a_wrong_one_is_not_believed",
            RESTORE + "[object list base-middle bit]",
            RESTORE + "[state-middle bit]",
        ),
    ),
    Mutant(
        "segment",
        "vault/segment.py",
        "        if hasher.hexdigest() != self.name.sha256:\n",
        "        if False:\n",
        "A segment is proven before its lines are kept.",
        ("vault/test_vault_catalog.py::test_no_flipped_byte_of_a_segment_is_kept",),
    ),
    Mutant(
        "document",
        "vault/envelope.py",
        "    if digest != expected:\n",
        "    if False:\n",
        "A root, lease or record is proven by its checksum.",
        ("vault/test_vault_envelope.py::test_no_flipped_byte_is_believed",),
    ),
    Mutant(
        "condemned-list",
        "vault/condemned.py",
        "    if not good:\n",
        "    if False:\n",
        "So is a condemned list.",
        ("vault/test_vault_condemned.py::test_a_list_whose_checksum_is_wrong_is_refused",),
    ),
    Mutant(
        "compressed",
        "vault/frames.py",
        "    if decompressor.decompress(frame, max_output_size=len(data)) != data:\n",
        "    if False:\n",
        "What was compressed is decompressed again and compared.",
        ("vault/test_vault_pack.py::test_a_compressor_that_errs_stores_nothing",),
    ),
    Mutant(
        "copied",
        "ops/copy/feed.py",
        "self._writer.put_raw(ref.key, reader, ref.size, ref.sha256)",
        "self._writer.put_raw(ref.key, reader, ref.size, None)",
        "A copy proves each object before it counts.",
        (
            "ops/test_copy.py::"
            "test_a_damaged_snapshot_is_left_out_and_fills_its_slot_when_it_is_mended[spoilt]",
        ),
    ),
    Mutant(
        "repaired",
        "ops/repair/run.py",
        "self.vault.store.put_stream(ref.key, reader, size=ref.size, sha256=ref.sha256)",
        "self.vault.store.put_stream(ref.key, reader, size=ref.size)",
        "A repair proves what it puts in place.",
        (
            "ops/test_repair.py::"
            "test_a_spare_that_is_wrong_itself_mends_nothing_and_spoils_nothing",
        ),
    ),
    Mutant(
        "repaired-member",
        "ops/repair/run.py",
        "            if matches_manifest(data, digest):\n                return data\n",
        "            return data\n",
        "And each blob that it moves.",
        (
            "ops/test_repair.py::"
            "test_a_spare_that_is_wrong_itself_mends_nothing_and_spoils_nothing",
        ),
    ),
    Mutant(
        "moved-object",
        "vault/rewrite.py",
        "    if hashlib.sha256(data).hexdigest() != ref.sha256:\n",
        "    if False:\n",
        "A purge moves nothing out of an object that is not what its name says.",
        ("ops/test_purge.py::test_a_damaged_pack_is_not_rewritten",),
    ),
    Mutant(
        "moved-member",
        "vault/rewrite.py",
        "            if not right(digest, member):\n",
        "            if False:\n",
        "And no member that is not what its own name says.",
        ("ops/test_attacks.py::TestWrongMembers::test_no_purge_moves_one",),
    ),
    Mutant(
        "verified-object",
        "ops/verify/data.py",
        '    if hasher.hexdigest() != digest.partition(":")[2]:\n'
        '        report.add(key, "damaged", "its bytes are not what its name says")\n'
        "    elif members",
        "    if members",
        "`verify --read-data` hashes every object.",
        (NAMED + "[raw blob-middle bit]",),
    ),
    Mutant(
        "verified-member",
        "ops/verify/data.py",
        "                if not is_digest_of(member, view[at : at + size]):\n",
        "                if False:\n",
        "And every member of a pack.",
        ("ops/test_attacks.py::TestWrongMembers::test_verify_names_one_of_a_pack",),
    ),
    Mutant(
        "verified-presence",
        "ops/verify/presence.py",
        "return [ref for ref in refs if seen.get(ref.key) != ref.size]",
        "return [ref for ref in refs if seen.get(ref.key) is None]",
        "`verify` compares the size of each object with what LIST shows.",
        (NAMED + "[raw blob-a byte short]", NAMED + "[pack-a byte longer]"),
    ),
    Mutant(
        "verified-closure",
        "ops/verify/closures.py",
        "        if not holds(digest) and digest not in purged:\n",
        "        if False:\n",
        "`verify` sees that each blob of a state lies in an object of the list.",
        (WITNESS + "test_verify_names_a_blob_that_no_object_of_the_list_holds",),
    ),
    Mutant(
        "verified-chain",
        "ops/verify/documents.py",
        "        if not broken and previous is not None and root.previous != previous.sha256:\n",
        "        if False:\n",
        "`verify` sees that each root follows the one before.",
        ("ops/test_verify_damage.py::test_a_root_that_was_put_in_anothers_place_is_named",),
    ),
    Mutant(
        "verified-gap",
        "vault/slots.py",
        "        if number > last + 1:\n",
        "        if False:\n",
        "`verify` names a slot that is empty though later ones are filled.",
        ("ops/test_verify_damage.py::test_a_chain_with_a_hole_is_named",),
    ),
    Mutant(
        "present-size",
        "vault/presence.py",
        "                if wanted.size != entry.size or entry.key in self.bad:\n",
        "                if entry.key in self.bad:\n",
        "An object of another size is not counted as present.",
        (
            "vault/test_vault_writer.py::"
            "test_what_is_gone_or_has_another_size_is_missing_and_what_is_more_is_seen",
        ),
    ),
    Mutant(
        "present-listed",
        "vault/presence.py",
        "            while wanted is not None and wanted.key < entry.key:\n"
        "                self.missing[wanted.key] = wanted\n",
        "            while wanted is not None and wanted.key < entry.key:\n",
        "Nor is one that LIST does not show.",
        (
            "vault/test_vault_writer.py::"
            "test_what_is_gone_or_has_another_size_is_missing_and_what_is_more_is_seen",
            "ops/test_snapshot_lost_objects.py::"
            "test_what_was_lost_is_stored_again_though_nothing_changed",
        ),
    ),
    Mutant(
        "present-rotten",
        "ops/snapshot/session.py",
        "        self._bad |= needed\n",
        "        pass\n",
        "Nor is one that a verification found rotten.",
        ("ops/test_snapshot_lost_objects.py::test_what_a_verification_found_rotten_is_stored_anew",),
    ),
    Mutant(
        "present-invented",
        "ops/snapshot/lookup.py",
        "        if size is None:\n            return None\n",
        "        if size is None:\n            size = place.offset + place.size\n",
        "Nor is one that the catalog alone tells of.",
        (WITNESS + "test_a_blob_that_a_segment_invents_is_missed",),
    ),
    Mutant(
        "present-other-digest",
        "ops/snapshot/lookup.py",
        "            if size != place.size or stated != place.digest:\n",
        "            if size != place.size:\n",
        "A raw blob serves its own digest only, whatever the catalog says.",
        (WITNESS + "test_nor_does_a_raw_blob_serve_another_digest",),
    ),
    Mutant(
        "present-cut",
        "ops/snapshot/lookup.py",
        "        elif size < max(place.offset + place.length, self._catalog.end_of(place.key)):\n",
        "        elif False:\n",
        "A pack that was cut off serves nobody.",
        ("ops/test_attacks.py::TestRotIsStoredAnew::test_a_pack_that_was_cut_off_serves_nobody",),
    ),
    Mutant(
        "amended-list",
        "vault/objectlist.py",
        "        if not amendments:\n            yield from self.original()",
        "        if True:\n            yield from self.original()",
        "Readers apply amendments to every line of an object list.",
        ("vault/test_vault_objectlist.py::test_amendments_replace_and_purge",),
    ),
    Mutant(
        "amended-blob",
        "vault/blobs.py",
        "            found = [place for place in found if not objects.replaced(place.key)]\n",
        "",
        "And take nothing from a key that was replaced, though it may still be there.",
        ("ops/test_purge.py::test_nobody_gets_what_was_purged_though_it_is_still_there",),
    ),
    Mutant(
        "amendment-gap",
        "vault/amendments.py",
        "        if number != expected and not leave_damaged:\n",
        "        if False:\n",
        "An amendment that is gone stops whoever writes.",
        ("vault/test_vault_blobs.py::test_amendments_without_a_gap_are_applied",),
    ),
    Mutant(
        "busy",
        "ops/snapshot/capture.py",
        "            if not suspects:\n",
        "            if True:\n",
        "What may be an instant of a living registry is looked at again.",
        ("ops/test_snapshot_busy.py::test_a_push_between_tags_and_revisions_is_read_again",),
    ),
    Mutant(
        "busy-closure",
        "ops/snapshot/capture.py",
        "        links = settle(links, newer.links(), parsed, sizes)\n",
        "",
        "Where a repository never holds still, a tag is kept with all that it reaches, or not.",
        (
            "ops/test_snapshot_busy.py::"
            "test_every_tag_has_its_whole_closure_whatever_happens_meanwhile",
        ),
    ),
    Mutant(
        "rank-new",
        "policy/damage.py",
        "return Rank.KNOWN if seen else Rank.NEW",
        "return Rank.KNOWN",
        "New damage at the source is told from what is known.",
        (SOURCE + "test_damage_is_named_survived_known_and_forgotten",),
    ),
    Mutant(
        "unreadable",
        "ops/snapshot/take.py",
        "            complete=not self.result.unreadable,\n",
        "            complete=True,\n",
        "A snapshot for which something could not be read is not complete.",
        (SOURCE + "test_what_cannot_be_read_is_not_taken_for_gone",),
    ),
]  # fmt: skip
