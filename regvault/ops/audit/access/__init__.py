"""Access statistics: of each manifest and blob, when it was last pulled, how often, by how many.

They follow from the archived events of a vault, and from nothing else: `statistics.py` brings them
up to date, link by link of the chains; `view.py` answers. `link.py` reads what counts out of a
link, `fold.py` puts records of one request together and counts them, `tables.py` keeps it all in a
SQLite file of the local cache, and `kept.py` in the vault.

Whatever was counted when, where, and how often it was struck down: the answers are the same. Each
link is counted once, in one transaction. Records wait until no other of their request can come
(`LATE_US`), and are put together in the order of their times. A record that comes later than that
is put together with those of its own link alone.
"""
