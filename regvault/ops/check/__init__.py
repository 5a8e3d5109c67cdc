"""The verb `check`: are there enough copies, apart enough, young enough, and proven?

`vaults` and `live` gather evidence, `matching` says which snapshots are of which registry, `run`
holds it against `regvault.policy.rule321`, `record` leaves the report in the vaults.
"""

from regvault.ops.check.places import RegistryAt, VaultAt
from regvault.ops.check.record import record
from regvault.ops.check.report import CheckResult
from regvault.ops.check.run import check

__all__ = ["CheckResult", "RegistryAt", "VaultAt", "check", "record"]
