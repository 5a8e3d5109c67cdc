"""The verb `doctor`: what would make a backup or a restore fail, before it does.

`run.py` goes through the places; `vault.py`, `source.py` and `stream.py` collect the facts of one,
`trials.py` writes on trial. What the facts mean is judged by `regvault.policy.doctor`.
"""

from regvault.ops.doctor.run import Diagnosis, diagnose
from regvault.ops.doctor.subjects import (
    DoctorOptions,
    SourceSubject,
    SpoolSubject,
    TopicSubject,
    VaultSubject,
)

__all__ = [
    "Diagnosis",
    "DoctorOptions",
    "SourceSubject",
    "SpoolSubject",
    "TopicSubject",
    "VaultSubject",
    "diagnose",
]
