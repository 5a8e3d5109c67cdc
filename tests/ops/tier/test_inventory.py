"""An S3 Inventory instead of a listing: the same plan, and no key of another prefix or version."""

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from operator import attrgetter
from urllib.parse import quote_plus

import pytest
from tiered import DAY, START, Tiered

from regvault.errors import SourceError, UsageError
from regvault.ops.tier.contents import contents_of
from regvault.ops.tier.inventory import Inventory

SCHEMA = (
    "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"
)


class Files:
    """An inventory of two files."""

    def __init__(self, rows, schema=SCHEMA, kind="CSV"):
        self.schema, self.kind = schema, kind
        half = len(rows) // 2
        self.files = {
            "data/b.csv.gz": self.packed(rows[half:]),
            "data/a.csv.gz": self.packed(rows[:half]),
        }

    @staticmethod
    def packed(rows):
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
        return gzip.compress(text.getvalue().encode())

    def manifest(self, limit):
        found = {
            "sourceBucket": "registry",
            "creationTimestamp": str(int((START + 119 * DAY) * 1000)),
            "fileFormat": self.kind,
            "fileSchema": self.schema,
            "files": [{"key": key} for key in self.files],
        }
        return json.dumps(found).encode()[:limit]

    def open(self, key):
        return io.BytesIO(self.files[key])


def row(key, size, etag, modified_ns, storage_class, *, latest="true", marker="false"):
    time = datetime.fromtimestamp(modified_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return ["registry", quote_plus(key), "v", latest, marker, size, time, etag, storage_class]


@pytest.fixture
def registry():
    made = Tiered()
    busy = made.image("busy/app", "live")
    for day in range(121):
        made.pull_image(day, "busy/app", busy)
    for number in range(4):
        made.image(f"team/old-{number}", "v1")
    return made


@pytest.fixture
def rows(registry):
    found = [
        row(f"some/prefix/{entry.key}", entry.size, entry.etag, entry.modified_ns, name)
        for entry, name in registry.store.list_classes()
    ]
    return found[::-1]


def plan_of(registry, files):
    from regvault.model.progress import NO_PROGRESS
    from regvault.ops.tier.plan import PlanOptions, plan_registry

    found = Inventory(files)
    assert found.bucket == "registry"
    return plan_registry(
        registry.source(),
        registry.store,
        registry.accesses(120),
        PlanOptions(registry.table),
        now_us=int((START + 120 * DAY) * 1e6),
        progress=NO_PROGRESS,
        contents=contents_of(found.entries("some/prefix/"), ordered=False),
    )


def test_the_plan_is_that_of_a_listing(registry, rows):
    listed = registry.plan(120)
    found = plan_of(registry, Files(rows))
    # Times of an inventory are of whole seconds: money differs a little.
    asked = attrgetter("key", "size", "etag", "source", "target", "repository", "reads")
    assert sorted(map(asked, found.moves())) == sorted(map(asked, listed.moves()))
    assert len(list(found.moves())) == 4


def test_other_prefixes_old_versions_and_deleted_keys_are_left_out(registry, rows):
    of_blob = next(each for each in rows if each[5] > 1 << 20)
    more = [
        [*of_blob[:3], "false", *of_blob[4:]],
        [*of_blob[:3], "true", "true", *of_blob[5:]],
        ["registry", "another/" + of_blob[1], *of_blob[2:]],
    ]
    found = plan_of(registry, Files([*more, *rows]))
    assert len(list(found.moves())) == 4


def test_a_blob_that_is_there_twice_is_an_error(registry, rows):
    with pytest.raises(SourceError, match="twice"):
        plan_of(registry, Files([*rows, *rows]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9],
        lambda _: b"no gzip",
        lambda _: Files.packed([["registry", "some/prefix/x/data"]]),
        lambda _: Files.packed([row("some/prefix/x/data", "many", "e", 0, "STANDARD")]),
    ],
)
def test_a_damaged_file_is_an_error(registry, rows, damage):
    files = Files(rows)
    files.files["data/a.csv.gz"] = damage(files.files["data/a.csv.gz"])
    with pytest.raises(SourceError, match="of the inventory"):
        plan_of(registry, files)


def test_what_lacks_a_column_or_is_no_csv_is_refused(rows):
    with pytest.raises(UsageError, match="lacks StorageClass"):
        Inventory(Files(rows, schema=SCHEMA.replace(", StorageClass", "")))
    with pytest.raises(UsageError, match="it is in Parquet"):
        Inventory(Files(rows, kind="Parquet"))

    class Nothing(Files):
        def manifest(self, limit):
            return b"{}"

    with pytest.raises(UsageError, match=r"no manifest\.json"):
        Inventory(Nothing(rows))
