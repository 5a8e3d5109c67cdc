"""Archived audit events in a vault (`docs/vault-format.md`, "Audit").

A chain for each stream of events: documents in numbered slots, each naming the one before it and a
segment: the events themselves. What tells of persons is encrypted in it with a key of its month,
which lies apart from all that is locked.
"""
