"""The verb `snapshot`: one full, immutable point in time of a registry.

The way of the data: `session` (what the vault has) -> `plan` (what changed) -> `capture` (one
repository) with `storer` (its blobs) and `state` (its lines) -> `tally` (what the snapshot needs)
-> `commit` (object list and root). `take` goes this way; `run` takes the lease and leads.
"""

from regvault.ops.snapshot.result import SnapshotOptions, SnapshotResult
from regvault.ops.snapshot.run import snapshot

__all__ = ["SnapshotOptions", "SnapshotResult", "snapshot"]
