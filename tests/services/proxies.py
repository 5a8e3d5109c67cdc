"""Real proxies before a registry, nginx and HAProxy, each with an access log of its own."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Self

from programs import program
from servers import Server, http_status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["HAProxy", "Nginx", "Relay"]

#: What docs/audit.md has for nginx.
NGINX_JSON = """log_format registry escape=json '{"time_iso8601":"$time_iso8601","msec":"$msec",'
        '"remote_addr":"$remote_addr","remote_user":"$remote_user","request":"$request",'
        '"status":"$status","body_bytes_sent":"$body_bytes_sent","request_time":"$request_time",'
        '"http_user_agent":"$http_user_agent","request_id":"$request_id"}';"""

#: What docs/audit.md has for HAProxy.
HAPROXY_JSON = """http-request capture req.hdr(user-agent) len 256
    http-request capture req.hdr(x-request-id) len 128
    log-format '{"time_ms":%[date(0,ms)],"client_ip":"%ci","frontend":"%f","backend":"%b",\
"method":"%HM","uri":"%[capture.req.uri,json(utf8s)]","status":%ST,"bytes":%B,"duration_ms":%Ta,\
"termination":"%ts","user_agent":"%[capture.req.hdr(0),json(utf8s)]",\
"request_id":"%[capture.req.hdr(1),json(utf8s)]"}'"""


class Nginx(Server):
    """nginx before a registry; `access` is its log."""

    def __init__(self, upstream: str, *, state: Path, json: bool) -> None:
        super().__init__("nginx", state=state, port=None, detached=False)
        self.upstream = upstream
        self.json = json
        self.access = state / f"{self.stem}.access.log"

    def command(self) -> Sequence[str | Path]:
        place = self.state / self.stem
        place.mkdir(exist_ok=True)
        temporary = "\n".join(
            f"    {kind}_temp_path {place / kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        form = f"{self.access} registry" if self.json else f"{self.access}"
        config = place / "nginx.conf"
        config.write_text(f"""daemon off;
master_process off;
pid {place / "pid"};
events {{}}
http {{
{temporary}
    {NGINX_JSON}
    access_log {form};
    client_max_body_size 0;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Forwarded-For;
    server {{
        listen {self.host};
        location / {{
            proxy_pass http://{self.upstream};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Request-Id $request_id;
        }}
    }}
}}
""")
        return [program("nginx"), "-e", "stderr", "-p", place, "-c", config]

    def environment(self) -> Mapping[str, str]:
        return {"TZ": "Europe/Berlin"}

    def is_ready(self) -> bool:
        return http_status(f"{self.url}/v2/") in (200, 401)


class HAProxy(Server):
    """HAProxy before a registry; it logs to its standard output, `log`."""

    def __init__(self, upstream: str, *, state: Path, json: bool, trusted: bool) -> None:
        super().__init__("haproxy", state=state, port=None, detached=False)
        self.upstream = upstream
        self.json = json
        self.trusted = trusted

    def command(self) -> Sequence[str | Path]:
        form = HAPROXY_JSON if self.json else "option httplog"
        client = (
            "http-request set-src hdr(x-forwarded-for)" if self.trusted else "option forwardfor"
        )
        config = self.state / f"{self.stem}.cfg"
        # Of two threads that log at once one drops its line.
        config.write_text(f"""global
    nbthread 1
    log stdout len 8192 format raw local0
defaults
    mode http
    log global
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend registry
    bind {self.host}
    {form}
    {client}
    default_backend registries
backend registries
    server r1 {self.upstream}
""")
        return [program("haproxy"), "-db", "-f", config]

    def environment(self) -> Mapping[str, str]:
        return {"TZ": "UTC"}

    def is_ready(self) -> bool:
        return http_status(f"{self.url}/v2/") in (200, 401)


class Relay:
    """A port whose connections go on to another one, from another address: another client."""

    def __init__(self, address: str, port: int) -> None:
        self._from = address
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to), source_address=(self._from, 0))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass
