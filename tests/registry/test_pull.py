"""The proof by a pull, against a registry that is a few lines of HTTP."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from regvault.errors import (
    CredentialError,
    NotFoundError,
    SourceError,
    SourceUnavailableError,
    UsageError,
)
from regvault.registry.pull import prove_pull

DATA = b"layer " * 300_000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
BASIC = "Basic " + base64.b64encode(b"user:secret").decode()


class Registry:
    """Serves one blob; `auth` is how, `data` is what."""

    def __init__(self):
        self.auth, self.data, self.seen, self.redirect = "", DATA, [], ""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, status, body=b"", **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                given = self.headers.get("Authorization")
                registry.seen.append((self.path, given, self.headers["User-Agent"]))
                if self.path.startswith("/token"):
                    if given != BASIC:
                        return self.answer(401)
                    return self.answer(200, json.dumps({"token": "t0ken"}).encode())
                if registry.auth == "basic" and given != BASIC:
                    return self.answer(401, WWW_Authenticate='Basic realm="x"')
                if registry.auth == "token" and given != "Bearer t0ken":
                    challenge = f'Bearer realm="{registry.url}/token",service="reg"'
                    return self.answer(401, WWW_Authenticate=challenge)
                if registry.redirect:
                    return self.answer(307, Location=registry.redirect)
                if self.path != f"/v2/team/app/blobs/{DIGEST}":
                    return self.answer(404)
                if registry.data is None:
                    return self.answer(503)
                return self.answer(200, registry.data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def registry():
    registry = Registry()
    yield registry
    registry.server.shutdown()
    registry.server.server_close()


def test_what_is_served_is_proven(registry):
    assert prove_pull(registry.url, "team/app", DIGEST) == len(DATA)
    assert registry.seen == [(f"/v2/team/app/blobs/{DIGEST}", None, "regvault")]


def test_other_bytes_are_no_proof(registry):
    for data in (DATA[:-1], b"x" + DATA[1:], b""):
        registry.data = data
        with pytest.raises(SourceError, match="not the blob"):
            prove_pull(registry.url, "team/app", DIGEST)


def test_what_it_does_not_have_or_cannot_read(registry):
    with pytest.raises(NotFoundError):
        prove_pull(registry.url, "team/other", DIGEST)
    registry.data = None
    with pytest.raises(SourceUnavailableError):
        prove_pull(registry.url, "team/app", DIGEST)
    registry.server.shutdown()
    registry.server.server_close()
    with pytest.raises(SourceUnavailableError):
        prove_pull(registry.url, "team/app", DIGEST)


def test_basic_credentials(registry):
    registry.auth = "basic"
    for credentials in (None, ("user", "wrong")):
        with pytest.raises(CredentialError):
            prove_pull(registry.url, "team/app", DIGEST, credentials)
    assert prove_pull(registry.url, "team/app", DIGEST, ("user", "secret")) == len(DATA)


def test_a_token_for_a_pull_of_this_repository(registry):
    registry.auth = "token"
    for credentials in (None, ("user", "wrong")):
        with pytest.raises(CredentialError):
            prove_pull(registry.url, "team/app", DIGEST, credentials)
    registry.seen.clear()
    assert prove_pull(registry.url, "team/app", DIGEST, ("user", "secret")) == len(DATA)
    asked = registry.seen[1][0]
    assert asked == "/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull"


def test_credentials_do_not_follow_a_redirect(registry):
    other = Registry()
    registry.auth = "basic"
    registry.redirect = f"{other.url}/v2/team/app/blobs/{DIGEST}"
    assert prove_pull(registry.url, "team/app", DIGEST, ("user", "secret")) == len(DATA)
    assert [given for _, given, _ in other.seen] == [None]
    other.server.shutdown()
    other.server.server_close()


def test_what_is_no_registry():
    for url in ("ftp://host", "host:5000", "https://", "http://user:secret@host"):
        with pytest.raises(UsageError):
            prove_pull(url, "team/app", DIGEST)
    for words in (("Team", DIGEST), ("team/../x", DIGEST), ("team", "sha256:1")):
        with pytest.raises(UsageError):
            prove_pull("http://host", *words)
