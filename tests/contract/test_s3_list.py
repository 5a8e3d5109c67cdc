"""The listing parser says what botocore's parser says, or leaves the page to it."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regvault.storage import s3_list
from regvault.storage.s3_list import PAGE, page_of, parse_page

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
    "<Prefix>Contents</Prefix><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys>"
)
AWS = (
    "<Contents><Key>{}</Key><LastModified>2026-02-03T04:05:06.000Z</LastModified>"
    "<ETag>&quot;abc-2&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>"
    "<ChecksumType>COMPOSITE</ChecksumType><Size>12</Size><StorageClass>STANDARD</StorageClass>"
    "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents>"
)
MINIO = (
    "<Contents><Key>{}</Key><LastModified>2026-02-03T04:05:06.789Z</LastModified>"
    "<ETag>&#34;abc-2&#34;</ETag><Size>12</Size><Owner><ID>0</ID><DisplayName>minio</DisplayName>"
    "</Owner><StorageClass>STANDARD</StorageClass></Contents>"
)
MOTO = (
    "\n  <Contents>\n    <Key>{}</Key>\n    <LastModified>2026-02-03T04:05:06Z</LastModified>\n"
    '    <ETag>"abc-2"</ETag>\n    <Size>12</Size>\n  </Contents>\n'
)


def document(template, keys, extra=""):
    objects = "".join(template.format(key) for key in keys)
    return f"{HEAD}{extra}{objects}</ListBucketResult>".encode()


@pytest.fixture(scope="module")
def ask():
    """Let a real client of botocore parse a page, with our parser or without."""
    import botocore.session
    from botocore.awsrequest import AWSResponse

    class Raw(io.BytesIO):
        def stream(self, **_):
            yield self.read()

    session = botocore.session.Session()
    body = [b""]

    def answer(request, **_):
        return AWSResponse(request.url, 200, {"content-type": "application/xml"}, Raw(body[0]))

    clients = {}
    for ours in (False, True):
        clients[ours] = session.create_client(
            "s3", region_name="r", aws_access_key_id="a", aws_secret_access_key="b"
        )
        if ours:
            s3_list.install(clients[ours])
        clients[ours].meta.events.register("before-send.s3.ListObjectsV2", answer)

    def ask(document, *, ours):
        body[0] = document
        return clients[ours].list_objects_v2(Bucket="b")

    return ask


PAGES = {
    "aws": document(AWS, ["a", "b/c"]),
    "minio": document(MINIO, ["a", "b/c"]),
    "moto": document(MOTO, ["a", "b/c"]),
    "empty": document(AWS, []),
    "truncated": document(
        AWS,
        ["a"],
        "<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b=</NextContinuationToken>",
    ),
    "prefixes": document(
        AWS, ["a"], "<CommonPrefixes><Prefix>x&lt;/</Prefix></CommonPrefixes>" * 2
    ),
    "only prefixes": document(AWS, [], "<CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>"),
    "entities": document(AWS, ["&lt;&amp;amp;&gt;", "&#x1F511;&#38;&apos;&quot;", "é&#233;"]),
    "url-encoded": document(
        AWS, ["a+b%2Bc%25%41", "%F0%9F%94%91"], "<EncodingType>url</EncodingType>"
    ),
    "not encoded": document(AWS, ["a+b%2Bc%25"]),
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_pages_of_real_servers_are_parsed_here_and_as_botocore_would(ask, page):
    answer = ask(page, ours=True)
    assert PAGE in answer
    assert page_of(answer) == page_of(ask(page, ours=False))


@settings(max_examples=60, deadline=None)
@given(
    keys=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))),
    url=st.booleans(),
    template=st.sampled_from([AWS, MINIO, MOTO]),
)
def test_any_key_comes_back_as_it_was(keys, url, template):
    from urllib.parse import quote_plus
    from xml.sax.saxutils import escape

    keys = [key for key in keys if key]
    written = [escape(quote_plus(key) if url else key) for key in keys]
    extra = "<EncodingType>url</EncodingType>" if url else ""
    page = parse_page(document(template, written, extra))
    assert [key for key, *_ in page.objects] == keys


STRANGE = {
    "an error": b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>",
    "nothing": b"",
    "cut off": PAGES["aws"][:-30],
    "no size": PAGES["aws"].replace(b"<Size>12</Size>", b""),
    "a strange size": PAGES["aws"].replace(b"<Size>12</Size>", b"<Size>x</Size>"),
    "a strange time": PAGES["aws"].replace(b"06.000Z", b"06+02:00"),
    "cdata": PAGES["aws"].replace(b"<Key>a</Key>", b"<Key><![CDATA[a]]></Key>"),
    "a comment": PAGES["aws"].replace(b"<Contents>", b"<!-- <Contents> --><Contents>", 1),
    "name spaces": PAGES["aws"].replace(b"Contents>", b"x:Contents>"),
    "attributes": PAGES["aws"].replace(b"<Contents>", b"<Contents x='y'>"),
    "prefixes with attributes": PAGES["prefixes"].replace(
        b"<CommonPrefixes>", b"<CommonPrefixes >"
    ),
    "an unknown entity": document(AWS, ["&nbsp;"]),
    "no utf-8": document(AWS, ["a"]).replace(b"<Key>a", b"<Key>\xff"),
}


@pytest.mark.parametrize("page", STRANGE.values(), ids=STRANGE)
def test_a_strange_page_is_left_to_botocore(page):
    assert parse_page(page) is None


@pytest.mark.parametrize("name", ["cdata", "a comment", "a strange time"])
def test_what_is_left_to_botocore_is_understood(ask, name):
    answer = ask(STRANGE[name], ours=True)
    assert PAGE not in answer
    assert [key for key, *_ in page_of(answer).objects] == ["a", "b/c"]


def test_times_etags_and_classes():
    [[key, size, etag, modified, storage_class]] = parse_page(document(MINIO, ["a"])).objects
    assert (key, size, etag, modified) == ("a", 12, "abc-2", 1_770_091_506_789_000_000)
    assert storage_class == "STANDARD"
    page = document(MINIO, ["a", "b"])
    assert page.count(b"<StorageClass>STANDARD<") == 2
    cold = parse_page(page.replace(b"<StorageClass>STANDARD<", b"<StorageClass>GLACIER_IR<", 1))
    assert [storage_class for *_, storage_class in cold.objects] == ["GLACIER_IR", "STANDARD"]
    untold = parse_page(page.replace(b"<StorageClass>STANDARD</StorageClass>", b""))
    assert [storage_class for *_, storage_class in untold.objects] == ["STANDARD"] * 2
