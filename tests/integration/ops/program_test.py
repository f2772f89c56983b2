"""The program from outside: start, refuse, stop; what a person types wrong and what a machine runs out of.

    program_test.py BINARY
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import DeltaClient, Http, Sluice  # noqa: E402

BINARY = ""
SCHEMA = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}, {"name": "owner", "type": "string"},
                                              {"name": "big", "type": "int64"}, {"name": "price", "type": "decimal"},
                                              {"name": "note", "type": "string"}, {"name": "day", "type": "date"},
                                              {"name": "at", "type": "time"}],
          "ownership": {"user": "owner"}}


class ProgramTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-program-"))
        self.servers = []

    def tearDown(self):
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def server(self, name="server", arguments=()):
        server = Sluice(BINARY, self.folder / name, arguments)
        self.servers.append(server)
        return server

    def provision(self, server, org="acme"):
        admin = Http(server.urls["admin"], server.token("sluice.admin"))
        admin.json("PUT", f"/v1/orgs/{org}?wait=30s", {"display_name": org})
        admin.json("PUT", f"/v1/orgs/{org}/entities/item?wait=30s", SCHEMA)
        admin.json("PUT", f"/v1/orgs/{org}/roles/field?wait=30s", {"offline": True, "entities": {"item": {"read": True}}})
        admin.json("PUT", f"/v1/orgs/{org}/profiles/field?wait=30s",
                   {"entities": {"item": [{"kind": "user"}]}, "roles": ["field"]})
        return admin

    def fails(self, arguments, code, *texts):
        done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stderr)
        for text in texts:
            self.assertIn(text, done.stderr)
        self.assertNotIn("terminate called", done.stderr)
        return done

    # ---- the command line ----

    def test_help_everywhere_has_an_example(self):
        for words in (["serve"], ["org", "create"], ["entity", "put"], ["profile", "list"], ["role", "get"], ["ingest"],
                      ["token"], ["pull"], ["store", "verify"], ["store", "stat"], ["log", "stat"], ["log", "dump"],
                      ["log", "new-epoch"], ["schema", "export"], ["version"]):
            done = subprocess.run([BINARY, *words, "--help"], capture_output=True, text=True, check=True)
            self.assertIn("Example", done.stdout, words)

    def test_wrong_usage_ends_with_2(self):
        self.fails([], 2)
        self.fails(["serve", "--no-such-flag"], 2)
        self.fails(["serve", "--set", "log.partitons=3"], 2, "log.partitons", "log.partitions?")
        self.fails(["serve", "--set", "sync.heartbeat=soon"], 2, "sync.heartbeat", "soon")
        self.fails(["serve", "--roles", "admin"], 2, "Kafka")
        config = self.folder / "typo.yaml"
        config.write_text("log:\n  kind: embedded\n  partitons: 3\n")
        self.fails(["serve", "--config", config], 2, "typo.yaml", "line 3", "partitons")

    def test_nobody_answers(self):
        self.fails(["org", "list", "--url", "http://127.0.0.1:1", "--token", "x"], 1, "sluice serve")

    # ---- starting and stopping ----

    def test_a_port_in_use_is_said(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            for flag in ("--admin-listen", "--sync-listen"):
                other = "--sync-listen" if flag == "--admin-listen" else "--admin-listen"
                self.fails(["serve", "--data-dir", self.folder / flag, flag, f"127.0.0.1:{port}", other, "127.0.0.1:0"], 1,
                           str(port))

    def test_a_second_server_on_one_folder_is_refused(self):
        server = self.server().start()
        self.fails(["serve", "--data-dir", server.data, "--admin-listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0"], 1,
                   "another process")
        self.assertEqual(server.stop(), 0)

    def test_the_folder_of_another_log_is_refused(self):
        first, second = self.server("a").start(), self.server("b").start()
        self.provision(first)
        self.assertEqual((first.stop(), second.stop()), (0, 0))
        shutil.rmtree(second.data / "stores")
        shutil.copytree(first.data / "stores", second.data / "stores")
        self.fails(["serve", "--data-dir", second.data, "--admin-listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0"], 1,
                   "log")

    def test_a_folder_that_can_not_be_made_or_is_damaged(self):
        self.fails(["serve", "--data-dir", "/proc/nothing/here"], 1, "/proc/nothing/here")
        server = self.server().start()
        self.provision(server)
        self.assertEqual(server.stop(), 0)
        (server.data / "log" / "CURRENT").write_text("")
        self.fails(["serve", "--data-dir", server.data, "--admin-listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0"], 1,
                   "log")

    # ---- the log's tools ----

    def log(self, *arguments):
        return subprocess.run([BINARY, "log", *map(str, arguments)], capture_output=True, text=True, timeout=60)

    def test_tools_that_look_at_a_log_make_nothing(self):
        for command in (["log", "stat"], ["log", "dump"], ["log", "new-epoch"]):
            self.fails([*command, "--data-dir", self.folder / "nosuch"], 1, "there is no log")
        self.assertFalse((self.folder / "nosuch").exists())

    def test_the_log_is_shown_with_decoded_rows_whatever_its_partitions(self):
        server = self.server(arguments=["--set", "log.partitions=3"]).start()
        self.provision(server)
        ingest = Http(server.urls["admin"], server.token("sluice.ingest"))
        for number, note in enumerate(("first", "second", "third")):
            ingest.json("POST", "/v1/orgs/acme/changes?wait=30s",
                        {"id": str(number), "source": "crm", "ops": [
                            {"op": "upsert", "entity": "item", "key": "k1", "row": {"id": "k1", "note": note}},
                            {"op": "upsert", "entity": "item", "key": "k2", "row": {"id": "k2", "note": note}}]})
        self.assertEqual(server.stop(), 0)
        wanted = ["dump", "changes", "--data-dir", server.data, "--org", "acme", "--entity", "item", "--key", "k2"]
        all_of_them = self.log(*wanted, "--since", "1h")
        self.assertEqual((all_of_them.returncode, all_of_them.stderr), (0, ""))
        events = [json.loads(line) for line in all_of_them.stdout.splitlines()]
        self.assertEqual([[op["row"] for op in event["payload"]["ops"]] for event in events],
                         [[{"id": "k2", "note": note}] for note in ("first", "second", "third")])
        self.assertRegex(events[0]["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        cut = self.log(*wanted, "--limit", 2)
        self.assertEqual(len(cut.stdout.splitlines()), 2)
        self.assertIn("has more: stopped after 2 events", cut.stderr)
        self.assertEqual(self.log(*wanted, "--from", events[2]["offset"]).stdout, all_of_them.stdout.splitlines()[2] + "\n")
        self.assertEqual(self.log(*wanted, "--since", "2099-01-01T00:00:00Z").stdout, "")
        server.start()
        controls = "\u009b31m\x7f\u202e"  # a terminal would obey them
        Http(server.urls["admin"], server.token("sluice.ingest")).json(
            "POST", "/v1/orgs/acme/changes?wait=30s", {"id": "4", "source": "crm", "ops": [
                {"op": "upsert", "entity": "item", "key": "k2", "row": {"id": "k2", "note": controls}}]})
        self.assertEqual(server.stop(), 0)
        last = self.log(*wanted).stdout.splitlines()[-1]
        self.assertEqual(json.loads(last)["payload"]["ops"][0]["row"]["note"], controls)
        self.assertTrue(last.isascii(), last)
        self.fails(["log", "dump", "--data-dir", server.data, "--since", "yesterday"], 2, "yesterday")

    def test_a_new_epoch_is_declared_while_no_server_has_the_log(self):
        server = self.server().start()
        self.fails(["log", "new-epoch", "--data-dir", server.data], 1, "another process")
        self.assertEqual(server.stop(), 0)
        before = self.log("stat", "--data-dir", server.data).stdout.splitlines()[0]
        done = self.log("new-epoch", "--data-dir", server.data)
        self.assertEqual(done.returncode, 0, done.stderr)
        after = self.log("stat", "--data-dir", server.data).stdout.splitlines()[0]
        self.assertNotEqual(after, before)
        self.assertEqual(after.split("#")[0], before.split("#")[0])
        self.assertIn(after.removeprefix("log "), done.stdout)

    # ---- the main job, from a client's side ----

    def test_exact_values_reach_sqlite_and_only_the_difference_travels(self):
        server = self.server().start()
        self.provision(server)
        rows = [{"id": f"k{i}", "owner": "anna" if i % 2 else "bert", "big": str(2**62 + i), "price": f"{i}.10",
                 "note": "žluťoučký \u0000 kůň" if i == 1 else None, "day": f"{1 + 9998 * (i % 2):04}-12-31",
                 "at": f"23:59:59.{i:06}999"} for i in range(500)]
        source = self.folder / "rows.ndjson"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        server.command("ingest", source, "--org", "acme", "--entity", "item", "--url", server.urls["admin"], "--data-dir",
                       server.data)
        database = self.folder / "anna.sqlite"

        def pull():
            return json.loads(server.command(
                "pull", "--org", "acme", "--db", database, "--url", server.urls["sync"], "--output", "json",
                env={"SLUICE_TOKEN": server.token("sluice.sync", "anna", "acme", ["field"])}).stdout)

        admin = Http(server.urls["admin"], server.token("sluice.admin sluice.ingest"))
        self.settle(admin)
        first = pull()
        self.assertEqual(first["rows_put"], 250)
        connection = sqlite3.connect(database)
        self.assertEqual(connection.execute("SELECT big, price FROM item WHERE id = 'k1'").fetchone(), (2**62 + 1, "1.1"))
        self.assertEqual(connection.execute("SELECT count(*) FROM item").fetchone(), (250,))
        self.assertEqual(connection.execute("SELECT day, at, typeof(day), typeof(at), date(day), time(at) FROM item WHERE id = 'k7'")
                         .fetchone(), ("9999-12-31", "23:59:59.000007", "text", "text", "9999-12-31", "23:59:59"))
        admin.json("POST", "/v1/orgs/acme/changes", {"id": "c1", "source": "t", "ops": [
            {"op": "delete", "entity": "item", "key": "k1"},
            {"op": "patch", "entity": "item", "key": "k3", "row": {"owner": "bert"}},
            {"op": "patch", "entity": "item", "key": "k5", "row": {"note": "new"}}]})
        self.settle(admin)
        second = pull()
        self.assertEqual((second["rows_put"], second["rows_removed"]), (1, 2))
        self.assertLess(second["bytes_received"], first["bytes_received"] / 20)
        self.assertEqual(connection.execute("SELECT count(*) FROM item").fetchone(), (248,))
        self.assertEqual(connection.execute("SELECT note FROM item WHERE id = 'k5'").fetchone(), ("new",))
        exported = server.command("schema", "export", "acme", "item", "--url", server.urls["admin"], "--data-dir",
                                  server.data).stdout
        self.assertIn("message Item", exported)
        self.assertIn("optional sint32 day", exported)
        self.assertIn("optional uint64 at", exported)
        self.assertEqual(server.stop(), 0)

    def test_an_attribute_that_is_defined_again_starts_null(self):
        server = self.server().start()
        admin = self.provision(server)
        ingest = Http(server.urls["admin"], server.token("sluice.ingest"))
        without = {**SCHEMA, "attributes": [a for a in SCHEMA["attributes"] if a["name"] != "note"]}
        database = self.folder / "anna.sqlite"
        token = server.token("sluice.sync", "anna", "acme", ["field"])

        def change(row):
            ingest.json("POST", "/v1/orgs/acme/changes", {"ops": [{"op": "upsert", "entity": "item", "row": {
                "owner": "anna", **row}}]})
            self.settle(admin)

        def notes():
            server.command("pull", "--org", "acme", "--db", database, "--url", server.urls["sync"],
                           env={"SLUICE_TOKEN": token})
            with contextlib.closing(sqlite3.connect(database)) as connection:
                return connection.execute("SELECT id, note FROM item ORDER BY id").fetchall()

        change({"id": "k1", "note": "old"})
        http, client = Http(server.urls["sync"], token), DeltaClient("acme")
        client.pull(http)
        self.assertEqual(notes(), [("k1", "old")])
        admin.json("PUT", "/v1/orgs/acme/entities/item?wait=30s", without)
        client.pull(http)
        self.assertEqual(client.ops, 1)  # removing it sends nothing
        admin.json("PUT", "/v1/orgs/acme/entities/item?wait=30s", SCHEMA)
        client.pull(http)
        self.assertEqual(client.rows, {("item", "k1"): {"id": "k1", "owner": "anna"}})
        self.assertEqual(notes(), [("k1", None)])  # who never saw it go
        # Once more, with another type, and rows that come between.
        change({"id": "k1", "note": "again"})
        self.assertEqual(notes(), [("k1", "again")])
        admin.json("PUT", "/v1/orgs/acme/entities/item?wait=30s", without)
        change({"id": "k2"})
        number = {**without, "attributes": without["attributes"] + [{"name": "note", "type": "int32"}]}
        admin.json("PUT", "/v1/orgs/acme/entities/item?wait=30s", number)
        change({"id": "k3", "note": 7})
        self.assertEqual(notes(), [("k1", None), ("k2", None), ("k3", 7)])
        client.pull(http)
        self.assertEqual([row.get("note") for _, row in sorted(client.rows.items())], [None, None, 7])
        # And with one whose column is a text's, as the first one's was.
        admin.json("PUT", "/v1/orgs/acme/entities/item?wait=30s", without)
        date = {**without, "attributes": without["attributes"] + [{"name": "note", "type": "date"}]}
        admin.json("PUT", "/v1/orgs/acme/entities/item?wait=30s", date)
        change({"id": "k4", "note": "2026-01-31"})
        self.assertEqual(notes(), [("k1", None), ("k2", None), ("k3", None), ("k4", "2026-01-31")])
        admin.json("PUT", "/v1/orgs/acme/entities/item?wait=30s", without)
        admin.json("PUT", "/v1/orgs/acme/entities/item?wait=30s", SCHEMA)
        change({"id": "k5", "note": "new"})
        self.assertEqual(notes(), [("k1", None), ("k2", None), ("k3", None), ("k4", None), ("k5", "new")])

    def settle(self, admin, org="acme"):
        deadline = time.monotonic() + 30
        while True:
            state = admin.json("GET", f"/v1/orgs/{org}")
            stat = admin.json("GET", f"/v1/orgs/{org}")
            if state.get("applied") == stat.get("applied") and int(stat.get("applied", -1)) >= int(stat["position"]):
                answer = admin.json("PUT", f"/v1/orgs/{org}?wait=30s", {"display_name": f"settled {time.monotonic()}"})
                self.assertIn("position", answer)
                return
            self.assertLess(time.monotonic(), deadline)

    def test_no_secret_is_logged(self):
        server = self.server().start()
        self.provision(server)
        token = server.token("sluice.sync", "anna", "acme", ["field"])
        DeltaClient("acme").pull(Http(server.urls["sync"], token))
        private = (server.data / "dev-key.jwk").read_text()
        secret = json.loads(private)["d"]
        self.assertEqual(server.stop(), 0)
        log = server.log_path.read_text()
        self.assertNotIn(secret, log)
        self.assertNotIn(token, log)
        self.assertNotIn(token.split(".")[2], log)
        self.assertEqual(os.stat(server.data / "dev-key.jwk").st_mode & 0o777, 0o600)

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small disk needs root")
    def test_a_full_disk_refuses_clearly_and_recovers(self):
        disk = self.folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
        try:
            self.full_disk(disk)
        finally:
            for server in self.servers:
                server.kill()
            subprocess.run(["umount", "-l", disk], check=True)

    def full_disk(self, disk):
        server = Sluice(BINARY, disk / "server", ["--set", "staging.write_buffer_bytes=8MiB"])
        self.servers.append(server)
        server.log_path = self.folder / "server.log"
        server.start()
        self.provision(server)
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * (30 << 20))
        ingest = Http(server.urls["admin"], server.token("sluice.ingest"), timeout=120)
        acked, refused, number = {}, [], 0
        while not refused and number < 3000:
            sets = []
            for _ in range(20):
                number += 1
                sets.append({"id": f"s{number}", "source": "t", "ops": [{"op": "upsert", "entity": "item", "row": {
                    "id": f"k{number}", "owner": "anna", "note": os.urandom(5000).hex()}}]})
            body = "".join(json.dumps(one) + "\n" for one in sets).encode()
            status, _, answer = ingest.request("POST", "/v1/orgs/acme/changes", body, content_type="application/x-ndjson")
            self.assertIn(status, (200, 503))
            for line in answer.decode().splitlines() if status == 200 else []:
                one = json.loads(line)
                if "position" in one:
                    acked[one["id"]] = one["position"]
                else:
                    refused.append(one["error"])
            if status == 503:
                refused.append(json.loads(answer))
        self.assertTrue(refused, "the disk never filled up")
        self.assertEqual(refused[0]["status"], 503, refused[0])
        ballast.unlink()
        deadline = time.monotonic() + 60
        while True:
            status, _, answer = ingest.request("POST", "/v1/orgs/acme/changes", {"id": "after", "source": "t", "ops": [
                {"op": "upsert", "entity": "item", "row": {"id": "after", "owner": "anna"}}]})
            if status == 200 and "position" in json.loads(answer):
                break
            self.assertLess(time.monotonic(), deadline, answer)
            time.sleep(0.1)  # polls for the recovery
        self.assertEqual(server.stop(), 0)
        server.start()
        admin = Http(server.urls["admin"], server.token("sluice.admin"))
        self.settle(admin)
        client = DeltaClient("acme")
        client.pull(Http(server.urls["sync"], server.token("sluice.sync", "anna", "acme", ["field"])))
        keys = {key for _, key in client.rows}
        missing = [identity for identity in acked if "k" + identity[1:] not in keys]
        self.assertEqual(missing, [], "acknowledged and lost")
        self.assertIn("after", keys)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
