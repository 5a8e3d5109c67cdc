from __future__ import annotations

import pytest
from registry_place import Md5Store, Place

from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore


def make(flavour, tmp_path):
    if flavour == "tree":
        root = tmp_path / "registry"
        made = Place(LocalStore(root, create=True, follow_symlinks=True), flavour, root)
    else:
        made = Place(MemoryStore() if flavour == "flat" else Md5Store(), flavour)
    yield made
    for source in made.sources:
        source.close()


@pytest.fixture(params=["tree", "flat", "md5"])
def place(request, tmp_path):
    yield from make(request.param, tmp_path)


@pytest.fixture
def tree(tmp_path):
    yield from make("tree", tmp_path)


@pytest.fixture
def flat(tmp_path):
    yield from make("flat", tmp_path)


@pytest.fixture
def md5(tmp_path):
    yield from make("md5", tmp_path)
