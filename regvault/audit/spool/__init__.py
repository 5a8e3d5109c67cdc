"""The spool: events that are durable on this host, until all who take them from it have them.

A directory:

DIR/spool.json                 its id, made once
DIR/lock                       held by who appends; names the newest segment
DIR/<first seq>.seg            records, see `record.py`; appended to, never rewritten
DIR/cursors/<consumer>         the next number that a consumer wants; with the one before
"""

from regvault.audit.spool.cursor import Cursor
from regvault.audit.spool.reader import Damage, Reader, Record
from regvault.audit.spool.spool import Spool, SpoolFullError, Usage

__all__ = ["Cursor", "Damage", "Reader", "Record", "Spool", "SpoolFullError", "Usage"]
