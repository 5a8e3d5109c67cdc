"""Parsers keep their word whatever they are given: invariant 8 (`targets.py` says what that is)."""

from __future__ import annotations

from pathlib import Path

import pytest
import seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutations
from targets import TARGETS, sealed

from regvault.errors import VaultDamagedError
from regvault.vault.root import parse_root

REGRESSIONS = Path(__file__).parent / "regressions"
KEPT = sorted(REGRESSIONS.glob("*/*"))
quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


@pytest.mark.parametrize("name", sorted(TARGETS))
class TestEachTarget:
    def test_takes_what_its_writer_makes(self, name):
        for data in TARGETS[name].seeds():
            assert TARGETS[name].run(data), data[:200]

    def test_keeps_its_word_about_what_became_of_that(self, name):
        @quick
        @given(mutations(TARGETS[name].seeds()))
        def try_one(data):
            TARGETS[name].run(data)

        try_one()

    def test_keeps_its_word_about_anything(self, name):
        @quick
        @given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(_encoded)))
        def try_one(data):
            TARGETS[name].run(data)

        try_one()


@pytest.mark.parametrize("file", KEPT, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_what_once_broke_a_parser_does_so_no_more(file):
    TARGETS[file.parent.name].run(file.read_bytes())


def test_a_target_notices_what_it_is_there_for(monkeypatch):
    """The tests above can fail: a parser that lets something through, or raises what it likes."""
    line = b"packs/x 1_0 " + b"a" * 64
    TARGETS["line"].run(line)
    monkeypatch.setattr("regvault.vault.objectlist.parse_number", int)
    with pytest.raises(AssertionError):
        TARGETS["line"].run(line)
    monkeypatch.setattr("regvault.vault.envelope.load_json_object", lambda *_, **__: [])
    with pytest.raises(TypeError):
        TARGETS["root"].run(seeds.roots()[0])


def test_a_document_is_sealed_as_its_writer_seals_it():
    data = seeds.roots()[0]
    assert sealed(data) == data.replace(b'"signatures": []', b'"signatures":[]')
    with pytest.raises(VaultDamagedError):
        parse_root(data.replace(b"prod", b"test"), seeds.NAME, seeds.VAULT)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
