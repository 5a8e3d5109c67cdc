"""The verb `copy`: the snapshots of one vault, in others too; each byte proven, roots verbatim.

A registry of a vault is native, or fed by one origin: what is copied fills the same slot with the
same two lines, so chains, digests and signatures stay what they were. (`docs/vault-format.md`,
"Copies".)
"""

from regvault.ops.copy.result import CopyOptions, CopyResult
from regvault.ops.copy.run import copy

__all__ = ["CopyOptions", "CopyResult", "copy"]
