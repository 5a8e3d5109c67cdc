"""Events that never came: what a registry counted, against what is here, and what its log has.

A registry's notifications wait in its memory. When it dies they are gone; its own counters said how
many there were, and its log, where it is read, which ones.
"""
