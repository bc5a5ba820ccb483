# SPDX-License-Identifier: Apache-2.0
"""The peers: two-hop pairs with mutual TLS 1.3 both ways, as sidecars of a client's and a server's pod.

All do equal work: AES-128-GCM, P-256 certificates that both sides verify, pooled connections where the layer allows, one
worker, no access log.
"""
import os
import shutil
import subprocess

NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
CIPHER = "TLS_AES_128_GCM_SHA256"
NAME = "server.bench"


class Ports:
    """The ports of one pair. The client's are on its pod's loopback, the server's on its pod's address."""

    def __init__(self, index, server, backends):
        base = 20000 + 10 * index
        self.client = {"h1": base, "h2": base + 1, "tcp": base + 2}
        self.server = {"h1": base + 5, "h2": base + 6, "tcp": base + 7}
        self.server_ip = server
        self.backend = {protocol: f"127.0.0.1:{port}" for protocol, port in backends.items()}

    def listen(self, protocol):
        return f"127.0.0.1:{self.client[protocol]}"

    def hop(self, protocol):
        return f"{self.server_ip}:{self.server[protocol]}"


class Peer:
    """What both sides run: commands, and the files that they read, by name."""

    def __init__(self, client, server, files=None):
        self.commands = {"client": client, "server": server}
        self.files = files or {}


HAPROXY_HEAD = """
global
  nbthread 1
  maxconn 9000
  tune.h2.initial-window-size 1048576
  tune.h2.max-concurrent-streams 256
  ssl-default-bind-ciphersuites {cipher}
  ssl-default-server-ciphersuites {cipher}
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode {mode}
  timeout connect 5s
  timeout client 10m
  timeout server 10m
  timeout http-keep-alive 10m
  http-reuse always
"""
HAPROXY_POOL = "pool-max-conn -1 pool-purge-delay 5m"


def haproxy_route(name, listen, to):
    return f"frontend in-{name}\n  bind {listen} backlog 4096\n  default_backend to-{name}\n" \
           f"backend to-{name}\n  server one {to}\n"


def haproxy(mode, client, server):
    head = HAPROXY_HEAD.format(cipher=CIPHER, mode=mode)
    return Peer(["haproxy", "-db", "-f", "client.cfg"], ["haproxy", "-db", "-f", "server.cfg"],
                {"client.cfg": head + client, "server.cfg": head + server})


def haproxy_tls(folder):
    to = f"ssl verify required ca-file {folder}/ca.pem crt {folder}/client.both.pem sni str({NAME}) verifyhost {NAME}"
    at = f"ssl crt {folder}/server.both.pem ca-file {folder}/ca.pem verify required"
    return to, at


def haproxy_l7(ports, folder, hop):
    """HTTP; `hop` is what HTTP/1.1 becomes between the two: http/1.1 on connections of its own, or streams of h2."""
    to, at = haproxy_tls(folder)
    client = haproxy_route("h1", ports.listen("h1"), f"{ports.hop('h1')} {to} alpn {hop} {HAPROXY_POOL}")
    client += haproxy_route("h2", f"{ports.listen('h2')} proto h2", f"{ports.hop('h2')} {to} alpn h2 {HAPROXY_POOL}")
    server = haproxy_route("h1", f"{ports.hop('h1')} {at} alpn {hop}", f"{ports.backend['h1']} {HAPROXY_POOL}")
    server += haproxy_route("h2", f"{ports.hop('h2')} {at} alpn h2", f"{ports.backend['h2']} proto h2 {HAPROXY_POOL}")
    return haproxy("http", client, server)


def haproxy_l4(ports, folder):
    to, at = haproxy_tls(folder)
    return haproxy("tcp", haproxy_route("tcp", ports.listen("tcp"), f"{ports.hop('tcp')} {to}"),
                   haproxy_route("tcp", f"{ports.hop('tcp')} {at}", ports.backend["tcp"]))


NGINX_HEAD = """
daemon off; worker_processes 1; user root; pid {folder}/{side}.pid; error_log {folder}/{side}.log crit;
{module}
events {{ worker_connections 18000; multi_accept on; }}
"""
NGINX_HTTP = """
  access_log off; server_tokens off; tcp_nodelay on;
  keepalive_requests 1000000000; keepalive_timeout 10m; proxy_read_timeout 10m; grpc_read_timeout 10m;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_max_temp_file_size 0;
  client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
  uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
"""


def nginx(module, folder, client, server):
    files = {}
    for side, body in (("client", client), ("server", server)):
        files[f"{side}.conf"] = NGINX_HEAD.format(folder=folder, side=side, module=module) + body
    command = lambda side: ["nginx", "-p", folder, "-e", f"{folder}/{side}.log", "-c", f"{folder}/{side}.conf"]
    return Peer(command("client"), command("server"), files)


def nginx_client_tls(prefix, certificates):
    settings = (f"certificate {certificates}/client.pem", f"certificate_key {certificates}/client.key",
                f"trusted_certificate {certificates}/ca.pem", "verify on", f"name {NAME}", "server_name on",
                "protocols TLSv1.3", "session_reuse on", f"conf_command Ciphersuites {CIPHER}")
    return "".join(f"  {prefix}_ssl_{setting};\n" for setting in settings)


def nginx_server_tls(certificates):
    settings = (f"certificate {certificates}/server.pem", f"certificate_key {certificates}/server.key",
                f"client_certificate {certificates}/ca.pem", "verify_client on", "protocols TLSv1.3",
                f"conf_command Ciphersuites {CIPHER}", "session_cache shared:sessions:20m", "session_tickets on")
    return "".join(f"  ssl_{setting};\n" for setting in settings)


def nginx_upstream(name, address):
    return f"  upstream {name} {{ server {address}; keepalive 1024; keepalive_requests 1000000000; " \
           "keepalive_timeout 10m; }\n"


def nginx_http(ports, folder):
    """HTTP/1.1 on the hop, or gRPC with one stream on a connection: nginx multiplexes nothing towards its upstreams."""
    h2 = "http2_max_concurrent_streams 256;"
    client = "http {\n" + NGINX_HTTP.format(folder=folder) + nginx_client_tls("proxy", folder) + \
        nginx_client_tls("grpc", folder) + nginx_upstream("h1", ports.hop("h1")) + \
        nginx_upstream("h2", ports.hop("h2")) + \
        f"  server {{ listen {ports.listen('h1')} backlog=4096; location / {{ proxy_pass https://h1; }} }}\n" \
        f"  server {{ listen {ports.listen('h2')} http2 backlog=4096; {h2} location / {{ grpc_pass grpcs://h2; }} }}\n}}\n"
    server = "http {\n" + NGINX_HTTP.format(folder=folder) + nginx_server_tls(folder) + \
        nginx_upstream("h1", ports.backend["h1"]) + nginx_upstream("h2", ports.backend["h2"]) + \
        f"  server {{ listen {ports.hop('h1')} ssl backlog=4096; location / {{ proxy_pass http://h1; }} }}\n" \
        f"  server {{ listen {ports.hop('h2')} ssl http2 backlog=4096; {h2} location / {{ grpc_pass grpc://h2; }} }}\n}}\n"
    return nginx("", folder, client, server)


def nginx_stream(ports, folder, buffer):
    head = f"stream {{\n  tcp_nodelay on; proxy_timeout 10m; proxy_buffer_size {buffer};\n"
    client = head + "  proxy_ssl on;\n" + nginx_client_tls("proxy", folder) + \
        f"  server {{ listen {ports.listen('tcp')} backlog=4096; proxy_pass {ports.hop('tcp')}; }}\n}}\n"
    server = head + nginx_server_tls(folder) + \
        f"  server {{ listen {ports.hop('tcp')} ssl backlog=4096; proxy_pass {ports.backend['tcp']}; }}\n}}\n"
    return nginx(f"load_module {NGINX_STREAM};", folder, client, server)


def nghttpx(ports, folder):
    """HTTP/2 on the hop. Requests for /h2/ go to the HTTP/2 server: its two entries share one hop."""
    common = ["nghttpx", "--conf=/dev/null", "--workers=1", "--single-process", "--accesslog-file=/dev/null",
              "--log-level=ERROR", "--backlog=4096", "--tls-min-proto-version=TLSv1.3",
              "--tls-max-proto-version=TLSv1.3", "--no-ocsp", "--no-via", "--no-server-rewrite", "--frontend-read-timeout=10m",
              "--frontend-keep-alive-timeout=10m", "--frontend-http2-read-timeout=10m",
              "--backend-keep-alive-timeout=10m", "--worker-frontend-connections=0",
              "--backend-connections-per-frontend=1024"]
    for side in ("frontend", "backend"):
        common += [f"--{side}-http2-window-size=1M", f"--{side}-http2-connection-window-size=16M",
                   f"--{side}-http2-max-concurrent-streams=256"]
    at = lambda address: address.replace(":", ",")
    client = common + [f"--errorlog-file={folder}/client.log", f"-f{at(ports.listen('h1'))};no-tls",
                       f"-f{at(ports.listen('h2'))};no-tls", f"-b{at(ports.hop('h1'))};;proto=h2;tls;sni={NAME}",
                       f"--cacert={folder}/ca.pem", f"--client-cert-file={folder}/client.pem",
                       f"--client-private-key-file={folder}/client.key", f"--tls13-client-ciphers={CIPHER}"]
    server = common + [f"--errorlog-file={folder}/server.log", f"-f{at(ports.hop('h1'))}",
                       f"-b{at(ports.backend['h1'])};/", f"-b{at(ports.backend['h2'])};/h2/;proto=h2",
                       "--verify-client", f"--verify-client-cacert={folder}/ca.pem", f"--tls13-ciphers={CIPHER}",
                       f"{folder}/server.key", f"{folder}/server.pem"]
    return Peer(client, server)


def forwarder(ports, folder, program):
    """The floor: bytes, nothing else, so it can carry everything."""
    side = lambda name: [program, name, f"{folder}/{name}.pem", f"{folder}/{name}.key", f"{folder}/ca.pem"]
    return Peer(side("client") + [f"{ports.listen(p)}={ports.hop(p)}" for p in ALL],
                side("server") + [f"{ports.hop(p)}={ports.backend[p]}" for p in ALL])


HTTP, BYTES, ALL = ("h1", "h2"), ("tcp",), ("h1", "h2", "tcp")
# Name -> the protocols that it takes, and maker(ports, folder, forwarder program).
PEERS = {
    "haproxy-l7": (HTTP, lambda ports, folder, _: haproxy_l7(ports, folder, "http/1.1")),
    "haproxy-h2hop": (HTTP, lambda ports, folder, _: haproxy_l7(ports, folder, "h2")),
    "nginx-http": (HTTP, lambda ports, folder, _: nginx_http(ports, folder)),
    "nghttpx": (HTTP, lambda ports, folder, _: nghttpx(ports, folder)),
    "haproxy-l4": (BYTES, lambda ports, folder, _: haproxy_l4(ports, folder)),
    "nginx-stream": (BYTES, lambda ports, folder, _: nginx_stream(ports, folder, "16k")),
    "nginx-stream-64k": (BYTES, lambda ports, folder, _: nginx_stream(ports, folder, "64k")),
    "forwarder": (ALL, forwarder),
}
FLOOR = "forwarder"  # no peer: nothing is compared to it as one


def installed(name):
    """Whether this machine has what a pair needs: tools/setup --bench installs it."""
    if name == FLOOR:
        return True
    program = name.split("-")[0]
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    return found is not None and (not name.startswith("nginx-stream") or os.path.exists(NGINX_STREAM))


def make_certificates(folder):
    """A root and two certificates, P-256, for one day."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = lambda name: openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    key("ca")
    openssl("req", "-x509", "-new", "-key", "ca.key", "-days", "1", "-subj", "/CN=bench", "-out", "ca.pem")
    for name in ("client", "server"):
        key(name)
        openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        with open(f"{folder}/{name}.ext", "w") as f:
            f.write(f"subjectAltName=DNS:{name}.bench\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1",
                "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        with open(f"{folder}/{name}.both.pem", "w") as both:
            for part in ("pem", "key"):
                with open(f"{folder}/{name}.{part}") as f:
                    both.write(f.read())
