"""The verb `restore`: images of a snapshot, back into a registry's own storage.

`select` chooses what of each repository comes back, `worklist` knows where its blobs lie, `blobs`
writes them, `run` leads: blobs first, then links, `current` links last.
"""

from regvault.ops.restore.result import RestoreOptions, RestorePlan, RestoreResult
from regvault.ops.restore.run import Restorer

__all__ = ["RestoreOptions", "RestorePlan", "RestoreResult", "Restorer"]
