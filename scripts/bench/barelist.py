"""LIST all keys below a prefix, in parallel, and do nothing with them.

    python barelist.py URL BUCKET PREFIX

The floor for any tool that must look at a registry in object storage: signed requests, the prefixes
one level down found by delimiter, then a LIST below each; keys are counted in the raw answer.
"""

from __future__ import annotations

import http.client
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

THREADS = 8
NEXT = re.compile(rb"<NextContinuationToken>([^<]*)</NextContinuationToken>")
PREFIX = re.compile(rb"<CommonPrefixes><Prefix>([^<]*)</Prefix></CommonPrefixes>")


class Lister:
    def __init__(self, url: str, bucket: str) -> None:
        self.url = url
        self.bucket = bucket
        session = Session()
        self.signer = S3SigV4Auth(
            session.get_credentials(), "s3", session.get_config_variable("region") or "us-east-1"
        )
        self.local = threading.local()

    def page(self, prefix: str, delimiter: str, token: str) -> bytes:
        query = f"list-type=2&prefix={quote(prefix, safe='')}"
        query += f"&delimiter={quote(delimiter, safe='')}" if delimiter else ""
        query += f"&continuation-token={quote(token, safe='')}" if token else ""
        request = AWSRequest("GET", f"{self.url}/{self.bucket}?{query}")
        self.signer.add_auth(request)
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection(urlsplit(self.url).netloc)
        self.local.connection.request(
            "GET", f"/{self.bucket}?{query}", headers=dict(request.headers)
        )
        answer = self.local.connection.getresponse()
        body: bytes = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"LIST answered {answer.status}: {body[:300]!r}")
        return body

    def pages(self, prefix: str, delimiter: str = "") -> list[bytes]:
        token, found = "", []
        while True:
            body = self.page(prefix, delimiter, token)
            found.append(body)
            following = NEXT.search(body)
            if following is None:
                return found
            token = unescape(following[1].decode())

    def below(self, prefix: str) -> list[str]:
        """The prefixes one level down."""
        bodies = self.pages(prefix, "/")
        return [unescape(name.decode()) for body in bodies for name in PREFIX.findall(body)]

    def count(self, prefix: str) -> int:
        return sum(body.count(b"<Key>") for body in self.pages(prefix))


def main() -> None:
    url, bucket, prefix = sys.argv[1:]
    lister = Lister(url, bucket)
    with ThreadPoolExecutor(THREADS) as pool:
        print(sum(pool.map(lister.count, lister.below(prefix))))


if __name__ == "__main__":
    main()
