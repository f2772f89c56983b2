"""`sluice pull` from outside: refusals that are for good, other nodes, what it prints and what it leaves.

    pull_command_test.py BINARY
"""

import base64
import contextlib
import http.server
import json
import os
import pathlib
import pty
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import Sluice  # noqa: E402

BINARY = ""
# XXH64(seed 0) of `account\0A1\01042.0` and `account\0A2\01043.7`, from clients/docs/local-database.md.
TERMS = {"A1": 0x3b5a1accd55d8c31, "A2": 0x60f0a0eb65564d1c}
POSITIONS = {"A1": "1042.0", "A2": "1043.7"}
COLUMNS = [{"entity": "account", "key": "id", "columns": [{"name": "id", "type": "string"}]}]


def load(position, keys, sent=None, **more):
    """A whole checkpoint of one bucket, of which the rows `sent` come now."""
    summary = {"bucket": "b1", "count": str(len(keys)), "checksum": f"{sum(TERMS[key] for key in keys) % 2**64:016x}"}
    ops = [{"op": "put", "entity": "account", "key": key, "position": POSITIONS[key], "row": {"id": key}}
           for key in (keys if sent is None else sent)]
    frames = [{"checkpoint": {"position": str(position), "buckets": [summary], "removed": [], "entities": COLUMNS, **more}},
              {"ops": {"bucket": "b1", "from": "0", "to": str(position), "ops": ops}},
              {"checkpoint_complete": {"position": str(position)}}]
    return "".join(json.dumps(frame) + "\n" for frame in frames)


class Server:
    """Answers stream requests with (status, headers, body), the last again and again."""

    def __init__(self):
        self.answers = []
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.headers["Authorization"], json.loads(body)))
                status, headers, text = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class PullCommandTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-pull-"))
        self.db = self.folder / "acme.sqlite"
        self.server = Server()
        self.other = Server()

    def tearDown(self):
        self.server.close()
        self.other.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *more):
        return [BINARY, "pull", "--url", self.server.url, "--org", "acme", "--db", str(self.db), "--token", "t0ken",
                *map(str, more)]

    def pull(self, *more, code=0):
        done = subprocess.run(self.command(*more), capture_output=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def rows(self):
        return [row[0] for row in self.query("SELECT id FROM account ORDER BY id")]

    def query(self, sql):
        with contextlib.closing(sqlite3.connect(self.db)) as db:
            return db.execute(sql).fetchall()

    def test_counts_are_rows_of_the_tables(self):
        self.server.answers = [(200, {}, load(1043, ["A1"], history="h1"))]
        self.assertIn(b"1 rows; 1 put, 0 removed", self.pull().stdout)
        self.server.answers = [(200, {}, load(1044, ["A1", "A2"], ["A1", "A2"], history="h2"))]
        done = self.pull()
        self.assertIn(b"2 rows; 2 put, 0 removed", done.stdout)
        self.assertEqual(self.server.requests[-1][1]["history"], "h1")
        self.assertEqual(self.rows(), ["A1", "A2"])

    def test_a_refusal_for_good_deletes_nothing_without_the_flag(self):
        self.server.answers = [(200, {}, load(1043, ["A1", "A2"]))]
        self.pull()
        problem = json.dumps({"status": 403, "code": "offline_not_allowed", "detail": "no role", "wipe": True})
        self.server.answers = [(403, {}, problem)]
        for more in ([], ["--follow"]):
            done = self.pull(*more, code=1)
            self.assertIn(b"nothing of it was deleted: --wipe-when-refused", done.stderr)
            self.assertEqual(self.rows(), ["A1", "A2"])

    def test_a_refusal_for_good_deletes_with_the_flag(self):
        for more in ([], ["--follow"]):
            self.server.answers = [(200, {}, load(1043, ["A1", "A2"]))]
            self.pull()
            self.server.answers = [(403, {}, json.dumps({"code": "offline_not_allowed", "detail": "not now"}))]
            done = self.pull("--wipe-when-refused", *more, code=1)  # which is not for good
            self.assertNotIn(b"deleted", done.stderr)
            self.assertEqual(self.rows(), ["A1", "A2"])
            problem = json.dumps({"status": 404, "code": "org_not_found", "detail": "deleted", "wipe": True})
            self.server.answers = [(404, {}, problem)]
            done = self.pull("--wipe-when-refused", *more, code=1)
            self.assertIn(b"was deleted", done.stderr)
            self.assertEqual(self.query("SELECT count(*) FROM sqlite_schema"), [(0,)])
            self.assertNotIn(b"1042.0", self.db.read_bytes())
            self.assertFalse(pathlib.Path(f"{self.db}-wal").exists())

    def test_a_refusal_for_good_goes_before_a_second_name_of_the_file(self):
        self.server.answers = [(200, {}, load(1043, ["A1", "A2"]))]
        self.pull()
        second = pathlib.Path(f"{self.db}.backup")
        os.link(self.db, second)
        done = self.pull("--wipe-when-refused", code=1)
        self.assertIn(b"hard links", done.stderr)
        self.assertEqual(self.rows(), ["A1", "A2"])
        problem = json.dumps({"status": 403, "code": "offline_not_allowed", "detail": "no role", "wipe": True})
        self.server.answers = [(403, {}, problem)]
        done = self.pull(code=1)
        self.assertIn(b"nothing of it was deleted: --wipe-when-refused", done.stderr)
        self.assertEqual(self.rows(), ["A1", "A2"])
        for more in ([], ["--follow"]):
            done = self.pull("--wipe-when-refused", *more, code=1)
            self.assertIn(b"was deleted", done.stderr)
            self.assertNotIn(b"1042.0", second.read_bytes())
        self.assertEqual(self.query("SELECT count(*) FROM sqlite_schema"), [(0,)])

    def test_a_refusal_says_nothing_of_a_file_that_holds_nothing(self):
        self.server.answers = [(403, {}, json.dumps({"code": "offline_not_allowed", "detail": "no role", "wipe": True}))]
        for more in ([], ["--wipe-when-refused"]):
            done = self.pull(*more, code=1)
            self.assertIn(b"no role", done.stderr)
            self.assertNotIn(b"deleted", done.stderr)
            self.assertNotIn(b"still holds", done.stderr)

    def test_another_node_gets_the_token(self):
        self.server.answers = [(307, {"Location": f"{self.other.url}/v1/orgs/acme/stream"}, "")]
        self.other.answers = [(200, {}, load(1043, ["A1"]))]
        self.pull()
        self.assertEqual(self.rows(), ["A1"])
        self.assertEqual(self.other.requests[0][0], "Bearer t0ken")

    def test_the_files_are_the_owners_alone(self):
        self.server.answers = [(200, {}, load(1043, ["A1"]))]
        before = os.umask(0)
        try:
            self.pull()
        finally:
            os.umask(before)
        for file in self.folder.iterdir():
            self.assertEqual(file.stat().st_mode & 0o777, 0o600, file)

    def test_a_second_puller_by_another_path_is_refused(self):
        self.server.answers = [(200, {}, load(1043, ["A1"]))]
        link = self.folder / "link.sqlite"
        link.symlink_to(self.db)
        first = subprocess.Popen(self.command("--follow"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            first.stdout.readline()
            self.db, path = link, self.db
            self.assertIn(b"another client", self.pull(code=1).stderr)
            self.db = path
        finally:
            first.terminate()
            self.assertEqual(first.wait(timeout=30), 0)
            first.stdout.close()

    def test_nothing_of_the_server_steers_a_terminal(self):
        evil = json.dumps({"code": "\x1b[31mred", "detail": "a\x1b]0;owned\x07b\x9b2Jc\u202ed\r\ne"})
        for status, body in ((403, evil), (200, "\x1b[2J\n"), (200, load(1043, ["A1"]).replace("account", "a\\u001b[2J"))):
            self.server.answers = [(status, {}, body)]
            controller, terminal = pty.openpty()
            process = subprocess.Popen(self.command(), stdout=terminal, stderr=terminal)
            os.close(terminal)
            seen = b""
            try:
                while chunk := os.read(controller, 4096):
                    seen += chunk
            except OSError:  # the other end is closed
                pass
            os.close(controller)
            self.assertEqual(process.wait(timeout=60), 1)
            # The progress bar's own, and the terminal's line ends.
            rest = seen.replace(b"\r\x1b[K", b"").replace(b"\r\n", b"").decode()
            self.assertEqual([c for c in rest if ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e"], [], seen)
            self.assertIn("\\x1b", rest)

    def test_business_unit(self):
        server = Sluice(BINARY, self.folder / "server").start()  # makes the development key
        server.kill()
        who = ["--sub", "anna", "--role", "field", "--business-unit", "north", "--data-dir", server.data]
        self.server.answers = [(200, {}, load(1043, ["A1"]))]
        command = [part for part in self.command(*who) if part not in ("--token", "t0ken")]
        done = subprocess.run(command, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        claims = self.server.requests[0][0].split(" ")[1].split(".")[1]
        self.assertEqual(json.loads(base64.urlsafe_b64decode(claims + "=="))["businessunit"], "north")


if __name__ == "__main__":
    BINARY = sys.argv.pop(1)
    unittest.main()
