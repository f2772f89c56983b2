"""Runs the `sluice` program for tests: one server process, its tokens, and plain HTTP. Standard library only."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]


def brokers(script, folder):
    """Those of SLUICE_TEST_BROKERS, or of a broker that `script` starts below `folder` and that ends with this process."""
    return os.environ.get("SLUICE_TEST_BROKERS") or start_broker(script, pathlib.Path(folder) / "broker")


def start_broker(script, folder, *arguments):
    return subprocess.run([script, "start", "--dir", str(folder), "--owner", str(os.getpid()), *arguments], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.split()[-1]


class Sluice:
    """One `sluice serve`, restartable on the same folder; ended with the test that made it."""

    def __init__(self, binary, folder, arguments=()):
        self.binary, self.folder, self.arguments = str(binary), pathlib.Path(folder), list(arguments)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.log_path = self.folder / "server.log"
        self.process = None
        self.urls = {}

    def start(self, wait_s=120):
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--data-dir", str(self.data), "--admin-listen", "127.0.0.1:0",
                 "--sync-listen", "127.0.0.1:0", "--ready-file", str(ready), *self.arguments],
                stdout=log, stderr=log)
        deadline = time.monotonic() + wait_s
        while not ready.exists():
            if self.process.poll() is not None:
                raise AssertionError(f"sluice ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"sluice was not ready after {wait_s} s:\n{self.tail()}")
            time.sleep(0.01)  # polls a file that another process writes
        self.urls = json.loads(ready.read_text())
        return self

    def tail(self, lines=40):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self, wait_s=60):
        """Ends it gracefully; returns its exit code."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"sluice did not stop within {wait_s} s:\n{self.tail()}") from None

    def command(self, *arguments, check=True, env=None):
        done = subprocess.run([self.binary, *map(str, arguments)], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env={**os.environ, **(env or {})})
        if check and done.returncode != 0:
            raise AssertionError(f"sluice {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}")
        return done

    def token(self, scope, sub="test", org="", roles=(), teams=()):
        arguments = ["token", "--data-dir", self.data, "--sub", sub, "--scope", scope, "--expires", "12h"]
        if org:
            arguments += ["--org", org]
        for role in roles:
            arguments += ["--role", role]
        for team in teams:
            arguments += ["--team", team]
        return self.command(*arguments).stdout.strip()


@contextlib.contextmanager
def ending(servers):
    """Ends these behind the block, paused ones too. Where it fails, what each has logged last is told."""
    try:
        yield
    except BaseException:
        for server in servers:
            print(f"--- {server.folder.name}\n{server.tail()}", file=sys.stderr)
        raise
    finally:
        for server in servers:
            if server.process is not None and server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
            server.kill()


class Http:
    """One keep-alive connection with a token."""

    def __init__(self, url, token, timeout=60):
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
        self.token = token

    def request(self, method, path, body=None, content_type="application/json", headers=None):
        """(status, headers, body bytes)"""
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = content_type
        self.connection.request(method, path, body=body, headers=sent)
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()

    def json(self, method, path, body=None, expect=(200, 201, 202), **more):
        status, _, answer = self.request(method, path, body, **more)
        if status not in expect:
            raise AssertionError(f"{method} {path}: {status} {answer[:500]!r}")
        return json.loads(answer) if answer else None

    def __del__(self):
        self.connection.close()


class NotServed(ConnectionError):
    """503: to be asked again later."""


class DeltaClient:
    """A client of gateways/docs/api.md, section 3.1, written from that page: rows and the cursor."""

    def __init__(self, org):
        self.org, self.rows, self.cursor, self.position = org, {}, None, -1
        self.pages, self.ops, self.fresh_starts = 0, 0, 0

    def pull(self, http, limit=1000, wait=None):
        """Follows the cursor until `more` is false; returns the position."""
        while True:
            query = {"limit": limit}
            if self.cursor:
                query["cursor"] = self.cursor
            if wait:
                query["wait"] = wait
            path = f"/v1/orgs/{self.org}/delta?{urllib.parse.urlencode(query)}"
            status, headers, body = http.request("GET", path)
            if status == 410:
                self.cursor, self.rows = None, {}
                self.fresh_starts += 1
                continue
            if status == 503:
                raise NotServed(body.decode())
            if status != 200:
                raise AssertionError(f"delta: {status} {body[:500]!r}")
            page = json.loads(body)
            self.ops += len(page["ops"])
            for op in page["ops"]:
                self.take(op)
            self.cursor = page["cursor"]
            self.pages += 1
            if not page["more"]:
                position = int(page["position"])
                if position < self.position and self.fresh_starts == 0:
                    raise AssertionError(f"the position went back from {self.position} to {position}")
                self.position = position
                return position

    def take(self, op):
        if op["op"] == "put":
            self.rows[(op["entity"], op["key"])] = op["row"]
        else:
            self.rows.pop((op["entity"], op["key"]), None)
