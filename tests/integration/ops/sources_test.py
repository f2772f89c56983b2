"""Sources of the program from outside: routes, commands, settings, a restart. No system is read: that is for the
connectors' tests.

    sources_test.py BINARY
"""

import base64
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import Http, Sluice  # noqa: E402

BINARY = None
BASE = "/v1/orgs/acme/sources"


class SourcesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.folder.name)
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
        cls.server = Sluice(BINARY, folder / "one", ["--set", f"secrets.keys=k1=file:{key}"]).start()
        cls.connect()
        cls.admin.json("PUT", "/v1/orgs/acme?wait=30s", {})

    @classmethod
    def connect(cls):
        cls.admin = Http(cls.server.urls["admin"], cls.server.token("sluice.admin"))

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        cls.folder.cleanup()
        assert code == 0, code

    def code(self, method, path, body=None, expect=(400, 404, 405, 409)):
        return self.admin.json(method, path, body, expect=expect).get("code")

    def sluice(self, *arguments, check=True):
        return self.server.command("source", *arguments, "--url", self.server.urls["admin"], "--data-dir", self.server.data,
                                   check=check)

    def test_what_is_not_there(self):
        self.assertEqual(self.admin.json("GET", BASE), {"sources": []})
        self.assertEqual(self.code("GET", BASE + "/crm"), "source_not_found")
        self.assertEqual(self.code("DELETE", BASE + "/crm"), "source_not_found")
        self.assertEqual(self.code("POST", BASE + "/crm/run"), "source_not_found")
        self.assertEqual(self.code("POST", BASE + "/crm/reseal"), "source_not_found")
        self.assertEqual(self.code("POST", BASE + "/crm/check"), "source_not_found")
        self.assertEqual(self.code("GET", "/v1/orgs/nobody/sources"), "org_not_found")
        self.assertEqual(self.code("POST", BASE + "/crm"), "method_not_allowed")

    def test_what_is_refused(self):
        self.assertEqual(self.code("PUT", BASE + "/crm", {"kind": "fax"}), "source_not_allowed")
        self.assertEqual(self.code("POST", BASE + "/crm/check", {"kind": "fax"}), "source_not_allowed")
        self.assertEqual(self.code("PUT", BASE + "/crm", {"kind": "fax", "urls": ""}), "invalid_argument")
        self.assertEqual(self.code("PUT", BASE + "/crm", {"kind": "fax", "interval": "1m"}), "invalid_argument")
        self.assertEqual(self.code("POST", BASE + "/crm/run", {"entities": "all"}), "invalid_argument")
        self.assertEqual(self.code("POST", BASE + "/crm/run", {"reload": 1}), "invalid_argument")

    def test_scopes(self):
        other = Http(self.server.urls["admin"], self.server.token("sluice.admin", org="other"))
        self.assertEqual(other.request("GET", BASE)[0], 403)
        ingest = Http(self.server.urls["admin"], self.server.token("sluice.ingest"))
        self.assertEqual(ingest.request("GET", BASE)[0], 403)

    def test_commands(self):
        self.assertEqual(self.sluice("list", "acme").stdout.split(), ["name", "kind", "entities", "failing", "rows", "url"])
        self.assertIn("no source", self.sluice("get", "acme", "crm", check=False).stderr)
        self.assertIn("no source", self.sluice("run", "acme", "crm", "--entity", "account", check=False).stderr)
        self.assertEqual(self.sluice("reseal", "--all").stdout.split(), ["name"])
        wrong = self.sluice("reseal", "acme", check=False)
        self.assertEqual(wrong.returncode, 2)
        definition = pathlib.Path(self.folder.name) / "crm.json"
        definition.write_text(json.dumps({"kind": "fax"}))
        refused = self.sluice("check", "acme", "crm", definition, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("fax", refused.stderr)

    def test_a_reseal_of_all_goes_on_behind_a_failure(self):
        answered = []

        class Admin(http.server.BaseHTTPRequestHandler):
            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(json.dumps(body))))
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def do_GET(self):  # noqa: N802
                if self.path.startswith("/v1/orgs?"):
                    orgs = [{"org": name, "state": "ready"} for name in ("acme", "lost", "zoo")]
                    self.answer(200, {"orgs": orgs, "next_page_token": ""})
                elif "/lost/" in self.path:
                    self.answer(404, {"status": 404, "code": "org_not_found", "detail": "it has just gone"})
                else:
                    self.answer(200, {"sources": [{"name": name, "secrets": ["password"]} for name in ("a", "b")]})

            def do_POST(self):  # noqa: N802
                answered.append(self.path)
                if self.path.endswith("acme/sources/a/reseal"):
                    self.answer(409, {"status": 409, "code": "secrets_key_missing", "detail": "no key k1"})
                else:
                    self.answer(200, {"position": "7"})

            def log_message(self, *_):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Admin) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            command = ("source", "reseal", "--all", "--url", f"http://127.0.0.1:{server.server_port}", "--token", "t")
            text = self.server.command(*command, check=False)
            told = json.loads(self.server.command("--output", "json", *command, check=False).stdout)
            server.shutdown()
        self.assertEqual(text.returncode, 1)
        self.assertEqual(text.stdout.split(), ["name", "acme/b", "zoo/a", "zoo/b"])
        self.assertIn("acme/a: no key k1", text.stderr)
        self.assertIn("lost: it has just gone", text.stderr)
        self.assertEqual(len(answered), 8)
        self.assertEqual([failed["name"] for failed in told["failed"]], ["acme/a", "lost"])
        self.assertEqual(told["failed"][0]["code"], "secrets_key_missing")
        self.assertEqual(len(told["resealed"]), 3)

    def test_the_role_is_at_work_and_comes_back(self):
        for _ in range(2):
            text = self.admin.request("GET", "/metrics")[2].decode()
            self.assertGreater(float(re.search(r"^sluice_source_partitions (\S+)", text, re.M)[1]), 0)
            self.assertIn("sluice_source_running 0", text)
            self.server.kill()
            self.server.start()
            self.connect()

    def test_a_key_that_can_not_be_read_keeps_the_program_from_starting(self):
        folder = pathlib.Path(self.folder.name) / "two"
        done = subprocess.run([BINARY, "serve", "--data-dir", str(folder), "--admin-listen", "127.0.0.1:0", "--sync-listen",
                               "127.0.0.1:0", "--set", "secrets.keys=k1=file:/nowhere/key"], stderr=subprocess.PIPE, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nowhere/key", done.stderr)


if __name__ == "__main__":
    BINARY = sys.argv.pop(1)
    unittest.main()
