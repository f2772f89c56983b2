"""The commands as a person and a script use them: what they refuse, print and keep.

    command_line_test.py BINARY
"""

import base64
import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import DeltaClient, Http, Sluice  # noqa: E402

BINARY = ""
SCHEMA = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}, {"name": "note", "type": "string"},
                                              {"name": "count", "type": "int32"}]}


class CommandLineTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-commands-"))
        cls.server = Sluice(BINARY, cls.folder / "server").start()
        cls.admin = Http(cls.server.urls["admin"], cls.server.token("sluice.admin sluice.ingest"))
        cls.orgs = 0

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()
        shutil.rmtree(cls.folder, ignore_errors=True)

    def setUp(self):
        type(self).orgs += 1
        self.org = f"org{self.orgs}"
        self.admin.json("PUT", f"/v1/orgs/{self.org}?wait=30s", {"display_name": self.org})
        self.admin.json("PUT", f"/v1/orgs/{self.org}/entities/item?wait=30s", SCHEMA)
        self.admin.json("PUT", f"/v1/orgs/{self.org}/roles/r?wait=30s",
                        {"offline": True, "entities": {"item": {"read": True}}})
        self.admin.json("PUT", f"/v1/orgs/{self.org}/profiles/p?wait=30s",
                        {"entities": {"item": [{"kind": "all"}]}, "roles": ["r"]})

    def environment(self):
        return {**os.environ, "SLUICE_URL": self.server.urls["admin"], "SLUICE_DATA_DIR": str(self.server.data)}

    def run_sluice(self, *arguments, code=0, text=None):
        done = subprocess.run([BINARY, *map(str, arguments)], input=text, capture_output=True, text=True, timeout=120,
                              env=self.environment())
        self.assertEqual(done.returncode, code, (arguments, done.stdout, done.stderr))
        self.assertNotIn("terminate called", done.stderr)
        return done

    def write(self, name, rows):
        path = self.folder / f"{self.org}-{name}"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    def rows(self):
        """What a client has, after all that was ingested so far."""
        self.admin.json("PUT", f"/v1/orgs/{self.org}?wait=30s", {"display_name": f"after {os.urandom(4).hex()}"})
        client = DeltaClient(self.org)
        client.pull(Http(self.server.urls["sync"], self.server.token("sluice.sync", "anna", self.org, ["r"])))
        return {key: row for (_, key), row in client.rows.items()}

    # ---- ingest ----

    def test_long_rows_are_cut_into_sets_by_their_bytes(self):
        path = self.write("long", [{"id": f"k{i}", "note": "x" * 19_000} for i in range(300)])
        done = json.loads(self.run_sluice("ingest", path, "--org", self.org, "--entity", "item", "--output", "json").stdout)
        self.assertEqual((done["rows"], done["refused"]), (300, 0))
        self.assertEqual(len(self.rows()), 300)

    def test_a_bad_row_costs_no_neighbour_and_is_named(self):
        rows = [{"id": f"k{i}", "count": i} for i in range(250)]
        rows[19] = {"id": "k19", "count": "many"}
        rows[119] = {"id": "k119", "nope": 1}
        rows[200] = '{"id":"k200","count":1}},{"op":"delete","entity":"item","key":"k0"'  # closes its set's text
        rows[201] = "[1]"
        rows[202] = '{"id":"k202"'
        rows[203] = {"id": "k203", "note": "y" * (1 << 20)}
        path, rejects = self.write("bad", rows), self.folder / f"{self.org}-rejects"
        done = self.run_sluice("ingest", path, "--org", self.org, "--entity", "item", "--rejects", rejects, code=1)
        self.assertEqual([line.split(" ")[0] for line in sorted(done.stderr.splitlines()) if ": refused: " in line],
                         sorted(f"{path}:{n}:" for n in (20, 120, 201, 202, 203, 204)))
        for text in ("type_mismatch", "unknown_attribute", "invalid_json", "too_large", "6 rows were refused", str(rejects)):
            self.assertIn(text, done.stderr)
        self.assertIn("244 rows durable, 6 refused", done.stdout)
        self.assertEqual(set(rejects.read_text().splitlines()), {path.read_text().splitlines()[n] for n in
                                                                (19, 119, 200, 201, 202, 203)})
        self.assertEqual(rejects.stat().st_mode & 0o777, 0o600)
        self.assertEqual(set(self.rows()), {f"k{i}" for i in range(250)} - {"k19", "k119", "k200", "k201", "k202", "k203"})
        # Mended and sent again, nothing is left.
        rejects.write_text('{"id":"k19"}\r\n\r\n{"id":"k200"}')
        self.run_sluice("ingest", rejects, "--org", self.org, "--entity", "item")
        self.assertIn("k200", self.rows())

    def test_the_files_order_decides_also_where_rows_are_sent_again(self):
        rows = [{"id": f"k{i % 50}", "count": i} for i in range(1000)]
        rows[330] = {"id": "bad", "nope": True}
        path = self.write("order", rows)
        self.run_sluice("ingest", path, "--org", self.org, "--entity", "item", code=1)
        last = {row["id"]: row["count"] for row in rows if "count" in row}
        self.assertEqual({key: row["count"] for key, row in self.rows().items()}, last)

    def test_change_sets_are_named_by_their_line_too(self):
        sets = [{"ops": [{"op": "upsert", "entity": "item", "row": {"id": "a"}}]}, "", "{bad",
                {"ops": [{"op": "upsert", "entity": "nothing", "row": {"id": "b"}}]},
                {"ops": [{"op": "upsert", "entity": "item", "row": {"id": "c"}}]}]
        path, rejects = self.write("sets", sets), self.folder / f"{self.org}-rejects"
        done = self.run_sluice("ingest", path, "--org", self.org, "--rejects", rejects, "--output", "json", code=1)
        self.assertIn(f"{path}:3: refused: ", done.stderr)
        self.assertIn(f"{path}:4: refused: ", done.stderr)
        self.assertIn("unknown_entity", done.stderr)
        self.assertEqual((json.loads(done.stdout)["sets"], json.loads(done.stdout)["refused"]), (4, 2))
        self.assertEqual(rejects.read_text(), "{bad\n" + json.dumps(sets[3]) + "\n")
        self.assertEqual(set(self.rows()), {"a", "c"})

    def test_an_input_that_is_none_fails(self):
        empty = self.write("empty", [])
        self.assertIn("is a folder", self.run_sluice("ingest", self.folder, "--org", self.org, code=1).stderr)
        self.assertIn("No such file", self.run_sluice("ingest", "/no/file", "--org", self.org, code=1).stderr)
        for extra in ([], ["--entity", "item"]):
            for path in (empty, self.write("one", [{"id": "a"}])):
                done = self.run_sluice("ingest", path, "--org", "never-was", *extra, code=1)
                self.assertIn("org_not_found", done.stderr)
        self.assertIn("0 rows durable", self.run_sluice("ingest", empty, "--org", self.org, "--entity", "item").stdout)
        self.run_sluice("ingest", empty, "--org", self.org, "--rejects", empty, code=2)
        self.assertIn("/no/folder", self.run_sluice("ingest", empty, "--org", self.org, "--rejects", "/no/folder/f",
                                                    code=1).stderr)
        self.assertIn("is a folder", self.run_sluice("entity", "put", self.org, "x", self.folder, code=1).stderr)

    def test_it_reads_pipes_and_windows_files(self):
        rows = "\ufeff" + '{"id":"a"}\r\n{"id":"b"}\r\n'
        self.run_sluice("ingest", "-", "--org", self.org, "--entity", "item", text=rows)
        done = self.run_sluice("ingest", "-", "--org", self.org, "--entity", "item", text="{}\n", code=1)
        self.assertIn("standard input:1: refused: ", done.stderr)
        self.assertEqual(set(self.rows()), {"a", "b"})

    # ---- the page that a newcomer reads ----

    def test_the_readme_can_be_followed(self):
        page = (pathlib.Path(__file__).resolve().parents[3] / "README.md").read_text()
        block = page[page.index("    cat > account.json"):page.index("With `--follow`")]
        folder = self.folder / "readme"
        folder.mkdir()
        environment = {**self.environment(), "SLUICE_SYNC_URL": self.server.urls["sync"],
                       "PATH": f"{pathlib.Path(BINARY).resolve().parent}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-ec", "".join(line[4:] + "\n" for line in block.splitlines())], cwd=folder,
                              capture_output=True, text=True, timeout=120, env=environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(done.stdout.endswith("A1|Contoso|open|bert\nA2|Fabrikam|closed|anna\n"), done.stdout)

    # ---- what a terminal shows ----

    def on_terminal(self, *arguments, columns=80):
        """What a command writes to a terminal of that width, and its exit code."""
        primary, secondary = pty.openpty()
        fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with subprocess.Popen([BINARY, *map(str, arguments)], stdout=secondary, stderr=secondary,
                              env=self.environment()) as process:
            os.close(secondary)
            written = b""
            with contextlib.suppress(OSError):  # the end of a terminal
                while piece := os.read(primary, 65536):
                    written += piece
        os.close(primary)
        return written.decode(), process.returncode

    def test_the_bar_fits_and_messages_stand_above_it(self):
        rows = [{"id": f"k{i}", "note": "z" * 1000} for i in range(9000)]
        for i in (5000, 7000, 8999):
            rows[i] = {"id": f"k{i}", "nope": 1}
        path = self.write("bar", rows)
        for columns in (80, 40):
            written, code = self.on_terminal("ingest", path, "--org", self.org, "--entity", "item", columns=columns)
            self.assertEqual(code, 1)
            bars = re.findall(r"\r\x1b\[K([^\r\n]*)", written)
            self.assertTrue(any(bar.startswith("ingest") for bar in bars), written)
            for bar in bars:
                self.assertLess(len(bar) if bar.startswith("ingest") else 0, columns, bar)
            shown = [re.sub(r".*\r\x1b\[K", "", line) for line in written.replace("\r\n", "\n").split("\n")]
            for line in (5001, 7001, 9000):
                self.assertEqual([s for s in shown if s.startswith(f"{path}:{line}: refused: ")],
                                 [s for s in shown if f":{line}:" in s])
                self.assertEqual(len([s for s in shown if s.startswith(f"{path}:{line}: ")]), 1, written)

    def test_names_can_not_move_the_cursor(self):
        name = "\x1b[2J\x1b]0;owned\x07 \u202egpj\u202c \u009b31m 株式会社"
        self.admin.json("PUT", f"/v1/orgs/{self.org}?wait=30s", {"display_name": name})
        odd = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
        for arguments in (("org", "list"), ("org", "get", self.org), ("org", "list", "--output", "json"),
                          ("org", "get", self.org, "--output", "json")):
            done = self.run_sluice(*arguments)
            self.assertIsNone(odd.search(done.stdout), done.stdout)
            self.assertIn("株式会社", done.stdout)
        orgs = json.loads(self.run_sluice("org", "list", "--output", "json").stdout)["orgs"]
        self.assertIn(name, [one["display_name"] for one in orgs])
        path = self.write("odd", [{"\x1b[31mred": 1}, "{\u009b31m"])
        done = self.run_sluice("ingest", path, "--org", self.org, "--entity", "item", code=1)
        self.assertIsNone(odd.search(done.stderr), done.stderr)
        self.assertIn("\\u001b[31mred", done.stderr)

    def test_the_table_stands_straight(self):
        self.admin.json("PUT", f"/v1/orgs/{self.org}?wait=30s", {"display_name": "x" * 200})
        lines = self.run_sluice("org", "list").stdout.splitlines()
        column = lines[0].index("state")
        for line in lines[1:]:
            self.assertEqual(line[column - 1], " ", line)
            self.assertEqual(line, line.rstrip())

    def test_a_definition_is_shown_whole(self):
        shown = self.run_sluice("entity", "get", self.org, "item").stdout
        for text in ("primary_key", "int32", "count"):
            self.assertIn(text, shown)
        self.assertIn("offline", self.run_sluice("role", "get", self.org, "r").stdout)
        self.assertEqual(self.run_sluice("entity", "list", self.org).stdout, "name\nitem\n")

    # ---- words ----

    def test_a_misspelt_scope_is_wrong_usage(self):
        for scope in ("sluice.admn", "admin", "sluice.sync,sluice.admin"):
            done = self.run_sluice("token", "--scope", scope, code=2)
            for known in ("sluice.admin", "sluice.ingest", "sluice.audit", "sluice.metrics", "sluice.sync"):
                self.assertIn(known, done.stderr)
            self.assertEqual(done.stdout, "")
        self.run_sluice("token", "--scope", "sluice.metrics sluice.audit")

    def test_a_lifetime_that_cannot_be_is_wrong_usage(self):
        for lifetime in ("0s", "10ms", "999999999h"):
            done = self.run_sluice("token", "--expires", lifetime, code=2)
            self.assertIn(f"--expires: {lifetime} is not", done.stderr)
            self.assertNotIn("key", done.stderr)
        self.run_sluice("token", "--expires", "36500d")

    def test_a_token_without_a_subject_has_one(self):
        payload = self.run_sluice("token").stdout.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        self.assertEqual((claims["sub"], claims["scope"]), ("sluice-cli", "sluice.sync"))
        self.assertIn("sluice-cli", self.run_sluice("token", "--help").stdout)

    def test_the_version_by_either_word(self):
        self.assertEqual(self.run_sluice("--version").stdout, self.run_sluice("version").stdout)
        self.assertEqual(json.loads(self.run_sluice("--version", "--output", "json").stdout),
                         json.loads(self.run_sluice("version", "--output", "json").stdout))
        self.run_sluice("--versions", code=2)

    def test_names_that_are_none_reach_no_other_path(self):
        for arguments in (("org", "get", ""), ("org", "delete", ""), ("org", "create", ""), ("entity", "list", ""),
                          ("entity", "delete", self.org, "")):
            self.run_sluice(*arguments, code=2)
        for name in (".", "..", "a/b", "%2e", "a b", "ü"):
            self.run_sluice("org", "get", name, code=1)
            self.run_sluice("entity", "get", self.org, name, code=1)
            self.run_sluice("org", "create", name, code=1)
        self.assertEqual(json.loads(self.run_sluice("org", "get", self.org, "--output", "json").stdout)["state"], "ready")
        done = subprocess.run([BINARY, "org", "create", self.org, "--display-name", b"\xff"], capture_output=True,
                              env=self.environment(), timeout=60)
        self.assertEqual(done.returncode, 2, done.stderr)

    def test_output_that_can_not_be_written_is_a_failure(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([BINARY, "org", "list"], stdout=full, stderr=subprocess.PIPE, env=self.environment(),
                                  text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No space left", done.stderr)


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
