"""The verb `prune`: condemn what no snapshot needs, then delete what is condemned."""

from regvault.ops.prune.plan import PrunePlan, plan_prune
from regvault.ops.prune.run import PruneResult, prune

__all__ = ["PrunePlan", "PruneResult", "plan_prune", "prune"]
