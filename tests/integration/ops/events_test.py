"""Business events from outside: by HTTP in each mode, and from a real topic; the program is killed amid both.

    events_test.py BINARY BROKER_SCRIPT
"""

import base64
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import Http, Sluice, brokers  # noqa: E402

BINARY = BROKER_SCRIPT = None
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
ENTITY = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}]}
ROLE = {"offline": True, "entities": {"account": {"read": True}}}
PROFILE = {"entities": {"account": [{"kind": "all"}]}, "roles": ["sales"]}


def event(number, kind, **data):
    return {"specversion": "1.0", "id": str(number), "source": "/crm", "type": f"sluice.{kind}", "data": data}


def incarnation(admin, org):
    status, _, body = admin.request("GET", f"/v1/orgs/{org}")
    return json.loads(body)["incarnation"] if status == 200 else 0


class HttpTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.server = Sluice(BINARY, pathlib.Path(cls.folder.name) / "one").start()
        cls.connect()

    @classmethod
    def connect(cls):
        cls.admin = Http(cls.server.urls["admin"], cls.server.token("sluice.admin"))

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        cls.folder.cleanup()
        assert code == 0, code

    def post(self, body, content_type=STRUCTURED, headers=None, query=""):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        status, _, answer = self.admin.request("POST", "/v1/events" + query, body, content_type, headers)
        return status, json.loads(answer)

    def test_an_organisation_in_one_event(self):
        enabled = event("a1", "org.enabled", org="acme", display_name="Acme", definitions={
            "profiles": {"field": PROFILE}, "roles": {"sales": ROLE}, "entities": {"account": ENTITY}})
        status, answer = self.post(enabled, query="?wait=30s")
        self.assertEqual(status, 200, answer)
        first = answer["events"][0]
        self.assertEqual((first["source"], first["id"]), ("/crm", "a1"))
        org = self.admin.json("GET", "/v1/orgs/acme")
        self.assertEqual([org[name] for name in ("display_name", "entities", "profiles", "roles")], ["Acme", 1, 1, 1])
        self.assertEqual(org["position"], first["position"])
        # The same again changes nothing, whatever it says.
        status, answer = self.post(event("a1", "org.disabled", org="acme"))
        self.assertEqual(status, 202)
        self.assertEqual(self.admin.json("GET", "/v1/orgs/acme")["state"], "ready")
        status, _ = self.post(event("a2", "role.changed", org="acme", role="sales", definition={**ROLE, "offline": False}))
        self.assertEqual(status, 202)
        self.assertFalse(self.admin.json("GET", "/v1/orgs/acme/roles/sales")["offline"])
        for number, kind, name in (("a3", "profile", "field"), ("a4", "profile", "field"), ("a5", "role", "sales")):
            status, answer = self.post(event(number, f"{kind}.changed", org="acme", definition=None, **{kind: name}))
            self.assertEqual(status, 202, answer)
        self.assertEqual(self.admin.request("GET", "/v1/orgs/acme/profiles/field")[0], 404)
        status, answer = self.post(event("a6", "profile.changed", org="acme", profile="field", definition={
            "entities": {"account": [{"kind": "filter", "where": "nothing eq 'x'"}]}}))
        self.assertEqual((status, answer["code"]), (400, "unknown_attribute"))

    def test_the_binary_mode(self):
        headers = {"ce-specversion": "1.0", "ce-id": "b1", "ce-source": "/crm", "ce-type": "sluice.org.enabled"}
        status, answer = self.post({"org": "binary"}, "application/json", headers, "?wait=30s")
        self.assertEqual(status, 200, answer)
        self.assertEqual(self.admin.json("GET", "/v1/orgs/binary")["incarnation"], 1)
        # The same event in another mode.
        data = base64.b64encode(b'{"org":"binary"}').decode()
        again = {**event("b1", "org.disabled"), "data_base64": data}
        del again["data"]
        self.assertEqual(self.post(again)[0], 202)
        self.assertEqual(self.admin.json("GET", "/v1/orgs/binary")["state"], "ready")

    def test_a_batch(self):
        status, answer = self.post([event("c1", "org.enabled", org="batch"), event("c2", "org.renamed", org="batch"), 5,
                                    event("c3", "role.changed", org="batch", role="r", definition={"entities": {}}),
                                    event("c4", "org.disabled", org="batch"), event("c5", "org.enabled", org="batch")], BATCH)
        self.assertEqual(status, 202, answer)
        codes = [one.get("error", {}).get("code") for one in answer["events"]]
        self.assertEqual(codes, [None, "invalid_event", "invalid_event", None, None, None])
        positions = [int(one["position"]) for one in answer["events"] if "position" in one]
        self.assertEqual(positions, sorted(positions))
        self.assertEqual(self.admin.json("GET", "/v1/orgs/batch")["incarnation"], 2)
        self.assertEqual(self.post([], BATCH), (202, {"events": []}))

    def test_entities_of_a_source(self):
        status, answer = self.post(event("d1", "entity.enabled", org="nobody", source="crm", entity="account"))
        self.assertEqual((status, answer["code"]), (404, "org_not_found"))
        self.assertEqual(self.post(event("d2", "org.enabled", org="sourced"))[0], 202)
        status, answer = self.post(event("d3", "entity.enabled", org="sourced", source="crm", entity="account"))
        self.assertEqual((status, answer["code"]), (404, "source_not_found"))
        self.assertEqual(self.post(event("d4", "entity.disabled", org="sourced", source="crm", entity="account"))[0], 202)
        status, answer = self.post(event("d5", "org.enabled", org="sourced", definitions={"sources": {"crm": {"kind": "fax"}}}))
        self.assertEqual((status, answer["code"]), (400, "source_not_allowed"))

    def test_who_may_and_what_is_no_event(self):
        own = Http(self.server.urls["admin"], self.server.token("sluice.admin", org="acme"))
        body = json.dumps(event("e1", "org.enabled", org="acme")).encode()
        self.assertEqual(own.request("POST", "/v1/events", body, STRUCTURED)[0], 403)
        ingest = Http(self.server.urls["admin"], self.server.token("sluice.ingest"))
        self.assertEqual(ingest.request("POST", "/v1/events", body, STRUCTURED)[0], 403)
        self.assertEqual(self.post(b"{", STRUCTURED)[1]["code"], "invalid_json")
        self.assertEqual(self.post({}, "application/json")[1]["code"], "invalid_event")
        self.assertEqual(self.post(b"x" * (5 << 20), STRUCTURED)[0], 413)
        self.assertEqual(self.post(event("e2", "org.enabled", org="acme"), query="?wait=soon")[0], 400)
        self.assertEqual(self.admin.request("GET", "/v1/events")[0], 405)

    def test_killed_amid_batches_that_are_sent_again(self):
        rounds = [[event(f"k{org}-{n}", "org.disabled" if n % 2 else "org.enabled", org=f"killed{org}")
                   for n in range(21) for org in range(8)]]
        kills = 0
        for batch in rounds:
            while True:
                killer = threading.Timer(random.random() * 0.3, self.server.kill) if kills < 4 else None
                if killer is not None:
                    killer.start()
                try:
                    status, answer = self.post(batch, BATCH)
                except (OSError, ValueError, AssertionError):
                    status = None
                except Exception as error:  # http.client's: the server is gone
                    if "http.client" not in type(error).__module__:
                        raise
                    status = None
                if killer is not None:
                    killer.join()
                    kills += 1
                    self.server.kill()
                    self.server.start()
                    self.connect()
                    continue
                if status == 202 and all("position" in one for one in answer["events"]):
                    break
        for org in range(8):
            self.assertEqual(incarnation(self.admin, f"killed{org}"), 11)


class TopicTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.brokers = brokers(BROKER_SCRIPT, self.folder)
        self.prefix = f"ev{random.randrange(1 << 40)}."
        self.topic = self.prefix + "business"
        subprocess.run([BROKER_SCRIPT, "tool", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.brokers,
                        "--create", "--topic", self.topic, "--partitions", "2"], check=True, stdout=subprocess.DEVNULL)
        self.arguments = ["--log", "kafka", "--brokers", self.brokers, "--set", f"log.topic_prefix={self.prefix}",
                          "--set", f"events.topic={self.topic}"]

    def start(self, name, *more):
        server = Sluice(BINARY, self.folder / name, [*self.arguments, *more]).start()
        self.addCleanup(server.kill)
        return server, Http(server.urls["admin"], server.token("sluice.admin"))

    def produce(self, events):
        lines = "".join(f"{one['data'].get('org', 'none')}|{json.dumps(one)}\n" for one in events)
        subprocess.run(["kcat", "-P", "-b", self.brokers, "-t", self.topic, "-K", "|", "-H", f"content-type={STRUCTURED}"],
                       input=lines, text=True, check=True)

    def settled(self, server, count):
        """Until a process has told that it has read `count` records and nothing is open."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            dump = server.command("log", "dump", "provisioning", "--brokers", self.brokers, "--topic-prefix", self.prefix,
                                  "--limit", 100_000_000).stdout
            told = {}
            for line in dump.splitlines():
                line = json.loads(line)
                if line["type"].endswith("EventPosition"):
                    for partition, offset in line["payload"]["next"].items():
                        told[partition] = max(told.get(partition, 0), int(offset))
            if sum(told.values()) == count:
                return
            time.sleep(0.2)  # polls another process
        self.fail(f"not settled: {told}\n{server.tail()}")

    def test_a_topic_through_kills_and_a_takeover(self):
        server, admin = self.start("one")
        sent = 0
        numbers = iter(range(10_000))
        orgs = [f"topic{n}" for n in range(6)]
        history = []
        for round_ in range(4):
            events = [event(f"t{next(numbers)}", kind, org=org) for kind in ("org.enabled", "org.disabled", "org.enabled")
                      for org in orgs]
            events.append({**event(f"t{next(numbers)}", "org.enabled", org="topic0"), "data": {"org": "Bad!"}})
            history += events
            doubled = events + random.sample(history, 10)
            self.produce(doubled)
            sent += len(doubled)
            time.sleep(random.random() * 0.5)  # somewhere in the intake
            server.kill()
            server.start()
            admin = Http(server.urls["admin"], server.token("sluice.admin"))
        self.settled(server, sent)
        for org in orgs:
            # In each round it is closed once, and opened once more.
            self.assertEqual(incarnation(admin, org), 5, org)
        # Another process takes over where the first has ended.
        self.assertEqual(server.stop(), 0)
        more = [event(f"t{next(numbers)}", "org.disabled", org=org) for org in orgs]
        self.produce(more)
        other, admin = self.start("two")
        self.settled(other, sent + len(more))
        for org in orgs:
            self.assertIn(admin.json("GET", f"/v1/orgs/{org}")["state"], ("closing", "closed"))
            self.assertEqual(incarnation(admin, org), 5, org)
        letters = other.command("log", "dump", "deadletter", "--brokers", self.brokers, "--topic-prefix", self.prefix,
                                "--limit", 100_000_000).stdout.splitlines()
        letters = [json.loads(line)["payload"] for line in letters]
        self.assertEqual({letter["code"] for letter in letters}, {"invalid_argument"})
        self.assertEqual({letter["topic"] for letter in letters}, {f"events:{self.topic}"})
        text = admin.request("GET", "/metrics")[2].decode()
        self.assertEqual(float(re.search(r"^sluice_event_topic_reading (\S+)", text, re.M)[1]), 1)

    def test_a_topic_of_the_log_is_refused(self):
        done = subprocess.run([BINARY, "serve", "--data-dir", str(self.folder / "x"), "--admin-listen", "127.0.0.1:0",
                               "--sync-listen", "127.0.0.1:0", "--log", "kafka", "--brokers", self.brokers, "--set",
                               f"log.topic_prefix={self.prefix}", "--set", f"events.topic={self.prefix}deadletter"],
                              stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("events.topic", done.stderr)


if __name__ == "__main__":
    BINARY, BROKER_SCRIPT = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main()
