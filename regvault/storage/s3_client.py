"""The connection to one S3 endpoint: a botocore client as regvault wants it, and its clock."""

from __future__ import annotations

import os
import threading
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import regvault
from regvault.storage import s3_list
from regvault.storage.s3_errors import is_botocore, translate

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clock", "Connection", "Endpoint"]

_ATTEMPTS = 10
_CONNECT_TIMEOUT_S = 10
# An endpoint that never answered is given up after so long: its name is wrong more often than it is
# away. One that did answer has all attempts, which take a minute or two.
_FIRST_ANSWER_S = 25.0
# A copy on the server of 5 GB may not answer for a minute.
_READ_TIMEOUT_S = 120


class Endpoint(NamedTuple):
    """Where a bucket is, and as whom it is asked. Equal ones can copy between their buckets.

    Attributes:
        url: the endpoint; None: as the environment and the AWS configuration say.
        region: None: as the environment and the AWS configuration say.
        profile: of the AWS configuration; None: the default.
        credentials: access key id, secret access key, session token or None; None: the provider's
            own chain (environment, profile, instance role).
    """

    url: str | None
    region: str | None
    profile: str | None
    credentials: tuple[str, str, str | None] | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self.region!r}, {self.profile!r})"


class Clock:
    """The server's time, told from the Date of its answers.

    A Date has whole seconds. While it agrees with what was reckoned from an earlier one, that one
    is kept, so the clock does not jump back and forth within a second.
    """

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None
        self._base: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def observe(self, date: str) -> None:
        """Take the Date header of an answer."""
        self._last = (date, time.monotonic_ns())

    def now_ns(self) -> int | None:
        """Return nanoseconds since the epoch, or None before the first answer."""
        with self._lock:
            last, self._last = self._last, None
            if last is not None:
                self._adjust(*last)
            if self._base is None:
                return None
            server, monotonic = self._base
            return server + time.monotonic_ns() - monotonic

    def _adjust(self, date: str, monotonic: int) -> None:
        try:
            server = int(parsedate_to_datetime(date).timestamp()) * 1_000_000_000
        except ValueError:
            return
        if self._base is not None:
            ahead = self._base[0] + monotonic - self._base[1] - server
            if -500_000_000 <= ahead < 1_500_000_000:
                return
        self._base = (server, monotonic)


class Connection:
    """Clients of one endpoint, made at the first use: botocore takes a tenth of a second to load.

    Attributes:
        clock: the server's.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        location: str,
        *,
        max_connections: int,
        addressing_style: str | None,
    ) -> None:
        self.clock = Clock()
        self._endpoint = endpoint
        self._location = location
        self._max_connections = max_connections
        self._style = addressing_style
        self._clients: dict[int, Any] = {}
        self._session: Any = None
        self._lock = threading.Lock()
        self._begun = 0.0
        self._answered = False

    @property
    def client(self) -> Any:
        """The client that tries again by itself."""
        return self._clients.get(_ATTEMPTS) or self._create(_ATTEMPTS)

    @property
    def client_that_tries_once(self) -> Any:
        """A client for requests of which one must look what became of them before trying again."""
        return self._clients.get(1) or self._create(1)

    def _create(self, attempts: int) -> Any:
        with self._lock:
            client = self._clients.get(attempts)
            if client is None:
                try:
                    client = self._make(attempts)
                except ValueError as error:  # an endpoint that is no URL
                    raise translate(error, "connect to", self._location) from error
                except Exception as error:
                    if not is_botocore(error):
                        raise
                    raise translate(error, "connect to", self._location) from error
                self._clients[attempts] = client
            return client

    def _make(self, attempts: int) -> Any:
        url, region, profile, credentials = self._endpoint
        key, secret, token = credentials or (None, None, None)
        # Both clients share one, which parses the description of S3 once.
        session = self._session = self._session or _session(profile)
        custom = url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        style = self._style or ("path" if custom else "auto")

        def create(style: str) -> Any:
            return session.create_client(
                "s3",
                region_name=region,
                endpoint_url=url,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                aws_session_token=token,
                config=_configuration(style, attempts, self._max_connections),
            )

        client = create(style)
        host = urlsplit(client.meta.endpoint_url).hostname or ""
        if self._style is None and style == "auto" and not _is_aws(host):
            client = create("path")  # an endpoint of the AWS configuration file
        events = client.meta.events
        self._begun = self._begun or time.monotonic()
        events.register("after-call.s3", self._on_answer)
        events.register_first("needs-retry.s3", self._stop_at_a_wrong_endpoint)
        events.register_first("needs-retry.s3", _stop_streams_that_cannot_be_repeated)
        events.register("before-parse.s3.GetObject", _keep_few_headers)
        s3_list.install(client)
        return client

    def _stop_at_a_wrong_endpoint(self, response: Any, caught_exception: Any, **_: Any) -> None:
        """Raise why there is no answer, where there never was one."""
        if response is not None:
            self._answered = True
        elif not self._answered and time.monotonic() - self._begun > _FIRST_ANSWER_S:
            raise caught_exception

    def _on_answer(self, parsed: dict[str, Any], **_: Any) -> None:
        date = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        if date:
            self.clock.observe(date)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


# What is asked of botocore, by us and by its providers of credentials.
_SERVICES = ("s3", "signin", "sso", "sso-oidc", "sts")


def _session(profile: str | None) -> Any:
    import botocore.session

    session = botocore.session.Session(profile=profile)
    # It would look through a thousand directories for the name of every service there is.
    session.get_component("data_loader").list_available_services = lambda _: list(_SERVICES)
    return session


def _configuration(style: str, attempts: int, max_connections: int) -> Any:
    from botocore.config import Config

    return Config(
        user_agent_extra=f"regvault/{regvault.__version__}",
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=max_connections,
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        tcp_keepalive=True,
        # Checksums are ours: SHA-256 for what has a digest, so botocore adds none of its own, and
        # the body is not hashed a second time for the signature.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        parameter_validation=False,
        signature_version="s3v4",
        s3={"addressing_style": style, "payload_signing_enabled": False},
    )


def _is_aws(host: str) -> bool:
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


# Of the headers of an object: what S3Reader reads, and what errors and the clock are told from.
_HEADERS = ("Content-Length", "Content-Range", "ETag", "Date", "x-amz-request-id", "x-amz-id-2")


def _keep_few_headers(response_dict: dict[str, Any], **_: Any) -> None:
    """Spare botocore the parsing of forty headers, and of dates, for each object that is read."""
    if response_dict["status_code"] in (200, 206):
        headers = response_dict["headers"]
        response_dict["headers"] = {n: headers[n] for n in _HEADERS if n in headers}


def _stop_streams_that_cannot_be_repeated(request_dict: dict[str, Any], **_: Any) -> float | None:
    """Let botocore run into the refusal to rewind at once instead of after a pause."""
    failed: Callable[[], bool] | None = getattr(request_dict.get("body"), "failed", None)
    return 0.0 if failed is not None and failed() else None
