"""Lines as the producers write them, with their source; what each becomes is in the tests.

The files in `samples/` are real: distribution 2.8.2 (Debian 2.8.2+ds1), with htpasswd and without
Redis, on a day in November 2026; `curl` pushed, mounted, pulled, listed and deleted. nginx 1.22.1
(combined, and the JSON of docs/audit.md) and HAProxy 2.6.12 (`option httplog`, and that JSON) were
before distribution 3.1.2 in `tests/services/test_audit_parts.py`, where `crane` asked: the first
line of each kind.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("orjson", reason="of the extra `audit`")

NOW = "2026-11-20T12:00:00.000000Z"
"""When the lines are read."""

HEX = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
BLOB = f"sha256:{HEX}"
MANIFEST = "sha256:84def4c17418653c1a7a6b7af4e2f8515bb0c4eb6f96906f27589919b9529f84"
CONFIG = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
KEY = f"registry/docker/registry/v2/blobs/sha256/2c/{HEX}/data"

FILES = Path(__file__).parent / "samples"


def lines(name: str) -> list[str]:
    """Return the lines of a file of real ones."""
    return (FILES / name).read_text(encoding="utf-8").splitlines()


# nginx 1.26, `log_format combined`, and what its users add.
NGINX = (
    '10.0.0.7 - alice [20/Nov/2026:03:00:00 +0100] "GET /v2/team/app/manifests/v1 HTTP/1.1" '
    '200 419 "-" "docker/27.3.1 go/go1.22.7 os/linux arch/amd64"'
)
NGINX_TIMES = f'{NGINX} 0.005 "0.004"'
NGINX_NAMED = (
    f'{NGINX} rt=0.123 uct="0.000" urt="0.120" request_id=7e5d1c xff="192.0.2.9, 10.1.1.1"'
)
# ingress-nginx 1.11, its default `log-format-upstream`.
INGRESS = (
    '10.42.0.1 - - [20/Nov/2026:03:00:00 +0000] "GET /v2/ HTTP/1.1" 401 87 "-" "curl/7.88.1" 332 '
    "0.005 [default-registry-5000] [] 10.42.0.5:5000 87 0.005 401 "
    "7e5d1c0a3b5c4d6e8f90a1b2c3d4e5f6"
)
# Apache 2.4, `common`, `vhost_combined`, and a request that is none.
APACHE_COMMON = (
    '192.0.2.1 - - [20/Nov/2026:03:00:00 -0500] "HEAD /v2/app/blobs/' + BLOB + ' HTTP/1.1" 200 -'
)
APACHE_VHOST = (
    "registry.example:443 192.0.2.1 - bob [20/Nov/2026:03:00:00 +0000] "
    '"PUT /v2/app/manifests/latest HTTP/1.1" 201 - "-" "say \\"hi\\""'
)
APACHE_GARBAGE = '192.0.2.1 - - [20/Nov/2026:03:00:00 +0000] "\\x16\\x03\\x01" 400 226 "-" "-"'
# Harbor 2.15, its nginx: `timed_combined` of make/photon/prepare/templates/nginx.
HARBOR_PROXY = (
    '172.18.0.1 - "GET /service/token?scope=repository%3Alibrary%2Fapp%3Apull'
    '&service=harbor-registry HTTP/1.1" 200 961 "-" "docker/27.3.1" 0.013 0.012 .'
)
# Traefik 3.1, common log format and JSON.
TRAEFIK_CLF = (
    '10.0.0.7, 10.9.9.9 - alice [20/Nov/2026:03:00:00 +0000] "GET /v2/_catalog HTTP/1.1" 200 43 '
    '"-" "curl/7.88.1" 42 "registry@docker" "http://172.18.0.3:5000" 12ms'
)
TRAEFIK = (
    '{"ClientAddr":"10.0.0.7:50312","ClientHost":"10.0.0.7","ClientPort":"50312","ClientUsername":'
    '"-","DownstreamContentSize":419,"DownstreamStatus":200,"Duration":12345678,"OriginContentSize":'
    '419,"OriginDuration":12000000,"OriginStatus":200,"Overhead":345678,"RequestAddr":"reg.example",'
    '"RequestContentSize":0,"RequestCount":42,"RequestHost":"reg.example","RequestMethod":"GET",'
    '"RequestPath":"/v2/team/app/manifests/v1","RequestPort":"-","RequestProtocol":"HTTP/1.1",'
    '"RequestScheme":"https","RetryAttempts":0,"RouterName":"registry@docker","ServiceAddr":'
    '"172.18.0.3:5000","StartLocal":"2026-11-20T04:00:00.123456789+01:00","StartUTC":'
    '"2026-11-20T03:00:00.123456789Z","TLSVersion":"1.3","entryPointName":"websecure","level":"info",'
    '"msg":"","request_User-Agent":"docker/27.3.1","request_X-Request-Id":"abc-1",'
    '"time":"2026-11-20T03:00:00Z"}'
)
NGINX_JSON = (
    '{"time_iso8601":"2026-11-20T04:00:00+01:00","remote_addr":"10.0.0.7","remote_user":"alice",'
    '"request":"GET /v2/team/app/tags/list?n=10 HTTP/1.1","status":"200","body_bytes_sent":"34",'
    '"request_time":"0.012","http_user_agent":"oras/1.3.6","http_x_forwarded_for":"192.0.2.9",'
    '"request_id":"7e5d1c0a3b5c4d6e8f90a1b2c3d4e5f6"}'
)
# HAProxy 2.8 manual, section 8.2.3, with a registry's request; and `option httpslog`.
HAPROXY = (
    "10.0.1.2:33317 [20/Nov/2026:03:00:00.655] http-in registry/r1 10/0/30/69/109 200 2750 - - "
    '---- 1/1/1/1/0 0/0 {docker/27.3.1|reg.example} {} "GET /v2/team/app/manifests/v1 HTTP/1.1"'
)
HAPROXY_SYSLOG = f"<134>Nov 20 03:00:00 lb1 haproxy[14389]: {HAPROXY}"
HAPROXY_TLS = (
    "10.0.1.2:33317 [20/Nov/2026:03:00:00.655] https~ registry/<NOSRV> 10/-1/-1/-1/+12 503 217 - - "
    'SC-- 1/1/0/0/0 0/0 "GET /v2/ HTTP/2.0" 0/0000000000000000/0/0/0 r/TLSv1.3/TLS_AES_128'
)
# Harbor 2.15, src/pkg/audit and src/pkg/auditext by way of src/lib/log: what is forwarded, to
# syslog over TCP by Go's log/syslog. Before 2.13 without the description, and a digest after `:`.
HARBOR_PULL = (
    '2026-11-20T03:00:01Z [INFO] [/pkg/auditext/manager.go:86][operator="alice" '
    'resourceType="artifact" time="2026-11-20 03:00:00.123456789 +0000 UTC m=+5.1"]: action:pull, '
    f"resource:library/app:v1, operation_description:pull artifact: library/app@{BLOB}"
)
HARBOR_PUSH_OLD = (
    '2022-09-30T09:36:28Z [INFO] [/pkg/audit/manager.go:82][operator="robot$ci" '
    'resourceType="artifact" time="2022-09-30 17:36:28.5 +0800 CST"]: action:create, '
    f"resource:library/app:{BLOB}"
)
HARBOR_DELETE = (
    '2026-11-20T03:00:01Z [INFO] [/pkg/auditext/manager.go:86][operator="alice" '
    'resourceType="repository" time="2026-11-20 03:00:00 +0000 UTC"]: action:delete, '
    "resource:library/app, operation_description:delete repository: library/app"
)
HARBOR_LOGIN = (
    '2026-11-20T03:00:01Z [INFO] [/pkg/auditext/manager.go:86][operator="alice" '
    'resourceType="user" time="2026-11-20 03:00:00 +0000 UTC"]: action:login, resource:alice, '
    "operation_description:login"
)
HARBOR_CHANGE = (
    '2026-11-20T03:00:01Z [INFO] [/pkg/auditext/manager.go:86][operator="admin" '
    'resourceType="robot" time="2026-11-20 03:00:00 +0000 UTC"]: action:create, resource:ci, '
    "operation_description:create robot: ci"
)
HARBOR_SYSLOG = f"<14>2026-11-20T03:00:01Z harbor-core-5d audit[1]: {HARBOR_PULL}"
# Harbor 2.15, src/server/middleware/security and src/core.
HARBOR_FAILED = (
    "2026-11-20T03:00:00Z [ERROR] [/server/middleware/security/basic_auth.go:72][client IP="
    '"10.0.0.9, 172.18.0.1" requestID="4aa4444a" user agent="docker/27.3.1"]: failed to '
    "authenticate user:bob, error:Failed to authenticate user, due to error 'Invalid credentials'"
)
HARBOR_FILE = f"Nov 20 03:00:00 172.18.0.1 core[823]: {HARBOR_FAILED}"
HARBOR_TOKEN = (
    "2026-11-20T03:00:00Z [ERROR] [/core/service/token/token.go:54]: "
    "Unable to handle service: nonsense"
)
HARBOR_OTHER = (
    "2026-11-20T03:00:00Z [WARNING] [/lib/cache/cache.go:11]: failed to ping redis, retry after 1s"
)
# docker_auth 1.14, auth_server/server/server.go, by glog.
TOKEN_FAILED = (
    "W1120 03:00:00.123456       1 server.go:493] Auth failed: {bob:***@10.0.0.9:4711 "
    "[{repository  team/app [pull push]}]}"
)
TOKEN_GIVEN = (
    "I1120 03:00:00.123456       1 server.go:424] New token for {alice:***@10.0.0.7:4711 "
    '[{repository  team/app [pull]}]} map[]: {"iss":"Acme","sub":"alice","aud":"reg"}'
)
TOKEN_UNMATCHED = (
    "W1120 03:00:00.123456       1 server.go:351] {alice pull repository team/secret} "
    "did not match any authz rule"
)
TOKEN_PASSWORD = (
    "W1120 03:00:00.123456       1 server.go:322] Failed authentication with wrong password: bob"
)
# Kubernetes 1.31 with containerd 1.7; Docker 27, json-file.
CRI = f"2026-11-20T03:00:00.123456789Z stdout F {NGINX}"
DOCKER = (
    '{"log":"172.18.0.1 - \\"GET /v2/ HTTP/1.1\\" 401 87 \\"-\\" \\"curl/7.88.1\\" 0.003 0.002 .'
    '\\n","stream":"stdout","time":"2026-11-20T03:00:00.5Z"}'
)
# Falco 0.39, `json_output: true`, rule of falco_rules.yaml; and the plugin k8saudit 0.11.
FALCO = (
    '{"hostname":"node1","output":"03:00:00.123456789: Notice A shell was spawned in a container '
    'with an attached terminal (evt_type=execve user=root)","output_fields":{"container.id":"3c0",'
    '"container.image.repository":"reg.example:5000/team/app","container.image.tag":"v1",'
    f'"container.image.digest":"{MANIFEST}","evt.time":1795143600123456789,"user.name":"root"}},'
    '"priority":"Notice","rule":"Terminal shell in container","source":"syscall",'
    '"tags":["container","shell"],"time":"2026-11-20T03:00:00.123456789Z"}'
)
FALCO_KUBERNETES = (
    '{"output":"...","output_fields":{"ka.user.name":"alice","ka.req.pod.containers.image":'
    '["reg.example/team/app:v2"]},"priority":"Warning","rule":"Create Disallowed Pod",'
    '"source":"k8s_audit","time":"2026-11-20T03:00:00Z"}'
)
# "Amazon S3 server access log format", its example, with the download of a blob.
S3 = (
    f"{'79a59df900b949e5' * 4} bucket [20/Nov/2026:03:00:38 +0000] 192.0.2.3 "
    f"arn:aws:iam::123456789012:user/registry 3E57427F3EXAMPLE REST.GET.OBJECT {KEY} "
    f'"GET /{KEY}?X-Amz-Algorithm=AWS4-HMAC-SHA256 HTTP/1.1" 200 - 2662992 2662992 70 10 "-" '
    '"containerd/1.7.22" - s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3= SigV4 '
    "ECDHE-RSA-AES128-GCM-SHA256 QueryString bucket.s3.eu-central-1.amazonaws.com TLSv1.2 - -"
)
# "CloudTrail log file entries for Amazon S3", event version 1.11.
CLOUDTRAIL = (
    '{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","arn":'
    '"arn:aws:iam::123456789012:user/mallory"},"eventTime":"2026-11-20T03:00:00Z","eventSource":'
    '"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-central-1","sourceIPAddress":'
    '"192.0.2.3","userAgent":"[aws-cli/2.15]","requestParameters":{"bucketName":"bucket","key":'
    f'"{KEY}"}},"responseElements":null,"additionalEventData":{{"AuthenticationMethod":"AuthHeader",'
    '"bytesTransferredOut":2662992},"requestID":"3E57427F3EXAMPLE","readOnly":true}'
)
# "Standard logging reference" of CloudFront, version 1.0.
CLOUDFRONT_HEADER = (
    "#Fields: date time c-ip cs-method cs-uri-stem cs-uri-query sc-status sc-bytes time-taken "
    "cs(User-Agent) x-edge-request-id"
)
CLOUDFRONT_OWN = "\t".join(
    ("2026-11-20", "03:00:00", "192.0.2.9", "GET", f"/{KEY}", "-", "206", "1024", "0.5",
     "containerd%2F1.7", "SOX4xwn4XV6Q4rgb7XiVGOHms_BGlTAC4KyHmureZmBNrjGdRLiNIQ==")
)  # fmt: skip
CLOUDFRONT = "\t".join(
    ("2026-11-20", "03:00:00", "LAX1", "2390282", "192.0.2.9", "GET", "d1.cloudfront.net",
     f"/{KEY}", "200", "-", "docker%2F27.3.1", "-", "-", "Hit", "SOX4xwn4XV6Q4rgb7XiVGOHms==",
     "cdn.example", "https", "23", "0.001", "-", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "Hit",
     "HTTP/2.0", "-", "-", "11040", "0.001", "Hit", "application/octet-stream", "2390282", "-", "-")
)  # fmt: skip

PARTS = {"NOW", "HEX", "BLOB", "MANIFEST", "CONFIG", "KEY"}
ALL = {
    name: value
    for name, value in list(globals().items())
    if name.isupper() and isinstance(value, str) and name not in PARTS
}
"""Every sample that is a line, by its name."""
