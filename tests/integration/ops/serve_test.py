"""What `sluice serve` is to the system that runs it: signals, descriptors, modes of files, the ready file.

    serve_test.py BINARY
"""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import Http, Sluice  # noqa: E402

BINARY = ""


class ServeTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-serve-"))
        self.server = Sluice(BINARY, self.folder / "server")
        self.ready = self.server.folder / "ready.json"

    def tearDown(self):
        self.server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        return self.server.log_path.read_text(errors="replace")

    def await_log(self, text):
        deadline = time.monotonic() + 30
        while text not in self.log():
            self.assertLess(time.monotonic(), deadline, f"no {text!r} in\n{self.server.tail()}")
            time.sleep(0.01)  # polls a file that another process writes

    def serves(self):
        admin = Http(self.server.urls["admin"], self.server.token("sluice.admin"))
        return admin.json("GET", "/v1/orgs") is not None

    # ---- signals ----

    def test_other_signals_do_not_stop_it_nor_make_it_deaf(self):
        self.server.start()
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGUSR1, signal.SIGHUP):
            self.server.process.send_signal(number)
        self.await_log("signal_ignored signal=SIGHUP")
        self.assertTrue(self.serves())
        self.assertEqual(self.server.stop(wait_s=30), 0)
        self.assertIn("stopping reason=signal", self.log())

    def test_both_listeners_stop_at_once(self):
        """A request of one that takes its time does not keep the other open."""
        self.server.start()
        admin = Http(self.server.urls["admin"], self.server.token("sluice.admin"))
        admin.json("PUT", "/v1/orgs/acme?wait=30s", {"display_name": "A"}, expect=(200,))
        address = {name: tuple(self.server.urls[name].rsplit("/", 1)[1].split(":")) for name in ("admin", "sync")}
        slow = socket.create_connection(address["sync"])
        slow.sendall(f"POST /v1/orgs/acme/delta HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nAuthorization: Bearer "
                     f"{self.server.token('sluice.sync', 'ann', 'acme')}\r\nExpect: 100-continue\r\n\r\n".encode())
        self.assertIn(b" 100 ", slow.recv(1000))
        self.server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        closed = set()
        while len(closed) < 2:
            self.assertLess(time.monotonic(), deadline, closed)
            slow.sendall(b" ")  # it goes on all the while
            for name, where in address.items():
                try:
                    socket.create_connection(where).close()
                except ConnectionRefusedError:
                    closed.add(name)
            time.sleep(0.05)  # a client that drips
        slow.close()
        self.assertEqual(self.server.process.wait(timeout=30), 0)

    # ---- descriptors ----

    def test_the_soft_limit_of_descriptors_is_raised(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            self.server.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        limits = pathlib.Path(f"/proc/{self.server.process.pid}/limits").read_text()
        self.assertRegex(limits, rf"Max open files\s+{hard}\s+{hard}\s")
        self.assertIn(f"descriptors limit={hard} was=256", self.log())

    # ---- whose are the files? ----

    def modes(self):
        """Every file and folder of the data folder that somebody else may open."""
        wide = {}
        for path in [self.server.data, *self.server.data.rglob("*")]:
            mode = path.lstat().st_mode & 0o777
            if mode & 0o077:
                wide[str(path.relative_to(self.server.data))] = oct(mode)
        return wide

    def test_all_that_it_makes_is_its_users_alone(self):
        before = os.umask(0)
        try:
            self.server.start()
        finally:
            os.umask(before)
        admin = Http(self.server.urls["admin"], self.server.token("sluice.admin"))
        admin.json("PUT", "/v1/orgs/acme?wait=30s", {})
        self.assertEqual(self.modes(), {})
        self.assertEqual(self.ready.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.server.stop(), 0)
        self.assertEqual(self.modes(), {})

    def test_a_folder_of_an_earlier_version_is_narrowed_and_told(self):
        self.server.start()
        self.assertEqual(self.server.stop(), 0)
        subprocess.run(["chmod", "-R", "a+rX", self.server.data], check=True)
        self.server.start()
        for name in ("", "log", "stores", "node-id", "dev-key.jwk"):
            path = self.server.data / name
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        self.assertIn("permissions_narrowed", self.log())
        self.assertEqual(self.server.stop(), 0)

    def test_the_name_of_the_node_outlives_a_power_cut(self):
        trace = self.folder / "trace"
        traced = self.folder / "traced"
        traced.write_text(f'#!/bin/sh\nexec strace -f -qq -y -e trace=openat,fsync,rename -o {trace} {BINARY} "$@"\n')
        traced.chmod(0o755)
        self.server.binary = str(traced)
        self.server.start()
        os.kill(json.loads(self.ready.read_text())["pid"], signal.SIGTERM)
        self.assertEqual(self.server.process.wait(timeout=60), 0)
        calls = trace.read_text()
        renamed = re.search(r'rename\("[^"]*/node-id\.\w{6}", "[^"]*/node-id"\) = 0', calls)
        self.assertIsNotNone(renamed, "the node's name was written by other calls")
        self.assertRegex(calls[:renamed.start()], r"fsync\(\d+<[^>]*/node-id\.\w{6}>\) += 0")
        after = calls[renamed.end():]
        synced = re.search(rf"fsync\(\d+<{re.escape(str(self.server.data))}>\) += 0", after)
        self.assertIsNotNone(synced, "the folder was not synced")

    # ---- the ready file ----

    def test_the_ready_file_is_there_while_it_serves(self):
        self.server.start()
        self.assertTrue(self.ready.exists())
        again = subprocess.run([BINARY, "serve", "--data-dir", self.server.data, "--admin-listen", "127.0.0.1:0",
                                "--sync-listen", "127.0.0.1:0", "--ready-file", self.ready], capture_output=True,
                               timeout=60)
        self.assertEqual(again.returncode, 1)
        self.assertTrue(self.ready.exists(), "a start that was refused took the running server's file")
        self.assertEqual(self.server.stop(), 0)
        self.assertFalse(self.ready.exists())

    def test_what_a_killed_process_left_goes_before_the_next_one_listens(self):
        self.server.start()
        self.server.kill()
        self.assertTrue(self.ready.exists())
        # A start that can't be: the file must be gone all the same.
        done = subprocess.run([BINARY, "serve", "--data-dir", "/proc/nothing", "--ready-file", self.ready],
                              capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertFalse(self.ready.exists())

    # ---- settings ----

    def test_the_last_of_two_values_counts(self):
        self.server.arguments = ["--set", "log_level=error", "--set", "log_level=info"]
        self.server.start()
        self.assertIn("level=info", self.log())


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
