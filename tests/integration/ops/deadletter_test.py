"""Dead letters of the program from outside, with an embedded log and with Kafka: routes, commands, a restart.

    deadletter_test.py BINARY APPEND_LETTERS BROKER_SCRIPT
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import Http, Sluice, brokers  # noqa: E402

BINARY = APPEND = BROKER = None
BASE = "/v1/orgs/acme/deadletters"
ROW = "00112233445566778899aabbccddeeff"
ITEM = "ffeeddccbbaa99887766554433221100"
ENTITY = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}, {"name": "n", "type": "string"}]}


class Letters:
    """The tests, over a log that the class with them names."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.server = Sluice(BINARY, pathlib.Path(cls.folder.name) / "one", cls.arguments()).start()
        cls.connect()
        for org in ("acme", "other"):
            cls.admin.json("PUT", f"/v1/orgs/{org}?wait=30s", {})
        cls.admin.json("PUT", "/v1/orgs/acme/entities/account?wait=30s", ENTITY)
        cls.send("s1", {"op": "upsert", "entity": "account", "row": {"id": "A1", "n": "one"}})
        cls.send("s2", {"op": "delete", "entity": "account", "key": "A1"})
        # The embedded log is one process's.
        cls.server.stop()
        subprocess.run([APPEND, *cls.log(), "acme"], check=True, timeout=60)
        cls.server.start()
        cls.connect()

    @classmethod
    def connect(cls):
        cls.admin = Http(cls.server.urls["admin"], cls.server.token("sluice.admin sluice.ingest"))

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        cls.folder.cleanup()
        assert code == 0, code

    @classmethod
    def send(cls, set_id, op):
        answer = cls.admin.json("POST", "/v1/orgs/acme/changes?wait=30s", {"id": set_id, "source": "t", "ops": [op]})
        assert "position" in answer, answer
        return answer

    def problem(self, method, path, expect):
        return self.admin.json(method, path, expect=(expect,))["code"]

    def ids(self):
        return [letter["id"] for letter in self.admin.json("GET", BASE)["deadletters"]]

    def records(self):
        return self.admin.json("GET", "/v1/orgs/acme")["records"]

    def sluice(self, *arguments, check=True):
        return self.server.command(*arguments, "--url", self.server.urls["admin"], "--data-dir", self.server.data, check=check)

    def test_1_list(self):
        listed = self.admin.json("GET", BASE)
        self.assertEqual(listed["next_page_token"], "")
        self.assertFalse(listed["older_not_listed"])
        item, row, refused = listed["deadletters"]
        self.assertEqual((item["id"], item["topic"], item["code"]), (ITEM, "work", "source_unreachable"))
        self.assertEqual((row["id"], row["source"], row["entity"], row["key"]), (ROW, "crm", "account", "A1"))
        self.assertEqual((refused["topic"], refused["type"], refused["op_index"]), ("changes", "sluice.v1.ChangeSet", 0))
        self.assertRegex(refused["id"], r"^changes-\d+-\d+-0$")
        self.assertNotIn("value", row)
        pages, token = [], ""
        while True:
            page = self.admin.json("GET", f"{BASE}?page_size=2&page_token={token}")
            pages.append([letter["id"] for letter in page["deadletters"]])
            token = page["next_page_token"]
            if not token:
                break
        self.assertEqual(pages, [[ITEM, ROW], [refused["id"]]])
        self.assertEqual(self.admin.json("GET", "/v1/orgs/other/deadletters")["deadletters"], [])
        self.assertEqual(self.problem("GET", "/v1/orgs/nobody/deadletters", 404), "org_not_found")
        self.assertEqual(self.problem("GET", BASE + "?page_size=0", 400), "invalid_argument")
        self.assertEqual(self.problem("GET", BASE + "?page_token=x", 400), "invalid_argument")
        text = self.admin.request("GET", "/metrics")[2].decode()
        self.assertIn("sluice_deadletters_open 3\n", text)

    def test_2_scopes(self):
        url = self.server.urls["admin"]
        for token in (self.server.token("sluice.admin", org="other"), self.server.token("sluice.ingest")):
            http = Http(url, token)
            for method, path in (("GET", BASE), ("GET", f"{BASE}/{ROW}"), ("DELETE", f"{BASE}/{ROW}"),
                                 ("POST", f"{BASE}/{ROW}/replay")):
                self.assertEqual(http.request(method, path)[0], 403, (method, path))
        own = Http(url, self.server.token("sluice.admin", org="acme"))
        self.assertEqual(own.request("GET", BASE)[0], 200)
        self.assertEqual(len(self.ids()), 3)

    def test_3_show(self):
        row = self.admin.json("GET", f"{BASE}/{ROW}")
        self.assertEqual(json.loads(row["value"]), {"id": "A1", "n": "much"})
        self.assertIn("value_base64", self.admin.json("GET", f"{BASE}/{self.ids()[2]}"))
        self.assertEqual(self.problem("GET", f"{BASE}/nothing", 404), "deadletter_not_found")
        self.assertEqual(self.problem("GET", f"/v1/orgs/other/deadletters/{ROW}", 404), "deadletter_not_found")

    def test_4_replay(self):
        refused = self.ids()[2]
        self.assertEqual(self.records(), 0)
        # Without its source neither a row nor an item can be had again: the letter stays.
        for letter in (ROW, ITEM):
            self.assertEqual(self.problem("POST", f"{BASE}/{letter}/replay", 404), "source_not_found")
        answer = self.admin.json("POST", f"{BASE}/{refused}/replay?wait=30s")
        self.assertTrue(answer["handled"])
        self.assertEqual(self.records(), 1)
        self.assertEqual(self.ids(), [ITEM, ROW])
        self.assertEqual(self.problem("POST", f"{BASE}/{refused}/replay", 404), "deadletter_not_found")

    def test_5_commands(self):
        listed = self.sluice("deadletter", "list", "acme").stdout
        self.assertIn(ROW, listed)
        self.assertIn("is no number", listed)
        limited = json.loads(self.sluice("--output", "json", "deadletter", "list", "acme", "--limit", "1").stdout)
        self.assertEqual([letter["id"] for letter in limited["deadletters"]], [ITEM])
        self.assertTrue(limited["more"])
        self.assertIn("much", self.sluice("deadletter", "show", "acme", ROW).stdout)
        failed = self.sluice("deadletter", "replay", "acme", ROW, check=False)
        self.assertEqual(failed.returncode, 1)
        self.assertIn("no source", failed.stderr)
        self.sluice("deadletter", "drop", "acme", ROW)
        self.assertEqual(self.ids(), [ITEM])
        self.assertIn(ROW, self.sluice("deadletter", "drop", "acme", ROW, check=False).stderr)

    def test_6_a_restart_knows_what_is_handled(self):
        self.server.kill()
        self.server.start()
        self.connect()
        self.assertEqual(self.ids(), [ITEM])
        self.admin.json("DELETE", f"{BASE}/{ITEM}")
        self.assertEqual(self.ids(), [])
        self.assertEqual(self.problem("DELETE", f"{BASE}/{ITEM}", 404), "deadletter_not_found")


class Embedded(Letters, unittest.TestCase):
    @classmethod
    def arguments(cls):
        return []

    @classmethod
    def log(cls):
        return [cls.server.data]


class Kafka(Letters, unittest.TestCase):
    PREFIX = f"letters{os.getpid()}."  # the broker may be others', too

    @classmethod
    def setUpClass(cls):
        cls.broker_folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        cls.brokers = brokers(BROKER, cls.broker_folder.name)
        super().setUpClass()

    @classmethod
    def arguments(cls):
        return ["--log", "kafka", "--brokers", cls.brokers, "--set", f"log.topic_prefix={cls.PREFIX}"]

    @classmethod
    def log(cls):
        return [cls.brokers, cls.PREFIX]


if __name__ == "__main__":
    BINARY, APPEND, BROKER = sys.argv[1:4]
    del sys.argv[1:4]
    unittest.main()
