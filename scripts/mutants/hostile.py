"""Mutants of what stands against hostile input (invariants 5 and 8), and of signatures."""

from __future__ import annotations

from mutant import Mutant

SIGNED = "ops/test_signatures.py::test_an_intruder_without_the_key_is_found_out"
TREE = "vault/test_vault_tree.py::"
ENVELOPE = "vault/test_vault_envelope.py::"

MUTANTS = [
    Mutant(
        "denied",
        "ops/restore/select.py",
        '        **dict.fromkeys(deny, "denied"),\n',
        "",
        "A denied digest stays out, with every image that needs it.",
        (
            "ops/test_restore_identity.py::"
            "test_a_denied_digest_stays_out_with_every_image_that_needs_it",
        ),
    ),
    Mutant(
        "purged-stays-out",
        "ops/restore/select.py",
        '        **dict.fromkeys(purged, "purged"),\n',
        "",
        "So does what was purged.",
        (
            "ops/test_purge.py::"
            "test_an_image_that_needs_it_is_not_restored_by_name_and_that_is_said",
        ),
    ),
    Mutant(
        "index-of-denied",
        "ops/restore/select.py",
        "            if reasons - {None}:\n",
        "            if False:\n",
        "And every index above such an image.",
        (
            "ops/test_restore_identity.py::"
            "test_a_denied_digest_stays_out_with_every_image_that_needs_it",
        ),
    ),
    Mutant(
        "repository-name",
        "ops/snapshot/session.py",
        "    if not is_repository(name) or not is_digest(state) or not fingerprint:\n",
        "    if not is_digest(state) or not fingerprint:\n",
        "The name of a repository in a vault is checked before it becomes a path.",
        (
            "ops/test_restore_identity.py::"
            "test_hostile_repository_names_in_a_vault_lead_nowhere",
        ),
    ),
    Mutant(
        "tag-name",
        "model/state.py",
        'good = is_tag(name) and (is_digest(value) or (what == "tag" and not value))',
        'good = is_digest(value) or (what == "tag" and not value)',
        "So is a tag.",
        ("ops/test_restore_identity.py::test_hostile_lines_of_a_state_lead_nowhere",),
    ),
    Mutant(
        "digest-name",
        "model/state.py",
        "        good = is_digest(name)\n",
        "        good = True\n",
        "And a digest.",
        ("ops/test_restore_identity.py::test_hostile_lines_of_a_state_lead_nowhere",),
    ),
    Mutant(
        "object-key",
        "vault/keys.py",
        '        or any(part in ("", ".", "..") for part in parts)\n',
        "",
        "And the key of an object.",
        ("vault/test_vault_objectlist.py::test_a_hostile_key_is_refused",),
    ),
    Mutant(
        "store-key",
        "storage/keys.py",
        "    if (suspect and _BAD(key)) or not (key.isascii() or _encodable(key)):\n",
        "    if not (key.isascii() or _encodable(key)):\n",
        "No store takes a key that could lead elsewhere.",
        (
            "contract/test_local_store.py::TestLocalStore::"
            "test_a_key_that_could_lead_elsewhere_is_refused",
        ),
    ),
    Mutant(
        "symlinks",
        "storage/local_tree.py",
        "        self.no_follow = 0 if follow else os.O_NOFOLLOW\n",
        "        self.no_follow = 0\n",
        "No link is followed, for reading or for writing.",
        (
            "contract/test_local_store.py::TestLinks::test_no_link_is_read_through",
            "contract/test_local_store.py::TestLinks::test_no_link_is_written_or_deleted_through",
        ),
    ),
    Mutant(
        "hostile-slot",
        "vault/parties.py",
        "    if isinstance(slot, str) and is_slot(slot):\n",
        "    if isinstance(slot, str):\n",
        "A hostile lease does not have a void put anywhere but into a slot.",
        ("vault/test_vault_lease.py::test_a_hostile_lease_does_not_have_a_void_put_anywhere_else",),
    ),
    Mutant(
        "declared-size",
        "vault/frames.py",
        "    if not 0 <= size <= limit:\n",
        "    if size < 0:\n",
        "A frame that declares too much is not opened.",
        (TREE + "test_a_chunk_that_declares_too_much_is_not_opened",),
    ),
    Mutant(
        "document-bound",
        "vault/fetch.py",
        "    data = store.get(key, length=limit + 1)\n",
        "    data = store.get(key)\n",
        "Of a document no more is read than one may have.",
        ("vault/test_vault_blobs.py::test_a_vault_json_of_any_size_is_not_read_whole",),
    ),
    Mutant(
        "json-twice",
        "oci/manifest.py",
        "    if len(found) != len(pairs):\n",
        "    if False:\n",
        "What two readers could take for two things is refused.",
        ("oci/test_manifest.py::test_hostile_json_is_refused_and_stops_nothing",),
    ),
    Mutant(
        "json-depth",
        "oci/manifest.py",
        "            if depth > MAX_DEPTH:\n",
        "            if False:\n",
        "And what is nested too deep.",
        ("oci/test_manifest.py::test_hostile_json_is_refused_and_stops_nothing",),
    ),
    Mutant(
        "tree-index",
        "vault/tree.py",
        "        if (node.level, node.first()) != (level, first) or not fits:\n",
        "        if not fits:\n",
        "A chunk must be the one that its index says.",
        (
            TREE + "test_an_index_that_does_not_fit_its_chunks_is_refused",
            TREE + "test_a_chunk_of_another_level_is_refused",
        ),
    ),
    Mutant(
        "tree-endless",
        "vault/tree.py",
        "        if (node.level, node.first()) != (level, first) or not fits:\n",
        "        if (node.level, node.first()) != (level, first):\n",
        "A chunk ends before the next one begins, so that none is met twice in a tree.",
        ("vault/test_vault_tree.py::test_a_chunk_that_reaches_into_the_next_is_refused",),
    ),
    Mutant(
        "tree-order",
        "vault/tree.py",
        "        if any(a >= b for a, b in pairwise(lines)):\n",
        "        if False:\n",
        "The lines of a chunk are in order.",
        (TREE + "test_a_hostile_chunk_is_refused",),
    ),
    Mutant(
        "tree-kind",
        "vault/tree.py",
        '    if len(fields) != 4 or fields[:3] != [b"regvault-tree", b"1", kind.encode()]:\n',
        '    if len(fields) != 4 or fields[:2] != [b"regvault-tree", b"1"]:\n',
        "A chunk of one kind is not taken for another.",
        ("vault/test_vault_blobs.py::test_a_chunk_of_one_kind_is_not_taken_for_another",),
    ),
    Mutant(
        "root-slot",
        "vault/root.py",
        '        if (registry_of(body), body["sequence"]) != (name.registry, name.sequence):\n',
        "        if False:\n",
        "A root is of its own slot and registry.",
        ("vault/test_vault_blobs.py::test_a_root_in_anothers_slot_is_refused",),
    ),
    Mutant(
        "document-vault",
        "vault/envelope.py",
        "    if vault is not None and owner != vault:\n",
        "    if False:\n",
        "A document is of its own vault.",
        (ENVELOPE + "test_a_document_of_another_kind_or_vault_is_refused",),
    ),
    Mutant(
        "document-type",
        "vault/envelope.py",
        "    if kind not in types:\n",
        "    if False:\n",
        "And of the kind that belongs there.",
        (ENVELOPE + "test_a_document_of_another_kind_or_vault_is_refused",),
    ),
    Mutant(
        "format",
        "vault/envelope.py",
        "    if version != FORMAT or not known:\n",
        "    if not known:\n",
        "A document of another format is refused.",
        (ENVELOPE + "test_what_a_newer_version_wrote_is_refused_not_misread",),
    ),
    Mutant(
        "feature",
        "vault/envelope.py",
        "    if version != FORMAT or not known:\n",
        "    if version != FORMAT:\n",
        "And one with a feature that is not known.",
        (
            ENVELOPE + "test_what_a_newer_version_wrote_is_refused_not_misread",
            "ops/test_snapshot_worst_day.py::test_what_a_newer_regvault_wrote_is_refused",
        ),
    ),
    Mutant(
        "condemned-format",
        "vault/condemned.py",
        '    if version != FORMAT or header.get("features"):\n',
        "    if False:\n",
        "So is a condemned list.",
        ("vault/test_vault_condemned.py::test_a_list_from_the_future_is_refused",),
    ),
    Mutant(
        "condemned-slot",
        "vault/condemned.py",
        '    if (kind, slot, owner) != ("condemned", number, vault):\n',
        "    if False:\n",
        "A condemned list is of its own slot and vault.",
        ("vault/test_vault_condemned.py::test_a_list_of_another_slot_or_vault_is_refused",),
    ),
    Mutant(
        "signed-documents",
        "vault/envelope.py",
        "        check_signatures(vault, key, lines[0], signatures)\n",
        "        pass\n",
        "A root that nobody signed whom one trusts is refused.",
        (SIGNED,),
    ),
    Mutant(
        "signed-copies",
        "vault/envelope.py",
        "        check_signatures(vault, key, lines[2], also)\n",
        "",
        "So is the amendment that a copied root brings along.",
        ("ops/test_signatures.py::test_a_copy_whose_amendment_nobody_signed_is_refused",),
    ),
    Mutant(
        "signed-condemned",
        "vault/condemned.py",
        '                    check_signatures(vault, key, b"".join(signed), _signatures(seal))\n',
        "                    pass\n",
        "And a condemned list.",
        ("ops/test_signatures.py::test_a_condemned_list_that_nobody_signed_is_refused",),
    ),
    Mutant(
        "signed-vault",
        "vault/vault.py",
        '        check_signatures(self.id, VAULT_JSON, data.split(b"\\n", 1)[0], document.signatures)\n',
        "",
        "And `vault.json`.",
        (SIGNED + "[a new vault.json]",),
    ),
    Mutant(
        "signature-right",
        "vault/signing.py",
        "        if public.verifies(signature, data):\n",
        "        if True:\n",
        "A signature is over these very bytes.",
        ("ops/test_signatures.py::test_a_signature_of_other_bytes_counts_for_nothing",),
    ),
    Mutant(
        "signing-key",
        "vault/signing.py",
        "    if isinstance(vault, VaultId) and vault.signed and vault.keys.signer is None:\n",
        "    if False:\n",
        "Nothing unsigned is written into a signed vault.",
        ("ops/test_signatures.py::test_nobody_writes_into_a_signed_vault_without_its_key",),
    ),
    Mutant(
        "repaired-root",
        "ops/repair/roots.py",
        "        return LostRoot(name, data, spare.name) if after == digest else None\n",
        "        return LostRoot(name, data, spare.name)\n",
        "A root is put back only where its neighbour says that it belongs there.",
        ("ops/test_repair.py::test_a_root_that_does_not_fit_its_chain_is_not_put_back",),
    ),
    Mutant(
        "past-void",
        "ops/repair/past.py",
        '        return then.kind == "void"\n',
        "        return True\n",
        "A void that took the place of a root is no reason to leave it there.",
        (
            "ops/test_repair_from_the_past.py::TestWhatCanBeRead::"
            "test_what_nobody_writes_by_right_gives_way[voids]",
        ),
    ),
    Mutant(
        "past-unknown",
        "ops/repair/past.py",
        '        return then.kind in ("", "unknown", "lease", "lock")\n',
        "        return True\n",
        "Nor is a format that nobody knows.",
        (
            "ops/test_repair_from_the_past.py::TestWhatCanBeRead::"
            "test_what_nobody_writes_by_right_gives_way[newer]",
        ),
    ),
    Mutant(
        "own-vault",
        "assemble/__init__.py",
        "    require_own(vault)\n",
        "",
        "A vault that has the `vault.json` of another one is not written to.",
        (
            "ops/test_repair_identity.py::"
            "test_the_vault_json_of_another_vault_is_said_at_once[verify]",
        ),
    ),
    Mutant(
        "identity-signed",
        "vault/identity.py",
        "        check_signatures(trust, key, line, signatures)\n",
        "",
        "And what nobody signed gives a signed vault no other name.",
        (
            "ops/test_repair_identity.py::TestIdentify::"
            "test_what_nobody_signed_does_not_count_in_a_signed_vault",
        ),
    ),
    Mutant(
        "confirmed-root",
        "vault/records.py",
        "    return named == (name.registry, name.sequence, root.sha256)\n",
        "    return named[:2] == (name.registry, name.sequence)\n",
        "A confirmation, or a pin, is of this very root.",
        (
            "vault/test_vault_blobs.py::"
            "test_a_held_snapshot_is_held_until_this_very_root_is_confirmed",
        ),
    ),
    Mutant(
        "redacted",
        "model/location.py",
        r'    return _SECRET_FIELD.sub(r"\1***", _USERINFO.sub("://***@", conceal(text)))' + "\n",
        "    return text\n",
        "Credentials are in no message.",
        ("config/test_location.py::test_credentials_are_taken_out_of_messages",),
    ),
    Mutant(
        "concealed",
        "cli/output.py",
        '            sys.stdout.write(f"{conceal(line)}\\n")\n',
        '            sys.stdout.write(f"{line}\\n")\n',
        "Private keys are in no result.",
        ("cli/test_secrecy.py::test_no_output_has_a_private_key",),
    ),
    Mutant(
        "concealed-source",
        "vault/signing.py",
        "    if is_private_key(text):\n",
        "    if False:\n",
        "And are not repeated where a public key is asked for.",
        ("cli/test_secrecy.py::test_a_private_key_in_the_place_of_a_public_one_is_not_repeated",),
    ),
]  # fmt: skip
