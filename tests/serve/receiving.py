"""A receiver as a process, and a client for it."""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time


class Receiver:
    """`regvault audit serve` on a free port of the loopback."""

    def __init__(self, spool=None, *options, environment=None, scheme="http", files=None):
        command = [sys.executable, "-m", "regvault", "audit", "serve"]
        if spool is not None:  # else a configuration says it
            command += ["--listen", "127.0.0.1:0", "--spool", str(spool)]
        if files is not None:  # the soft and the hard limit
            soft, hard = files
            command = ["prlimit", f"--nofile={soft}:{hard}", *command]
        self.process = subprocess.Popen(
            [*command, *options],
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        self.scheme = scheme
        self.lines = []
        for line in self.process.stderr:
            self.lines.append(line.decode())
            if line.startswith(b"Listening at "):
                self.port = int(line.rsplit(b":", 1)[1].split(b"/")[0])
                return
        raise AssertionError(f"it does not listen: {self.lines}")

    def connection(self, context=None):
        if self.scheme == "https":
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def request(self, method, path, body=None, token=None, headers=None, context=None):
        connection = self.connection(context)
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, document, **options):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.request("POST", "/events", body, **options)[0]

    def metric(self, name):
        for line in self.request("GET", "/metrics")[1].decode().splitlines():
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(name)

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.stderr.read()
        return self.process.wait(30)


def event(number, **more):
    """Return an envelope as distribution sends it."""
    return {
        "events": [
            {
                "id": f"00000000-0000-7000-8000-{number:012d}",
                "timestamp": "2026-11-23T22:24:21.467634912Z",
                "action": "pull",
                "target": {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": "sha256:" + "ab" * 32,
                    "repository": "team/app",
                },
                "request": {"method": "GET", "addr": "10.0.0.7:4711"},
                **more,
            }
        ]
    }


def client_context(ca, certificate=None):
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def wait_for(check, seconds=20):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def load(port, number, token=""):
    """Post events until nobody answers; print the number of each that was answered 2xx."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        while True:
            connection.request("POST", "/events", json.dumps(event(number)), headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 202:
                print(number, flush=True)
            number += 1
    except (OSError, http.client.HTTPException, KeyboardInterrupt):
        pass


if __name__ == "__main__":
    load(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
