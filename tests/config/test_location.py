import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.errors import UsageError
from regvault.model.location import Kind, Location, Role, is_location, parse_location, redact

parts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters="/"),
    min_size=1,
    max_size=12,
).filter(lambda part: part not in {".", ".."})
paths = st.lists(parts, max_size=5).map(lambda names: "/" + "/".join(names))
buckets = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,20}[a-z0-9]", fullmatch=True)
locations = st.one_of(
    st.builds(Location, st.sampled_from([Kind.FS, Kind.FILE, Kind.OCI]), path=paths),
    st.builds(
        Location,
        st.just(Kind.S3),
        bucket=buckets,
        prefix=st.lists(parts, max_size=4).map("/".join),
    ),
)


@given(locations)
def test_what_is_written_is_read_back(location: Location) -> None:
    assert parse_location(str(location)) == location


@given(locations, locations)
def test_overlap_is_the_same_from_both_sides(one: Location, other: Location) -> None:
    assert one.overlaps(one)
    assert one.overlaps(other) == other.overlaps(one)


@given(locations, parts, parts)
def test_what_lies_below_is_contained_and_what_lies_beside_is_not(
    outer: Location, name: str, other: str
) -> None:
    base = "" if str(outer).endswith("/") else "/"
    inner = parse_location(f"{outer}{base}{name}")
    assert outer.contains(inner)
    assert not inner.contains(outer)
    beside = parse_location(f"{outer}{base}{name}{other}")
    assert not inner.overlaps(beside)


@given(st.text(max_size=60))
def test_any_text_is_a_location_or_a_usage_error(text: str) -> None:
    try:
        location = parse_location(text)
    except UsageError:
        return
    assert parse_location(str(location)) == location


@pytest.mark.parametrize(
    ("text", "kind", "rest", "written"),
    [
        ("fs:/var/lib/registry", Kind.FS, "/var/lib/registry", "fs:/var/lib/registry"),
        ("fs:///var//lib/./registry/", Kind.FS, "/var/lib/registry", "fs:/var/lib/registry"),
        ("FS:/x", Kind.FS, "/x", "fs:/x"),
        ("fs:x", Kind.FS, "x", "fs:./x"),
        ("oci:./out", Kind.OCI, "out", "oci:./out"),
        ("/backup/vault/", Kind.FILE, "/backup/vault", "/backup/vault"),
        ("//backup", Kind.FILE, "/backup", "/backup"),
        ("file:/backup", Kind.FILE, "/backup", "/backup"),
        ("file:///backup", Kind.FILE, "/backup", "/backup"),
        ("./a:b", Kind.FILE, "a:b", "./a:b"),
        (".", Kind.FILE, ".", "."),
        ("../.hidden", Kind.FILE, "../.hidden", "../.hidden"),
        ("./.hidden", Kind.FILE, ".hidden", "./.hidden"),
    ],
)
def test_paths(text: str, kind: Kind, rest: str, written: str) -> None:
    location = parse_location(text)
    assert (location.kind, location.path, str(location)) == (kind, rest, written)


@pytest.mark.parametrize(
    ("text", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://bucket/a/b/", "bucket", "a/b"),
        ("S3://Old_Bucket/a@b?c", "Old_Bucket", "a@b?c"),
    ],
)
def test_buckets(text: str, bucket: str, prefix: str) -> None:
    location = parse_location(text)
    assert (location.kind, location.bucket, location.prefix) == (Kind.S3, bucket, prefix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "word",
        "fs:",
        "file:",
        "s3:bucket",
        "s3://",
        "s3:///prefix",
        "s3://b",
        "s3://bucket//prefix",
        "s3://bucket/a/../b",
        "fs://host/path",
        "file://host/path",
        "fs:/a\0b",
        "/a\nb",
        "~/vault",
        "fs:~/registry",
        "ftp://host/x",
        "/" + "x" * 5000,
    ],
)
def test_what_is_no_location_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["az://c/p", "gs://b/p", "http://h", "https://h/x", "HTTPS://h"])
def test_kinds_of_later_say_that_they_are_not_supported(text: str) -> None:
    for role in (None, *Role):
        with pytest.raises(UsageError, match="not supported by this version"):
            parse_location(text, role)


def test_a_misspelt_kind_is_told_from_an_unknown_one() -> None:
    with pytest.raises(UsageError) as caught:
        parse_location("s4://bucket/x")
    assert "Did you mean s3:?" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "role", "hint"),
    [
        ("fs:/x", Role.VAULT, "file system /x"),
        ("oci:/x", Role.VAULT, "file system /x"),
        ("/x", Role.SOURCE, "fs:/x"),
        ("oci:/x", Role.SOURCE, "fs:/x"),
        ("/x", Role.TARGET, "fs:/x"),
    ],
)
def test_a_location_of_another_role_is_refused_and_the_hint_says_how_to_write_it(
    text: str, role: Role, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(text, role)
    assert hint in (caught.value.hint or "")


def test_each_role_takes_its_kinds() -> None:
    for text in ("fs:/x", "s3://bucket"):
        parse_location(text, Role.SOURCE)
    for text in ("fs:/x", "s3://bucket", "oci:/x"):
        parse_location(text, Role.TARGET)
    for text in ("/x", "s3://bucket"):
        parse_location(text, Role.VAULT)


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIAID:hunter2@bucket/x",
        "s3://AKIAID:hun/hunter2@bucket/x",
        "https://me:hunter2@registry.example.com/",
        "https://hunter2@registry.example.com/",
        "zz://me:hunter2@host/x",
    ],
)
def test_credentials_in_a_location_are_refused_and_never_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(text)
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "text",
    [
        "see http://me:hunter2@host:9000/x and s3://a:hunter2@b/c",
        "https://h/x?X-Amz-Signature=hunter2&X-Amz-Security-Token=hunter2&a=1",
        "https://h/x?sig=hunter2",
        "password=hunter2",
        'Could not connect to "http://127.0.0.1:9/bucket/p%3Fsecret%3Dhunter2/x/vault.json"',
    ],
)
def test_credentials_are_taken_out_of_messages(text: str) -> None:
    assert "hunter2" not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:5000/v2/a@sha256:00", "s3://bucket/a@b", "me@example.com", "a:b/c@d"],
)
def test_what_is_no_credential_stays_in_messages(text: str) -> None:
    assert redact(text) == text


def test_a_prefix_is_no_part_of_a_longer_name() -> None:
    assert not parse_location("s3://bucket/a").overlaps(parse_location("s3://bucket/ab"))
    assert not parse_location("fs:/a").overlaps(parse_location("/ab"))
    assert parse_location("fs:/a").contains(parse_location("/a/b"))
    assert parse_location("/").contains(parse_location("fs:/a"))
    assert not parse_location("/bucket").overlaps(parse_location("s3://bucket"))


def test_relative_paths_are_put_below_a_directory() -> None:
    assert parse_location("../v").absolute("/a/b").path == "/a/v"
    assert parse_location("/v").absolute("/a/b").path == "/v"
    assert parse_location("s3://bucket/v").absolute("/a").prefix == "v"


def test_words_are_told_from_locations() -> None:
    assert not is_location("production")
    assert not is_location("off-site.1")
    assert all(map(is_location, (".", "..", "./x", "/x", "fs:x", "a/b", "s3://b")))
