"""Events for tests: spools of them, and vaults to archive them in."""

from __future__ import annotations

import json
import threading

from regvault.audit.intake import body_of
from regvault.audit.spool import Spool
from regvault.audit.spool.source import SpoolSource
from regvault.model.event import new_event
from regvault.ops.audit.archive import Archiver
from regvault.ops.audit.archived import ArchivedEvents
from regvault.ops.audit.select import Wanted
from regvault.storage.memory import MemoryStore
from regvault.vault.create import create_vault
from regvault.vault.signing import NO_KEYS
from regvault.vault.vault import Vault


def digest(number):
    return f"sha256:{number:064x}"


def body(number, **more):
    """Return the body of an event; its id is `e<number>` and it happened at second `number`."""
    hour, rest = divmod(number, 3600)
    made = new_event(
        more.pop("time", f"2026-11-20T{hour:02d}:{rest // 60:02d}:{rest % 60:02d}.000000Z"),
        more.pop("action", "pull"),
        more.pop("source", "test"),
        more.pop("raw", f"secret line {number}"),
        **{
            "method": "GET",
            "repository": "team/app",
            "digest": digest(number % 7),
            "actor": f"person-{number % 3}",
            "address": f"10.1.2.{number % 5}",
            "useragent": "secret-agent/1",
            **more,
        },
    )
    return body_of({**made, "id": f"e{number}"})


def new_vault(keys=NO_KEYS, **more):
    store = MemoryStore("vault")
    create_vault(store, keys, **more)
    return Vault(store, keys)


def archive(spool, vault, *, cache=None, **more):
    """Archive what is in a spool."""
    archiver = Archiver(vault, SpoolSource(Spool(spool)), cache=cache, **more)
    return archiver.run(threading.Event(), follow=False)


def archived(vault, **wanted):
    return list(ArchivedEvents(vault).find(Wanted(**wanted)))


def ids(events):
    return [event["id"] for event in events]


def spooled(place, *numbers, **more):
    spool = Spool(str(place))
    spool.append([body(number, **more) for number in numbers])
    return str(place)


def plain(events):
    return [json.dumps(event) for event in events]
