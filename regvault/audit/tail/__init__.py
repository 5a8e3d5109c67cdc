"""Follows files of logs, as they grow and are rotated, and puts their lines into a spool.

Nothing is skipped, and nothing is counted twice: a position is saved only after the events before
it are durable in the spool, so after a crash some lines are put into it again, and those have the
same ids as before.

A file is told by what it begins with: its *fingerprint* is over the beginning up to the end of the
first line that is neither empty nor begins with `#`, 1 KiB at most. Until that much is there,
nothing of the file is read. So the fingerprint stays the same while the file grows, when it is
renamed, when it is copied and truncated, and when it is compressed; device and inode only say where
to look. A header of `#` lines, which is the same in all files of a format, is not all of it.

The id of a line is `derived_id("line", fingerprint, offset, line)`, where the offset is that in
what is not compressed. The state is not needed to make it: where that is lost, all is read again,
with the same ids. Two files that begin alike at one time (a health check that two proxies log in
the same second) get different ids all the same: the second one that is seen has a random salt after
its fingerprint. The state has it durably before its first line goes into the spool; where the state
is lost, those files' lines get other ids, and are repeats that nobody recognises. None is lost.

A rotated file (`app.log.1`, `app.log-20261120.gz`) goes on where another was read to, if it begins
with the very same bytes up to there: their CRC-32 is in the state beside the position. As long as
the other one is still there, what begins like it is a copy of it, and is not read. Rotated files
beside a log that no path names are looked for whenever there is a new file in its place, or other
content in it: those that nobody knows are read if they were written to since the log was read last.

names.py       which files, and which names rotated files have
files.py       reads plain and compressed files; fingerprints
state.py       positions, durably
identity.py    which known file a file is
lines.py       lines of one file, as events
batch.py       events into the spool, and positions after them
reader.py      one open file
scan.py        which files there are now, and what is to be opened
follow.py      all of them
"""

from regvault.audit.tail.follow import Follower, Tailed

__all__ = ["Follower", "Tailed"]
