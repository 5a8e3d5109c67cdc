"""The verb `repair`: mend a vault from what is whole in it, other vaults and live registries."""

from regvault.ops.repair.plan import Action, RepairPlan, plan_repair
from regvault.ops.repair.run import RepairResult, repair
from regvault.ops.repair.spares import RegistrySpare, Spare, VaultSpare

__all__ = [
    "Action",
    "RegistrySpare",
    "RepairPlan",
    "RepairResult",
    "Spare",
    "VaultSpare",
    "plan_repair",
    "repair",
]
