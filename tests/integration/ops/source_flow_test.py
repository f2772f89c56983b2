"""From a system that has rows to a device, through the whole program: an OData service that this test runs, a source of
it, and a client that pulls.

    source_flow_test.py BINARY
"""

import base64
import http.server
import json
import os
import pathlib
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import DeltaClient, Http, Sluice  # noqa: E402

BINARY = None
ACCOUNT = "/v1/orgs/acme/sources/crm"
METADATA = b"""<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="S" xmlns="http://docs.oasis-open.org/odata/ns/edm">
<EntityType Name="Account"><Key><PropertyRef Name="id"/></Key><Property Name="id" Type="Edm.Int32" Nullable="false"/>
<Property Name="name" Type="Edm.String"/></EntityType>
<EntityContainer Name="C"><EntitySet Name="account" EntityType="S.Account"/></EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>"""


class Service:
    """One entity set, `account`, whose changes are tracked. Asks for the password `secret`."""

    def __init__(self):
        self.lock = threading.Lock()
        self.rows, self.changes, self.broken = {}, [], False
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                service.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, key, name):
        with self.lock:
            self.rows[key] = name
            self.changes.append({"id": key, "name": name})

    def delete(self, key):
        with self.lock:
            del self.rows[key]
            self.changes.append({"@removed": {"reason": "deleted"}, "id": key})

    def answer(self, request):
        expected = "Basic " + base64.b64encode(b"reader:secret").decode()
        if request.headers["Authorization"] != expected:
            return self.send(request, 401, b"")
        if self.broken:
            return self.send(request, 200, b"<html>")
        if request.path.startswith("/$metadata"):
            return self.send(request, 200, METADATA, "application/xml")
        with self.lock:
            since = request.path.rpartition("deltatoken=")[2] if "deltatoken=" in request.path else None
            rows = [{"id": key, "name": name} for key, name in self.rows.items()]
            page = {"@odata.count": len(rows), "value": rows} if since is None else {"value": self.changes[int(since):]}
            page["@odata.deltaLink"] = f"{self.url}account?$deltatoken={len(self.changes)}"
        return self.send(request, 200, json.dumps(page).encode(), "application/json")

    @staticmethod
    def send(request, status, body, content_type="text/html"):
        request.send_response(status)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(body)))
        if status == 200:
            request.send_header("Preference-Applied", "odata.track-changes")
        request.end_headers()
        request.wfile.write(body)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class SourceFlowTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.service = Service()
        self.addCleanup(self.service.stop)

    def serve(self, *settings):
        folder = pathlib.Path(self.folder.name)
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
        arguments = ["--set", f"secrets.keys=k1=file:{key}", "--set", "sources.interval_min=1s"]
        for setting in settings:
            arguments += ["--set", setting]
        self.server = Sluice(BINARY, folder / "one", arguments).start()
        self.addCleanup(self.server.kill)
        self.admin = Http(self.server.urls["admin"], self.server.token("sluice.admin"))
        self.admin.json("PUT", "/v1/orgs/acme?wait=30s", {})

    def source(self, **more):
        return {"kind": "odata", "url": self.service.url, "interval": "1s", "auth": {"kind": "basic", "username": "reader"},
                "secrets": {"password": "secret"}, "entities": {"account": {}}, **more}

    def settle(self, check, what):
        """Polls what other processes bring about; the time is only how long a hang may last."""
        deadline = time.monotonic() + 120
        while not check():
            if time.monotonic() > deadline:
                self.fail(f"{what}; the server says:\n{self.server.tail()}\n{self.admin.request('GET', ACCOUNT)[2]}")
            time.sleep(0.05)

    def state(self):
        return self.admin.json("GET", ACCOUNT)["entities"]["account"]

    def client(self):
        self.admin.json("PUT", "/v1/orgs/acme/roles/seller?wait=30s",
                        {"offline": True, "entities": {"account": {"read": True}}})
        self.admin.json("PUT", "/v1/orgs/acme/profiles/all?wait=30s",
                        {"entities": {"account": [{"kind": "all"}]}, "roles": ["seller"]})
        token = self.server.token("sluice.sync", sub="ann", org="acme", roles=["seller"])
        return DeltaClient("acme"), Http(self.server.urls["sync"], token)

    def test_rows_of_a_service_come_to_a_client(self):
        self.serve("sources.allow_hosts=127.0.0.1", "sources.allow_private=127.0.0.1")
        for key in range(250):
            self.service.put(key, f"n{key}")
        offer = self.admin.json("POST", ACCOUNT + "/check", self.source())
        self.assertEqual((offer["ok"], offer["entities"]["account"]["rows"]), (True, 250))
        self.assertTrue(offer["entities"]["account"]["tracks_changes"])
        self.admin.json("PUT", ACCOUNT + "?wait=30s", self.source())
        self.settle(lambda: self.state().get("state") == "following", "the source follows")
        client, sync = self.client()

        def pulled():
            client.pull(sync)
            return {int(key): row["name"] for (_, key), row in client.rows.items()} == self.service.rows

        self.settle(pulled, "the client has the service's rows")
        # A second load brings nothing: no client is sent rows that it has.
        ops = client.ops
        self.admin.json("POST", ACCOUNT + "/run", {"reload": True})
        self.settle(lambda: self.state().get("loaded") == 250 and self.state()["state"] == "following", "it was loaded again")
        self.service.put(3, "changed")
        self.service.delete(4)
        self.service.put(1000, "new")
        self.settle(pulled, "the client has what has changed")
        self.assertEqual(client.ops - ops, 3)
        self.server.kill()
        self.service.put(5, "while it was away")
        self.server.start()
        self.admin = Http(self.server.urls["admin"], self.admin.token)
        sync = Http(self.server.urls["sync"], sync.token)
        self.settle(pulled, "the client has what changed while the server was away")
        self.assertEqual(client.fresh_starts, 0)
        text = self.server.log_path.read_text() + str(self.admin.request("GET", ACCOUNT)[2])
        self.assertNotIn("cmVhZGVyOnNlY3JldA", text)
        self.assertNotIn('"secret"', text)

    def test_a_service_that_fails_is_told_of(self):
        self.serve("sources.allow_hosts=127.0.0.1", "sources.allow_private=127.0.0.1")
        self.service.broken = True
        self.admin.json("PUT", ACCOUNT + "?wait=30s", self.source())
        self.settle(lambda: "last_error" in self.state(), "the error is told")
        self.assertEqual(self.state()["last_error"]["code"], "source_answer_invalid")
        self.assertFalse(self.admin.json("POST", ACCOUNT + "/check")["ok"])
        self.service.broken = False
        self.service.put(1, "one")
        self.admin.json("POST", ACCOUNT + "/run")
        self.settle(lambda: self.state()["state"] == "following", "it follows once the service is well")

    def test_private_addresses_are_not_fetched(self):
        self.serve()
        refused = self.admin.json("PUT", ACCOUNT, self.source(), expect=(400,))
        self.assertEqual(refused["code"], "source_not_allowed")
        for url in ("https://127.0.0.1:8443/", "https://169.254.169.254/", "https://[::1]:8443/"):
            offer = self.admin.json("POST", ACCOUNT + "/check", self.source(url=url), expect=(200, 400))
            self.assertEqual(offer.get("code") or offer["error"]["code"], "source_not_allowed", url)

    def test_settings_that_are_none_keep_the_program_from_starting(self):
        for setting, said in (("sources.allow_private=10.0.0.0/99", "10.0.0.0/99"), ("sources.ca_file=/nowhere", "/nowhere")):
            server = Sluice(BINARY, pathlib.Path(self.folder.name) / "none", ["--set", setting])
            with self.assertRaisesRegex(AssertionError, said):
                server.start()


if __name__ == "__main__":
    BINARY = sys.argv.pop(1)
    unittest.main()
