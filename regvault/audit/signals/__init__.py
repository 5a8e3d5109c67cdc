"""What regvault notices in the stream of events: `docs/signals.md`.

Each signal is a small class that takes events in the order of the spool and says what it noticed.
None of them asks for the time: what an event brings is all that counts, so events that are read
again after a crash make the same signals, with the same ids.
"""
