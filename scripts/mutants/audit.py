"""Mutants of the audit stream: what makes events durable, kept once, proven and forgotten."""

from __future__ import annotations

from mutant import Mutant

SPOOL = "audit/spool/test_spool.py::"
SERVE = "serve/test_receiver.py::"
ARCHIVE = "ops/audit/test_archive.py::"
FORGETTING = "ops/audit/test_forgetting.py::"

MUTANTS = [
    Mutant(
        "audit-sync",
        "audit/spool/spool.py",
        "            os.fdatasync(self._fd)\n        except OSError:",
        "            pass\n        except OSError:",
        "An event is durable before it is answered (rule 24).",
        (
            SERVE + "test_an_answer_comes_after_the_sync",
            SPOOL + "test_a_sync_that_fails_is_no_success_and_what_follows_goes_elsewhere",
        ),
    ),
    Mutant(
        "audit-full",
        "audit/spool/spool.py",
        "                if self._older + self._size + total > self._limit:\n                    raise",
        "                if False:\n                    raise",
        "A full spool refuses (rule 25).",
        (SPOOL + "test_a_full_spool_refuses_and_drops_nothing",),
    ),
    Mutant(
        "audit-cursor",
        "audit/spool/spool.py",
        "if not wanted or following > min(wanted):",
        "if not wanted or following > max(wanted):",
        "What one consumer lacks is kept.",
        (SPOOL + "test_what_one_consumer_lacks_is_kept",),
    ),
    Mutant(
        "audit-checksum",
        "audit/spool/record.py",
        "if end < size and crc32(body) == int(data[at + 9 : at + 17], 16) and body[:7] == _SEQ:",
        "if end < size and body[:7] == _SEQ:",
        "A damaged record is no event.",
        (SPOOL + "test_every_damaged_byte_costs_its_own_record_only_and_is_reported",),
    ),
    Mutant(
        "audit-number",
        "audit/spool/spool.py",
        "            self._next += 1 + lost\n",
        "",
        "A number that something unreadable may have had is not given again.",
        (SPOOL + "test_torn_at_every_byte_costs_only_the_record_that_is_torn",),
    ),
    Mutant(
        "audit-token",
        "serve/receiver.py",
        "return hmac.compare_digest(shown, self._token)",
        "return shown.startswith(self._token[:-1])",
        "Only who shows the token may put events.",
        (SERVE + "test_only_who_shows_the_token_may_put_events",),
    ),
    Mutant(
        "audit-partial",
        "serve/group_commit.py",
        "if end <= stored:",
        "if end <= stored + 1:",
        "Of a batch only what is durable is answered.",
        (SERVE + "test_of_a_batch_that_did_not_fit_only_what_is_durable_is_answered",),
    ),
    Mutant(
        "archive-slot",
        "vault/audit/chain.py",
        "            store.put(key, data, if_none_match=True)\n",
        "            store.put(key, data)\n",
        "A slot of a chain is filled once.",
        (ARCHIVE + "test_two_archivers_of_one_stream_double_nothing",),
    ),
    Mutant(
        "archive-overlap",
        "ops/audit/archive.py",
        "if any(positions.get(name, first) != first for name, first in segment.start.items()):",
        "if False:",
        "What another archiver has is not archived again.",
        (ARCHIVE + "test_two_archivers_of_one_stream_double_nothing",),
    ),
    Mutant(
        "archive-repeats",
        "ops/audit/collected.py",
        "for place, part in enumerate(parts) if place not in repeats]",
        "for place, part in enumerate(parts)]",
        "A repeat is left out.",
        (ARCHIVE + "test_repeats_are_left_out_also_when_what_is_remembered_is_lost",),
    ),
    Mutant(
        "archive-catch-up",
        "ops/audit/archive.py",
        "            self._seen.add(list(_ids(reader)))\n            self._seen.keep(link.number, oldest)\n",
        "            self._seen.keep(link.number, oldest)\n",
        "What is remembered of ids is made anew from the archive.",
        (ARCHIVE + "test_repeats_are_left_out_also_when_what_is_remembered_is_lost",),
    ),
    Mutant(
        "archive-part",
        "vault/audit/index.py",
        "        if hashlib.sha256(data).hexdigest() != place.sha256:",
        "        if False:",
        "What an index says is proven by the link that names it.",
        (ARCHIVE + "test_an_index_that_was_forged_hides_nothing",),
    ),
    Mutant(
        "archive-segment",
        "ops/audit/verify.py",
        "if size != link.size or self._digest(reader, size) != link.digest:",
        "if False:",
        "A segment is proven by its link.",
        (ARCHIVE + "test_every_change_of_the_archive_is_named",),
    ),
    Mutant(
        "archive-expiry",
        "ops/audit/forgetting.py",
        "            write_expiry(vault, chain.through, run, plan.keep_s)\n",
        "",
        "Before archived events are deleted, the vault says that they are not kept any more.",
        (FORGETTING + "test_events_go_when_their_time_is_over_and_the_rest_is_proven",),
    ),
    Mutant(
        "archive-expiry-signed",
        "vault/signing.py",
        '"audit", "audit-expiry"})',
        '"audit"})',
        "Nobody without the key can pass the loss of archived events off as their end.",
        (FORGETTING + "test_what_says_that_segments_are_gone_is_believed_only_where_it_is_signed",),
    ),
    Mutant(
        "archive-locks",
        "ops/locking.py",
        "if found is None or found.until_ns <= state.due_before_ns:",
        "if False:",
        "Archived events stay locked, also where nothing takes snapshots.",
        (
            "ops/audit/test_archive_locks.py::"
            "test_no_lock_of_an_archive_lapses_where_there_are_no_snapshots",
        ),
    ),
    Mutant(
        "archive-previous",
        "ops/audit/verify.py",
        "        if link.previous != before.sha256:\n",
        "        if False:\n",
        "Each link names the one before it.",
        (ARCHIVE + "test_a_link_that_took_the_place_of_another_is_named",),
    ),
    Mutant(
        "archive-cut-off",
        "ops/audit/verify.py",
        "        if newest > head:\n",
        "        if False:\n",
        "A tail that is cut off is named where a root or a record knew of it.",
        (
            ARCHIVE + "test_a_tail_that_is_cut_off_is_named_where_a_snapshot_knew_of_it",
            ARCHIVE + "test_a_tail_that_is_cut_off_is_named_where_a_verification_knew_of_it",
        ),
    ),
    Mutant(
        "archive-heads",
        "ops/snapshot/take.py",
        "audit=heads(session.vault, known),",
        "audit={},",
        "A root says how far chains were.",
        (ARCHIVE + "test_a_tail_that_is_cut_off_is_named_where_a_snapshot_knew_of_it",),
    ),
    Mutant(
        "archive-persons",
        "audit/split.py",
        "            return Parts(public, personal, event, persons)\n    except",
        "            return Parts(value, personal, event, persons)\n    except",
        "What tells of persons is nowhere but under the key of its month.",
        (ARCHIVE + "test_a_month_that_is_erased_tells_of_nobody_and_the_chain_is_whole",),
    ),
    Mutant(
        "archive-erased",
        "vault/audit/months.py",
        '        if body.get("erased") is not None:\n            return None\n        key = month_key',
        "        key = month_key",
        "Nothing is added to a month that was erased.",
        (ARCHIVE + "test_a_month_that_is_erased_tells_of_nobody_and_the_chain_is_whole",),
    ),
]
