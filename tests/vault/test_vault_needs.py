from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from vault_build import digest_of

from regvault.vault.needs import Known, NeedIndex
from regvault.vault.objectlist import ObjectRef

DIGESTS = [digest_of(b"%d" % n, algorithm) for n in range(8) for algorithm in ("sha256", "sha512")]
PACKS = [ObjectRef(f"packs/{n}", 1000 + n, "0" * 64) for n in range(3)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("place"), st.sampled_from(DIGESTS), st.sampled_from(PACKS)),
        st.tuples(st.just("need"), st.sampled_from(DIGESTS), st.just(1)),
        st.tuples(st.just("clear"), st.none(), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_it_knows_what_was_placed_and_nothing_else(steps):
    """The filter before the table never hides what is in it."""
    index = NeedIndex(None, "prod")
    places: dict[str, str] = {}
    needed: set[str] = set()
    for what, digest, argument in steps:
        if what == "clear":
            index.clear()
            places, needed = {}, set()
        elif what == "place":
            index.place(digest, argument, 7)
            places[digest] = argument.key
        else:
            index.need(digest, 7, argument)
            needed.add(digest)
    for digest in DIGESTS:
        expected = Known(places[digest], 7) if digest in places else None
        assert index.known(digest) == expected
    nowhere = needed - places.keys()
    assert set(index.unplaced()) <= nowhere
    assert bool(index.unplaced()) == bool(nowhere)
    assert index.totals() == (len(needed), 7 * len(needed))
    index.close()


def test_an_index_that_was_kept_is_asked_itself(tmp_path):
    index = NeedIndex(str(tmp_path), "prod")
    index.place(DIGESTS[0], PACKS[0], 7)
    index.need(DIGESTS[0], 7, 1)
    index.commit("root")
    index.close()
    again = NeedIndex(str(tmp_path), "prod")
    assert again.root() == "root"
    assert again.known(DIGESTS[0]) == Known(PACKS[0].key, 7)
    assert again.known(DIGESTS[1]) is None
    again.close()
