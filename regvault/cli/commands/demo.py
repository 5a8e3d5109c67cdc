"""`regvault demo`: a guided tour on a throw-away registry."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.errors import RegvaultError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.cli.app import App
    from regvault.model.registry import RegistrySource
    from regvault.ops.snapshot import SnapshotResult
    from regvault.vault.vault import Vault


@command(
    "demo",
    examples=[
        ("The tour", "regvault demo"),
        ("And keep what it made, to play with", "regvault demo --keep ./demo-registry"),
    ],
    exit_codes=(0, 1, 2),
)
@click.option(
    "--keep", metavar="DIR", type=click.Path(), help="Work in this new directory, and leave it."
)
@click.pass_obj
def demo(app: App, keep: str | None) -> None:
    """Show what regvault does, on a throw-away registry with real images.

    Makes a registry, takes a snapshot, changes the registry, takes another, destroys the registry,
    restores it, and proves that every file came back as it was.
    """
    if keep is None:
        directory = tempfile.mkdtemp(prefix="regvault-demo-")
    else:
        directory = os.path.abspath(keep)
        if os.path.exists(directory):
            raise UsageError(f"{directory} is there already", hint="Give a new directory.")
        try:
            os.makedirs(directory)
        except OSError as error:
            raise UsageError(
                f"{directory} cannot be made: {error.strerror}", hint="Give another directory."
            ) from None
    try:
        _Tour(app, directory, kept=keep is not None).run()
    finally:
        if keep is None:
            shutil.rmtree(directory, ignore_errors=True)


class _Tour:
    def __init__(self, app: App, directory: str, *, kept: bool) -> None:
        self.app = app
        self.registry = os.path.join(directory, "registry")
        self.vault = os.path.join(directory, "vault")
        self.restored = os.path.join(directory, "restored")
        self.cache = os.path.join(directory, "cache")
        self.kept = kept
        self.step = 0

    def tell(self, text: str, command_line: str = "") -> None:
        """Say what comes next, and what one would type."""
        self.step += 1
        say = self.app.console.say
        say()
        say(f"{self.step}. {text}")
        if command_line:
            say(f"   $ regvault {command_line}")

    def say(self, text: str) -> None:
        self.app.console.say(f"   {text}")

    def run(self) -> None:
        """Take the tour.

        Raises:
            RegvaultError: what came back is not what was there.
        """
        from regvault.assemble import create_vault, open_vault
        from regvault.config.places import VaultPlace
        from regvault.model.location import Role, parse_location

        self.tell("A registry, as CNCF distribution stores one: real images of all kinds.")
        self.build()
        place = VaultPlace(parse_location(self.vault, Role.VAULT))
        self.tell("A vault for it.", f"init {self.vault}")
        create_vault(place)
        vault = open_vault(place)
        self.tell("The first full snapshot.", f"snapshot fs:{self.registry} --vault {self.vault}")
        self.snapshot(vault)
        self.tell("The registry lives: an image is pushed, a tag moves, another is deleted.")
        self.change()
        self.tell(
            "The next full snapshot costs what changed.",
            f"snapshot fs:{self.registry} --vault {self.vault}",
        )
        self.snapshot(vault)
        self.tell("And with nothing new, it costs next to nothing.")
        self.snapshot(vault)
        self.tell("Disaster: the registry is gone.", "")
        before = os.path.join(os.path.dirname(self.registry), "before")
        os.rename(self.registry, before)  # kept aside, to compare with at the end
        self.say(f"rm -rf {self.registry}")
        self.tell("Restore it.", f"restore latest --vault {self.vault} --to fs:{self.restored}")
        self.restore(vault)
        self.tell("Is it the same, file by file, byte by byte?")
        files, nbytes = _compare(before, self.restored)
        shutil.rmtree(before)
        self.say(f"Yes: {files} files, {fmt.size(nbytes)}, all identical.")
        self.tell("Prove the vault itself, every byte.", f"verify --vault {self.vault} --read-data")
        self.verify(vault)
        self.app.console.say()
        if self.kept:
            self.say(
                f"It is all in {os.path.dirname(self.registry)}; try: regvault ls --vault "
                f"{self.vault}"
            )
        self.app.console.document({"ok": True, "files": files, "bytes": nbytes})

    def build(self) -> None:
        from regvault.assemble import open_directory
        from regvault.ops.sample import build_sample

        with self.app.progress() as progress:
            progress.phase("Building a registry")
            made = build_sample(open_directory(self.registry))
        self.say(
            f"{len(made.repositories)} repositories, {len(made.tags)} tags, "
            f"{fmt.size(made.bytes)}: multi-platform and nested indexes, shared layers, a "
            "signature, an SBOM, untagged revisions."
        )

    def change(self) -> None:
        from regvault.assemble import open_directory
        from regvault.ops.sample import change_sample

        change = change_sample(open_directory(self.registry))
        self.say(
            f"pushed {', '.join(change.pushed)}; moved {', '.join(change.moved)}; "
            f"deleted {', '.join(change.deleted)}"
        )

    def source(self) -> RegistrySource:
        from regvault.assemble import open_source
        from regvault.config.places import RegistryPlace
        from regvault.model.location import Role, parse_location

        place = RegistryPlace(parse_location(f"fs:{self.registry}", Role.SOURCE))
        return open_source(place, threads=4)

    def snapshot(self, vault: Vault) -> SnapshotResult:
        from regvault.ops.snapshot import SnapshotOptions, snapshot

        with self.app.progress() as progress:
            result = snapshot(
                vault,
                self.source(),
                SnapshotOptions(registry="demo"),
                progress=progress,
                cache_base=self.cache,
            )
        assert result.root is not None
        self.say(
            f"Snapshot {result.root.name}: {result.root.counts.tags} tags, "
            f"{fmt.size(result.root.counts.nbytes)}. New: {result.stored} blobs, "
            f"{fmt.size(result.stored_bytes)}; written: {result.objects} objects, "
            f"{fmt.size(result.objects_bytes)}."
        )
        return result

    def restore(self, vault: Vault) -> None:
        from regvault.assemble import open_target
        from regvault.config.places import RegistryPlace
        from regvault.model.location import Role, parse_location
        from regvault.ops.restore import RestoreOptions, Restorer
        from regvault.vault.blobs import BlobReader
        from regvault.vault.catalog import Catalog, vault_cache

        place = RegistryPlace(parse_location(f"fs:{self.restored}", Role.TARGET))
        target, existing = open_target(place, threads=4)
        root = next(vault.roots("demo"))
        objects = vault.object_list(root)
        catalog = Catalog(vault.store, vault_cache(self.cache, vault.id), vault.seal)
        catalog.prepare(root.counts.blobs)
        reader = BlobReader(vault.store, catalog, objects)
        with self.app.progress() as progress:
            restorer = Restorer(
                vault, root, objects, reader, target, existing, RestoreOptions(), progress
            )
            result = restorer.execute(restorer.plan())
            restorer.close()
        catalog.close()
        self.say(
            f"{result.plan.repositories} repositories, {result.tags_written} tags, "
            f"{result.blobs_written} blobs, {fmt.size(result.bytes_written)}, each proven."
        )

    def verify(self, vault: Vault) -> None:
        from regvault.ops.verify import VerifyOptions, verify
        from regvault.ops.verify.data import Sample

        with self.app.progress() as progress:
            result = verify(
                vault,
                VerifyOptions(read_data=Sample()),
                progress=progress,
            )
        if result.exit_code():
            raise RegvaultError("the demo's vault is damaged: that is a bug")
        self.say(
            f"{result.snapshots} snapshots are whole: {result.report.objects} objects, "
            f"{fmt.size(result.report.nbytes)} read."
        )


def _files(root: str) -> Iterator[str]:
    for directory, _, names in os.walk(root):
        for name in names:
            yield os.path.relpath(os.path.join(directory, name), root)


def _compare(before: str, after: str) -> tuple[int, int]:
    """Return the number and bytes of files, which are the same in both trees.

    Raises:
        RegvaultError: they are not.
    """
    left, right = sorted(_files(before)), sorted(_files(after))
    if left != right:
        lost = set(left) ^ set(right)
        raise RegvaultError(f"what came back differs: {len(lost)} files, such as {min(lost)}")
    nbytes = 0
    for name in left:
        with (
            open(os.path.join(before, name), "rb") as one,
            open(os.path.join(after, name), "rb") as other,
        ):
            data = one.read()
            if data != other.read():
                raise RegvaultError(f"what came back differs: {name}")
            nbytes += len(data)
    return len(left), nbytes
