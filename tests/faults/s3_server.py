"""An S3 server of few words, on a socket, that breaks off, stalls or errs at any request.

It keeps its objects in MemoryStores, one a bucket, so that tests look at them without a request.
What it speaks is what S3Store speaks: PUT with conditions, GET with ranges, HEAD, LIST, DELETE,
CopyObject and uploads in parts. It answers each request on the thread of its connection.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from regvault.errors import ObjectNotFoundError, PreconditionError

if TYPE_CHECKING:
    import io
    from collections.abc import Callable

    from regvault.storage.memory import MemoryStore


class Request(NamedTuple):
    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def identity(self) -> tuple[str, ...]:
        """What it is to read or write."""
        query = (self.query.get(name, "") for name in ("uploadId", "partNumber", "prefix"))
        return (self.operation, self.bucket, self.key, self.headers.get("range", ""), *query)

    @property
    def operation(self) -> str:
        """What S3 calls it."""
        if self.method == "PUT":
            if "x-amz-copy-source" in self.headers:
                return "CopyObject"
            return "UploadPart" if "partNumber" in self.query else "PutObject"
        if self.method == "POST":
            return "CreateMultipartUpload" if "uploads" in self.query else "Complete"
        if self.method == "GET" and not self.key:
            return "ListObjectsV2"
        return {"GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}[self.method]


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    size: int | None = None  # that a HEAD tells


class Fault(NamedTuple):
    """What becomes of a request.

    Attributes:
        done: it is done all the same.
        answer: in place of the server's own; None: none.
        how: "answer", "reset", "stall" (till the client gives up), "cut" (half a body, then the
            end) or "tear" (half a body, then a reset).
        early: it breaks off when half of the request's body was read.
    """

    done: bool
    answer: Answer | None = None
    how: str = "answer"
    early: bool = False


def no_fault(_request: Request) -> None:
    """Let a request be done."""


def error(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>by a test</Message></Error>"
    return Answer(status, body.encode())


class S3Server:
    """Serves `buckets` on a loopback port, within a `with` block.

    Attributes:
        buckets: name -> objects.
        fault: request -> what becomes of it; None: nothing.
        log: operation of each request.
    """

    def __init__(self) -> None:
        self.buckets: dict[str, MemoryStore] = {}
        self.fault: Callable[[Request], Fault | None] = no_fault
        self.log: list[str] = []
        self._uploads: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = {}
        self._metadata: dict[tuple[str, str, str], dict[str, str]] = {}
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def begin(self, fault: Callable[[Request], Fault | None], **buckets: MemoryStore) -> None:
        """Serve these buckets, with these faults, from the next request on."""
        with self._lock:
            self.buckets, self.log, self.fault = buckets, [], fault
            self._uploads.clear()
            self._metadata.clear()

    # -- connections ----------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError, ValueError), connection, connection.makefile("rb") as stream:
            while self._serve(connection, stream):
                pass

    def _serve(self, connection: socket.socket, stream: io.BufferedReader) -> bool:
        """Answer one request; return whether the connection goes on."""
        line = stream.readline()
        if not line:
            return False
        method, target, _ = line.decode("ascii").split()
        headers = {}
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect"):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts = urlsplit(target)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(method, bucket, key, query, headers, b"")
        with self._lock:
            self.log.append(request.operation)
            fault = self.fault(request)
        size = int(headers.get("content-length", "0"))
        if fault is not None and fault.early:
            stream.read(size // 2)
            return _reset(connection)
        request = request._replace(body=stream.read(size))
        if len(request.body) < size:
            return False  # the client gave up: nothing was sent
        answer = Answer(200)
        if fault is None or fault.done:
            with self._lock:
                answer = self._answer(request)
        if fault is None:
            return _send(connection, request, answer)
        return _fail(connection, stream, request, fault._replace(answer=fault.answer or answer))

    # -- requests -------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Answer:
        store = self.buckets.get(request.bucket)
        if store is None:
            return error(404, "NoSuchBucket")
        if not request.key and request.method == "HEAD":
            return Answer(200)
        try:
            return getattr(self, f"_{request.operation}")(store, request)
        except ObjectNotFoundError:
            return error(404, "NoSuchKey")
        except PreconditionError:
            return error(412, "PreconditionFailed")

    def _PutObject(self, store: MemoryStore, request: Request) -> Answer:  # noqa: N802
        promised = request.headers.get("x-amz-checksum-sha256")
        if promised and promised != _sha256(request.body):
            return error(400, "BadDigest")
        match = request.headers.get("if-match")
        stored = store.put(
            request.key,
            request.body,
            if_none_match="if-none-match" in request.headers,
            if_match=match.strip('"') if match else None,
        )
        self._metadata.pop((request.bucket, request.key, ""), None)
        return Answer(200, headers=(("ETag", f'"{stored.etag}"'),))

    def _GetObject(self, store: MemoryStore, request: Request) -> Answer:  # noqa: N802
        entry = store.head(request.key)
        match = request.headers.get("if-match")
        if match and match.strip('"') != entry.etag:
            raise PreconditionError(request.key, key=request.key)
        data = store.get(request.key)
        head = (("ETag", f'"{entry.etag}"'),)
        wanted = request.headers.get("range")
        if not wanted:
            return Answer(200, data, head)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        begin = int(first) if first else max(0, len(data) - int(last))
        end = min(len(data), int(last) + 1) if first and last else len(data)
        if begin >= len(data):
            return error(416, "InvalidRange")
        told = ("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        return Answer(206, data[begin:end], (*head, told))

    def _HeadObject(self, store: MemoryStore, request: Request) -> Answer:  # noqa: N802
        entry = store.head(request.key)
        told = [("ETag", f'"{entry.etag}"'), ("Last-Modified", _http_date(entry.modified_ns))]
        found = self._metadata.get((request.bucket, request.key, entry.etag), {})
        told += [(f"x-amz-meta-{name}", value) for name, value in found.items()]
        if request.headers.get("x-amz-checksum-mode"):
            told.append(("x-amz-checksum-sha256", _sha256(store.get(request.key))))
        return Answer(200, headers=tuple(told), size=entry.size)

    def _ListObjectsV2(self, store: MemoryStore, request: Request) -> Answer:  # noqa: N802
        query, prefix = request.query, request.query.get("prefix", "")
        found = [e for e in store.list("") if e.key.startswith(prefix)]
        text = []
        if "delimiter" in query:
            names = {e.key[len(prefix) :].partition("/") for e in found}
            text = [
                f"<CommonPrefixes><Prefix>{escape(prefix + name)}/</Prefix></CommonPrefixes>"
                for name in sorted({name for name, slash, _ in names if slash})
            ]
            found = [e for e in found if "/" not in e.key[len(prefix) :]]
        after = query.get("start-after", "")
        text += [
            f"<Contents><Key>{escape(e.key)}</Key><LastModified>{_iso(e.modified_ns)}"
            f"</LastModified><ETag>&quot;{e.etag}&quot;</ETag><Size>{e.size}</Size></Contents>"
            for e in found
            if e.key > after
        ]
        inner = f"<IsTruncated>false</IsTruncated>{''.join(text)}"
        return Answer(200, f"<ListBucketResult>{inner}</ListBucketResult>".encode())

    def _DeleteObject(self, store: MemoryStore, request: Request) -> Answer:  # noqa: N802
        if "uploadId" in request.query:
            self._uploads.pop(request.query["uploadId"], None)
        else:
            store.delete(request.key)
        return Answer(204)

    def _CopyObject(self, store: MemoryStore, request: Request) -> Answer:  # noqa: N802
        source = unquote(request.headers["x-amz-copy-source"]).lstrip("/").partition("/")
        data = self.buckets[source[0]].get(source[2])
        stored = store.put(request.key, data)
        body = (
            f"<CopyObjectResult><ETag>&quot;{stored.etag}&quot;</ETag>"
            f"<ChecksumSHA256>{_sha256(data)}</ChecksumSHA256></CopyObjectResult>"
        )
        return Answer(200, body.encode())

    def _CreateMultipartUpload(self, store: MemoryStore, request: Request) -> Answer:  # noqa: N802
        del store
        upload = f"u{len(self.log)}"
        head = "x-amz-meta-"
        found = {k[len(head) :]: v for k, v in request.headers.items() if k.startswith(head)}
        self._uploads[upload] = (request.key, found, {})
        told = f"<UploadId>{upload}</UploadId>"
        body = f"<InitiateMultipartUploadResult>{told}</InitiateMultipartUploadResult>"
        return Answer(200, body.encode())

    def _UploadPart(self, store: MemoryStore, request: Request) -> Answer:  # noqa: N802
        del store
        upload = self._uploads.get(request.query["uploadId"])
        if upload is None:
            return error(404, "NoSuchUpload")
        upload[2][int(request.query["partNumber"])] = request.body
        return Answer(200, headers=(("ETag", f'"{hashlib.md5(request.body).hexdigest()}"'),))

    def _Complete(self, store: MemoryStore, request: Request) -> Answer:  # noqa: N802
        upload = self._uploads.pop(request.query["uploadId"], None)
        if upload is None:
            return error(404, "NoSuchUpload")
        said = ET.fromstring(request.body).iter()
        numbers = [int(e.text or "") for e in said if e.tag.endswith("PartNumber")]
        stored = store.put(request.key, b"".join(upload[2][number] for number in numbers))
        self._metadata[request.bucket, request.key, stored.etag] = upload[1]
        told = f"<ETag>&quot;{stored.etag}&quot;</ETag>"
        body = f"<CompleteMultipartUploadResult>{told}</CompleteMultipartUploadResult>"
        return Answer(200, body.encode())


def _fail(
    connection: socket.socket, stream: io.BufferedReader, request: Request, fault: Fault
) -> bool:
    answer = fault.answer
    assert answer is not None
    if fault.how == "reset":
        return _reset(connection)
    if fault.how == "stall":
        stream.read(1)  # until the client has gone
        return False
    if fault.how in ("cut", "tear"):
        head, body = _wire(request, answer)
        connection.sendall(head + body[: len(body) // 2])
        return _reset(connection) if fault.how == "tear" else False
    return _send(connection, request, answer)


def _reset(connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return False


def _send(connection: socket.socket, request: Request, answer: Answer) -> bool:
    connection.sendall(b"".join(_wire(request, answer)))
    return True


def _wire(request: Request, answer: Answer) -> tuple[bytes, bytes]:
    body = b"" if request.method == "HEAD" else answer.body
    size = len(body) if answer.size is None else answer.size
    lines = [f"HTTP/1.1 {answer.status} X", f"Date: {_http_date(time.time_ns())}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if answer.status != 204:
        lines.append(f"Content-Length: {size}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), body


def _sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _http_date(ns: int) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(ns // 10**9))


def _iso(ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + ".000Z"
