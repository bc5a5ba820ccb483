# SPDX-License-Identifier: Apache-2.0
"""Web servers that others wrote, each as a process of the test with a configuration of its own."""

import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time

FILES = {"empty": 0, "one": 1, "page": 16385, "large": 1 << 20}
HERE = pathlib.Path(__file__).resolve().parent
ATTEMPTS = 5  # somebody else may take a port before the server does

NGINX = """daemon off; master_process off; pid pid; error_log error.log; events {{}} http {{ access_log off;
client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
gzip on; gzip_min_length 1; gzip_types *; gzip_comp_level 1;
server {{ listen 127.0.0.1:{port}{http2}; root {root};
location /status/ {{ if ($request_uri ~ ^/status/(...)) {{ return 418; }} }} location /moved {{ return 301 /page; }}
location /error {{ return 503 sorry; }} location /none {{ return 204; }} location /forbidden {{ deny all; }} }} }}
"""

APACHE_MODULES = (
    "mpm_event", "authz_core", "alias", "asis", "dav", "dav_fs", "deflate", "dir", "headers", "http2", "lua", "mime",
    "rewrite",
)
APACHE = """ServerName web.test
Listen 127.0.0.1:{port}
PidFile {root}/pid
ErrorLog {root}/error.log
DefaultRuntimeDir {root}
TypesConfig /dev/null
DocumentRoot {root}
Protocols h2c http/1.1
MaxKeepAliveRequests 0
DavLockDB {root}/locks
FileETag MTime Size
Redirect 301 /moved /page
Redirect 410 /gone
AddHandler send-as-is asis
LuaMapHandler /echo {root}/echo.lua
LuaMapHandler /parts {root}/echo.lua parts
Header always set X-Always yes
Header onsuccess append Vary X-Other
RewriteEngine on
RewriteRule ^/none$ - [R=204]
RewriteRule ^/legal$ - [R=451]
<Directory {root}>
  Require all granted
  SetOutputFilter DEFLATE
</Directory>
<Location /forbidden>
  Require all denied
</Location>
<Directory {root}/dav>
  Dav on
  FileETag None
  Header unset Last-Modified
</Directory>
"""


class Server:
    """`name`: with the version of HTTP that it is asked in; `version`: that one."""

    def __init__(self, name, version):
        self.name = name
        self.version = version
        self.folder = tempfile.TemporaryDirectory(prefix="heddle-matrix-")
        self.root = pathlib.Path(self.folder.name)
        self.root.chmod(0o755)
        for file, size in FILES.items():
            (self.root / file).write_bytes(random.Random(size).randbytes(size))
            os.utime(self.root / file, (1_700_000_000, 1_700_000_000))
        for _ in range(ATTEMPTS):
            self.port = free_port()
            if self.start():
                return
        raise RuntimeError(f"{name} does not start: is it installed (tools/setup --test)? See {self.command()}")

    def command(self):
        raise NotImplementedError

    def start(self):
        # The kernel ends it with this process, however that ends.
        with (self.root / "output").open("wb") as output:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.command()], stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output)
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            if accepts(self.port):
                return True
        self.process.kill()
        self.process.wait()
        return False

    def trouble(self):
        """Why it ended, which it should not."""
        return [] if self.process.poll() is None else [f"{self.name} ended: {(self.root / 'output').read_text()[-2000:]}"]

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


class Nginx(Server):
    def command(self):
        http2 = " http2" if self.version == 2 else ""
        (self.root / "nginx.conf").write_text(NGINX.format(port=self.port, http2=http2, root=self.root))
        return ["nginx", "-c", str(self.root / "nginx.conf"), "-p", str(self.root)]


class Apache(Server):
    def command(self):
        text = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in APACHE_MODULES)
        if os.geteuid() == 0:  # it serves nothing as root
            text += "User nobody\nGroup nogroup\n"
        (self.root / "dav").mkdir(exist_ok=True)
        (self.root / "dav").chmod(0o777)
        self.root.chmod(0o777)
        (self.root / "hints.asis").write_bytes(b"Status: 202 As It Is\r\nX-A: 1\r\nx-a: 2\r\nContent-Type: text/x\r\n\r\nas it is\n")
        shutil.copy(HERE / "echo.lua", self.root)  # the sources need not be readable for everybody
        (self.root / "apache.conf").write_text(text + APACHE.format(port=self.port, root=self.root))
        return ["apache2", "-X", "-d", str(self.root), "-f", str(self.root / "apache.conf")]


class Node(Server):
    def command(self):
        return ["node", str(HERE / "server.js"), str(self.version), str(self.port)]


class Nghttpd(Server):
    def command(self):
        return ["nghttpd", "--no-tls", "--address=127.0.0.1", f"--htdocs={self.root}", "--echo-upload",
                "--trailer=x-end: done", "--mime-types-file=/dev/null", str(self.port)]


def start_all():
    return [Nginx("nginx1", 1), Nginx("nginx2", 2), Apache("apache1", 1), Apache("apache2", 2), Node("node1", 1),
            Node("node2", 2), Nghttpd("nghttpd2", 2)]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def accepts(port):
    with socket.socket() as sock:
        # A port that nobody listens at may be given to the very socket that asks for it, which then reaches itself.
        return sock.connect_ex(("127.0.0.1", port)) == 0 and sock.getsockname()[1] != port
