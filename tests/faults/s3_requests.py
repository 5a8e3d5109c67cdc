"""The requests of a process to S3, so that it can be stopped at one of them; see `asleep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from botocore.httpsession import URLLib3Session

from regvault.storage import s3, s3_client  # noqa: F401 (loaded once for all processes)

if TYPE_CHECKING:
    from asleep import Counter

#: What every process begins with that is forked from here: the description of S3, parsed.
_SESSION = s3_client._session(None)
_SESSION.create_client(
    "s3", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
).close()


def stand_between(counter: Counter) -> None:
    """Count what is sent, each attempt of its own."""
    real = URLLib3Session.send

    def send(session: URLLib3Session, request: Any) -> Any:
        stops = counter.counts(request.method, *_place(request.url))
        if stops and not counter.sleep.answered:
            counter.stop()
        response = real(session, request)
        if stops and counter.sleep.answered:
            counter.stop()
        return response

    URLLib3Session.send = send
    s3_client._session = lambda _profile: _SESSION


def _place(url: str) -> tuple[str, str]:
    """Return the `directory` and the name of what a request is for: of a LIST the prefix."""
    parts = urlsplit(url)
    prefix = parse_qs(parts.query).get("prefix", [""])[0]
    bucket, _, key = parts.path[1:].partition("/")
    directory, _, name = f"{bucket}/{key or prefix}".rpartition("/")
    return f"s3://{directory}", name
