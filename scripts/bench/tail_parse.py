"""Lines a second that the log formats read: `stream.feed`, and `orjson.dumps` of each event.

    python scripts/bench/tail_parse.py [--lines 100000] [--rounds 3] [FORMAT...]

One core, one process. The lines of a format are made up, with another repository, tag, digest and
address in each as often as in a busy registry; a second has 500 of them. Printed are the lines a
second of CPU of this process, the median of the rounds, and the microseconds of a line.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import statistics
import time
from typing import TYPE_CHECKING

import orjson

from regvault.audit.formats.detect import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FALLBACK = "2026-11-20T03:00:00.000000Z"
AGENT = "docker/27.3.1 go/go1.22.7 git-commit/41ca978 os/linux arch/amd64"


class Request:
    """One request, as a registry has them: mostly GETs of manifests and blobs."""

    def __init__(self, chance: random.Random, number: int, digests: list[str]) -> None:
        self.second = number // 500
        self.clock = (
            f"{3 + self.second // 3600:02}:{self.second // 60 % 60:02}:{self.second % 60:02}"
        )
        self.address = f"10.{chance.randrange(4)}.{chance.randrange(16)}.{chance.randrange(250)}"
        self.digest = chance.choice(digests)
        name = f"team{chance.randrange(20)}/app{chance.randrange(50)}"
        self.user = f"user{chance.randrange(200)}"
        self.method, self.status = "GET", 200
        kind = chance.random()
        if kind < 0.45:
            self.uri = f"/v2/{name}/blobs/{self.digest}"
        elif kind < 0.65:
            self.uri = f"/v2/{name}/manifests/v{chance.randrange(40)}"
        elif kind < 0.8:
            self.uri, self.method = f"/v2/{name}/manifests/{self.digest}", "HEAD"
        elif kind < 0.95:
            self.uri = "/v2/"
        else:
            state = hashlib.sha256(b"%d" % number).hexdigest() * 4
            self.uri = f"/v2/{name}/blobs/uploads/{state[:36]}?_state={state}&digest={self.digest}"
            self.method, self.status = "PUT", 201
        self.size = chance.randrange(50_000_000)
        self.ms = chance.randrange(9000)
        self.id = f"{chance.getrandbits(128):032x}"


def combined(r: Request) -> str:
    return (
        f'{r.address} - {r.user} [20/Nov/2026:{r.clock} +0000] "{r.method} {r.uri} HTTP/1.1" '
        f'{r.status} {r.size} "-" "{AGENT}"'
    )


def nginx(r: Request) -> str:
    return f'{combined(r)} {r.ms / 1000:.3f} "{r.ms / 1000:.3f}"'


def nginx_json(r: Request) -> str:
    fields = {
        "time_iso8601": f"2026-11-20T{r.clock}+00:00",
        "remote_addr": r.address,
        "remote_user": r.user,
        "request": f"{r.method} {r.uri} HTTP/1.1",
        "status": str(r.status),
        "body_bytes_sent": str(r.size),
        "request_time": f"{r.ms / 1000:.3f}",
        "http_user_agent": AGENT,
        "request_id": r.id,
    }
    return orjson.dumps(fields).decode()


def distribution_json(r: Request) -> str:
    fields = {
        "auth.user.name": r.user,
        "go.version": "go1.19.8",
        "http.request.host": "registry.example:5000",
        "http.request.id": r.id,
        "http.request.method": r.method,
        "http.request.remoteaddr": f"{r.address}:33012",
        "http.request.uri": r.uri,
        "http.request.useragent": AGENT,
        "http.response.contenttype": "application/octet-stream",
        "http.response.duration": f"{r.ms / 7:.6f}ms",
        "http.response.status": r.status,
        "http.response.written": r.size,
        "level": "info",
        "msg": "response completed",
        "time": f"2026-11-20T{r.clock}.{r.ms:06}123Z",
        "vars.name": "team/app",
    }
    return orjson.dumps(fields).decode()


def distribution_text(r: Request) -> str:
    return (
        f'time="2026-11-20T{r.clock}.{r.ms:06}123Z" level=info msg="response completed" '
        f'auth.user.name={r.user} go.version=go1.19.8 http.request.host="registry.example:5000" '
        f"http.request.id={r.id} http.request.method={r.method} "
        f'http.request.remoteaddr="{r.address}:33012" http.request.uri="{r.uri}" '
        f'http.request.useragent="{AGENT}" http.response.contenttype="application/octet-stream" '
        f"http.response.duration={r.ms / 7:.6f}ms http.response.status={r.status} "
        f"http.response.written={r.size}"
    )


def haproxy(r: Request) -> str:
    return (
        f"<134>Nov 20 {r.clock} lb1 haproxy[14389]: {r.address}:33317 "
        f"[20/Nov/2026:{r.clock}.{r.ms % 1000:03}] https~ registry/r1 1/0/3/60/{r.ms} {r.status} "
        f'{r.size} - - ---- 1/1/1/1/0 0/0 {{docker}} {{}} "{r.method} {r.uri} HTTP/1.1"'
    )


def traefik(r: Request) -> str:
    fields = {
        "ClientAddr": f"{r.address}:33012",
        "ClientHost": r.address,
        "ClientUsername": r.user,
        "DownstreamContentSize": r.size,
        "DownstreamStatus": r.status,
        "Duration": r.ms * 1_000_000,
        "RequestMethod": r.method,
        "RequestPath": r.uri,
        "StartUTC": f"2026-11-20T{r.clock}.{r.ms:06}123Z",
        "request_User-Agent": AGENT,
        "level": "info",
        "msg": "",
        "time": f"2026-11-20T{r.clock}Z",
    }
    return orjson.dumps(fields).decode()


def harbor(r: Request) -> str:
    return (
        f"2026-11-20T{r.clock}Z [INFO] [/pkg/auditext/manager.go:86]"
        f'[operator="{r.user}" resourceType="artifact" time="2026-11-20 {r.clock}.123456 +0000 UTC'
        f'"]: action:pull, resource:library/app:v{r.ms}, operation_description:pull artifact: '
        f"library/app@{r.digest}"
    )


def token(r: Request) -> str:
    return (
        f"W1120 {r.clock}.{r.ms:06}       1 server.go:493] Auth failed: "
        f"{{{r.user}:***@{r.address}:4711 [{{repository  team/app [pull]}}]}}"
    )


def cri(r: Request) -> str:
    return f"2026-11-20T{r.clock}.{r.ms:06}123Z stdout F {nginx(r)}"


def docker(r: Request) -> str:
    fields = {"log": f"{nginx(r)}\n", "stream": "stdout", "time": f"2026-11-20T{r.clock}.1Z"}
    return orjson.dumps(fields).decode()


def falco(r: Request) -> str:
    fields = {
        "hostname": "node1",
        "output": f"{r.clock}: Warning Shell spawned (user=root image=reg.example/team/app)",
        "output_fields": {
            "container.image.repository": "reg.example/team/app",
            "container.image.tag": "v1",
            "container.image.digest": r.digest,
            "user.name": "root",
        },
        "priority": "Warning",
        "rule": "Terminal shell in container",
        "source": "syscall",
        "tags": ["container", "shell"],
        "time": f"2026-11-20T{r.clock}.123456789Z",
    }
    return orjson.dumps(fields).decode()


def key(r: Request) -> str:
    digits = r.digest.removeprefix("sha256:")
    return f"registry/docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"


def s3(r: Request) -> str:
    return (
        f"{'79a5' * 16} bucket [20/Nov/2026:{r.clock} +0000] {r.address} "
        f"arn:aws:iam::123456789012:user/registry {r.id[:16].upper()} REST.GET.OBJECT {key(r)} "
        f'"GET /{key(r)}?X-Amz-Signature=1 HTTP/1.1" 200 - {r.size} {r.size} {r.ms} 7 "-" "{AGENT}"'
        f" - {r.id}= SigV4 ECDHE-RSA-AES128-GCM-SHA256 QueryString b.s3.amazonaws.com TLSv1.2 - -"
    )


def cloudtrail(r: Request) -> str:
    fields = {
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/registry"},
        "eventTime": f"2026-11-20T{r.clock}Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": "GetObject",
        "awsRegion": "eu-central-1",
        "sourceIPAddress": r.address,
        "userAgent": f"[{AGENT}]",
        "requestParameters": {"bucketName": "bucket", "key": key(r)},
        "responseElements": None,
        "additionalEventData": {
            "AuthenticationMethod": "QueryString",
            "bytesTransferredOut": float(r.size),
        },
        "requestID": r.id[:16].upper(),
        "eventID": r.id,
        "readOnly": True,
        "eventType": "AwsApiCall",
    }
    return orjson.dumps(fields).decode()


def cloudfront(r: Request) -> str:
    fields = (
        "2026-11-20", r.clock, "FRA2-C1", r.size, r.address, r.method, "d1.cloudfront.net",
        f"/{key(r)}", 200, "-", AGENT.replace(" ", "%20"), "-", "-", "Hit", r.id, "cdn.example",
        "https", 23, f"{r.ms / 1000:.3f}", "-", "TLSv1.3", "TLS_AES", "Hit", "HTTP/2.0", "-", "-",
        11040, "0.001", "Hit", "application/octet-stream", r.size, "-", "-",
    )  # fmt: skip
    return "\t".join(str(field) for field in fields)


CASES: dict[str, tuple[str, Callable[[Request], str]]] = {
    "combined": ("combined", combined),
    "nginx": ("nginx", nginx),
    "nginx in JSON": ("nginx", nginx_json),
    "distribution in JSON": ("distribution", distribution_json),
    "distribution in text": ("distribution", distribution_text),
    "haproxy by syslog": ("haproxy", haproxy),
    "traefik in JSON": ("traefik", traefik),
    "harbor": ("harbor", harbor),
    "token": ("token", token),
    "cri, nginx": ("cri", cri),
    "json-file, nginx": ("cri", docker),
    "falco": ("falco", falco),
    "s3": ("s3", s3),
    "cloudtrail": ("cloudtrail", cloudtrail),
    "cloudfront": ("cloudfront", cloudfront),
}


def measured(name: str, lines: list[str]) -> Iterator[float]:
    """Give seconds of CPU of one round after another."""
    while True:
        feed = FORMATS[name]().feed
        dumps = orjson.dumps
        began = time.process_time()
        for line in lines:
            for event in feed(line, FALLBACK):
                dumps(event)
        yield time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", help="names, or their beginnings; all")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--auto", action="store_true", help="find out the format of each line")
    args = parser.parse_args()
    chance = random.Random(1)
    digests = [f"sha256:{chance.getrandbits(256):064x}" for _ in range(20_000)]
    requests = [Request(chance, number, digests) for number in range(args.lines)]
    for label, (name, make) in CASES.items():
        if args.formats and not label.startswith(tuple(args.formats)):
            continue
        lines = [make(request) for request in requests]
        rounds = measured("auto" if args.auto else name, lines)
        seconds = statistics.median(next(rounds) for _ in range(args.rounds))
        print(
            f"{label:22} {len(lines) / seconds:>9,.0f} lines/s {seconds / len(lines) * 1e6:6.2f} us"
        )


if __name__ == "__main__":
    main()
