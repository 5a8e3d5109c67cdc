"""The verb `verify`, in three depths, each holding the ones before.

`presence`: every object that a snapshot needs is there, with its size. `metadata`: every document,
tree, segment and meta object is what its name or checksum says, and every snapshot's closure is
complete. `data`: every pack and raw blob is read. `run` leads.
"""

from regvault.ops.verify.run import VerifyOptions, VerifyResult, verify

__all__ = ["VerifyOptions", "VerifyResult", "verify"]
