#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A heddle-proxy that never was root, as in a container, and comes before the agent.

Usage: start_test.py HEDDLE_PROXY      (as root, to become uid 65534)
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROXY = ""
UID = 65534
PATIENCE = 30


class Start(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="heddle-proxy-start-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.root)
        os.chmod(self.root, 0o755)
        self.program = os.path.join(self.root, "heddle-proxy")
        shutil.copy(PROXY, self.program)  # the build's folders may be root's alone
        self.anchors = os.path.join(self.root, "anchors.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=root", "-keyout", "/dev/null", "-out", self.anchors], check=True, capture_output=True)
        self.log = os.path.join(self.root, "log")
        self.process = None
        self.addCleanup(self.stop)

    def start(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [self.program, "--run-dir", self.root, "--admin-address", "127.0.0.1:0", "--workers", "1",
                 "--trust-anchors", self.anchors],
                user=UID, group=UID, extra_groups=[], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_until(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertIsNone(self.process.poll(), "the proxy ended: " + self.said())
            self.assertLess(time.monotonic(), end, self.said())
            time.sleep(0.02)

    def test_waits_for_the_agent_to_make_its_folder(self):
        self.start()
        self.wait_until(lambda: "waiting for heddle-agent" in self.said())
        self.assertFalse(os.path.exists(self.root + "/proxy"))
        os.mkdir(self.root + "/proxy", 0o700)  # still root's
        os.chown(self.root + "/proxy", UID, UID)
        self.wait_until(lambda: os.path.exists(self.root + "/proxy/admin.sock"))

    def test_ends_when_told_to_while_it_waits(self):
        self.start()
        self.wait_until(lambda: "waiting for heddle-agent" in self.said())
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(PATIENCE), 1)
        self.assertIn("stopped while waiting", self.said())

    def test_begins_at_once_where_the_folder_is(self):
        os.mkdir(self.root + "/proxy", 0o700)
        os.chown(self.root + "/proxy", UID, UID)
        self.start()
        self.wait_until(lambda: os.path.exists(self.root + "/proxy/admin.sock"))
        self.assertNotIn("waiting for heddle-agent", self.said())


if __name__ == "__main__":
    PROXY = sys.argv.pop(1)
    unittest.main(verbosity=2)
