"""The verb `tier gc`: what nobody needs goes, by the registry's own hand, and nothing else does."""

from regvault.ops.tier.garbage.collect import parse_command
from regvault.ops.tier.garbage.plan import GarbageOptions, GarbagePlan, plan_garbage
from regvault.ops.tier.garbage.run import GarbageResult, collect_garbage

__all__ = [
    "GarbageOptions",
    "GarbagePlan",
    "GarbageResult",
    "collect_garbage",
    "parse_command",
    "plan_garbage",
]
