"""What gateways/docs/api.md promises of administration, ingest, health and the command line, asked of the program.

    api_admin_test.py BINARY

Written from gateways/docs/api.md alone. State is compared through `GET /delta` with a role that reads everything.
"""

import base64
import concurrent.futures
import http.client
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
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import DeltaClient, Http, Sluice  # noqa: E402

BINARY = ""
TYPES = ("string", "int32", "int64", "double", "decimal", "bool", "datetime", "date", "time", "uuid", "bytes")
EXAMPLE = {"primary_key": "accountid",
           "attributes": [{"name": "accountid", "type": "string"}, {"name": "name", "type": "string"},
                          {"name": "parentid", "type": "string", "references": "account"},
                          {"name": "ownerid", "type": "string"}, {"name": "revenue", "type": "decimal"}],
           "ownership": {"user": "ownerid", "team": "owningteam", "business_unit": "owningbusinessunit"}}
UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def schema(**types):
    return {"primary_key": "id", "attributes": [{"name": name, "type": kind} for name, kind in {"id": "string", **types}.items()]}


def upsert(entity, **row):
    return {"op": "upsert", "entity": entity, "row": row}


class ApiTest(unittest.TestCase):
    """One server for all; every test has an organisation of its own."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-api-"))
        cls.server = Sluice(BINARY, cls.folder).start()
        cls.all_token = cls.server.token("sluice.admin sluice.ingest")

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        log = cls.server.log_path.read_text(errors="replace")
        shutil.rmtree(cls.folder, ignore_errors=True)
        assert code == 0, code
        assert cls.all_token not in log

    def setUp(self):
        self.org = self._testMethodName.removeprefix("test_").replace("_", "-")[:60].strip("-")
        self.http = Http(self.server.urls["admin"], self.all_token)
        self.ids = 0

    # ---- helpers ----

    def base(self):
        return f"/v1/orgs/{self.org}"

    def provision(self, **entities):
        """The organisation, its entities, and a role and profile that see every row of them."""
        self.http.json("PUT", f"{self.base()}?wait=30s", {"display_name": "A"}, expect=(200,))
        for name, definition in entities.items():
            self.define(name, definition)
        self.sees(*entities)

    def define(self, name, definition, expect=200):
        return self.http.json("PUT", f"{self.base()}/entities/{name}?wait=30s", definition, expect=(expect,))

    def sees(self, *entities):
        self.http.json("PUT", f"{self.base()}/roles/reader?wait=30s",
                       {"offline": True, "entities": {name: {"read": True} for name in entities}}, expect=(200,))
        self.http.json("PUT", f"{self.base()}/profiles/all?wait=30s",
                       {"entities": {name: [{"kind": "all"}] for name in entities}, "roles": ["reader"]}, expect=(200,))

    def sync(self, **more):
        return Http(self.server.urls["sync"], self.server.token("sluice.sync", "anna", self.org, ["reader"], **more))

    def rows(self, position=0, entity=None):
        """All rows at or after `position`, by key (of one entity)."""
        client, connection = DeltaClient(self.org), self.sync()
        status, _, body = connection.request("GET", f"{self.base()}/delta?min_position={position}&wait=20s&limit=1")
        self.assertEqual(status, 200, body)
        client.pull(connection)
        return {key[1]: row for key, row in client.rows.items() if entity in (None, key[0])}

    def set(self, *ops, **more):
        self.ids += 1
        return {"id": f"s{self.ids}", "source": "t", "ops": list(ops), **more}

    def post(self, *sets, raw=None, content_type="application/x-ndjson", expect=200):
        body = raw if raw is not None else "".join(json.dumps(s) + "\n" for s in sets).encode()
        status, headers, answer = self.http.request("POST", f"{self.base()}/changes", body, content_type)
        self.assertEqual(status, expect, answer)
        if expect != 200:
            return self.problem(status, headers, answer)
        self.assertEqual(headers.get_content_type(), "application/x-ndjson")
        return [json.loads(line) for line in answer.splitlines()]

    def write(self, *ops, **more):
        """One set that must be taken; its position."""
        answer = self.post(self.set(*ops, **more))[0]
        self.assertIn("position", answer, answer)
        self.assertIsInstance(answer["position"], str)
        return int(answer["position"])

    def refused(self, code, *ops, **more):
        change = self.set(*ops, **more)
        answer = self.post(change)[0]
        self.assertEqual(answer.get("error", {}).get("code"), code, answer)
        self.assertEqual(answer["id"], change["id"])
        self.full(answer["error"])
        return answer["error"]

    def full(self, problem):
        self.assertLessEqual({"type", "title", "status", "detail", "code"}, set(problem))
        self.assertIsInstance(problem["status"], int)
        return problem

    def problem(self, status, headers, body, code=None):
        self.assertEqual(headers.get_content_type(), "application/problem+json", body)
        problem = self.full(json.loads(body))
        self.assertEqual(problem["status"], status)
        if code:
            self.assertEqual(problem["code"], code)
        if status in (429, 503):
            self.assertIn("Retry-After", headers)
        return problem

    def fails(self, method, path, status, code=None, body=None, http_=None, **more):
        got, headers, answer = (http_ or self.http).request(method, path, body, **more)
        self.assertEqual(got, status, (method, path, answer[:300]))
        if method == "HEAD":
            return headers
        return self.problem(got, headers, answer, code)

    def raw(self, data, url="admin", half_close=False):
        """Sends bytes as they are; returns all that comes back until the server closes."""
        parts = urllib.parse.urlsplit(self.server.urls[url])
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer

    def head(self, length, more=""):
        return (f"POST {self.base()}/changes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.all_token}\r\n"
                f"Content-Type: application/x-ndjson\r\nConnection: close\r\n{more}{length}\r\n\r\n").encode()

    # ---- 0 and 1: organisations ----

    def test_organisations(self):
        self.fails("GET", self.base(), 404, "org_not_found")
        self.fails("DELETE", self.base(), 404, "org_not_found")
        self.fails("GET", f"{self.base()}/entities/a", 404, "org_not_found")
        self.fails("PUT", f"{self.base()}/entities/a", 404, "org_not_found", schema())
        self.assertEqual(self.post(expect=404)["code"], "org_not_found")
        status, _, body = self.http.request("PUT", self.base(), {"display_name": "One"})
        answer = json.loads(body)
        self.assertEqual((status, answer["org"], answer["state"]), (202, self.org, "provisioning"))
        self.assertIsInstance(answer["position"], str)
        status, headers, body = self.http.request("PUT", f"{self.base()}?wait=20s", {"display_name": "Žlutý"})
        self.assertEqual((status, json.loads(body)["state"]), (200, "ready"))
        self.assertTrue(headers["ETag"])
        shown = self.http.json("GET", self.base(), expect=(200,))
        self.assertEqual(set(shown), {"org", "display_name", "state", "incarnation", "position", "applied", "entities",
                                      "profiles", "roles", "records"})
        self.assertEqual((shown["display_name"], shown["state"], shown["entities"]), ("Žlutý", "ready", 0))
        self.assertIsInstance(shown["position"], str)
        self.assertEqual((shown["incarnation"], shown["applied"]), (1, shown["position"]))
        self.assertEqual(self.http.request("PUT", self.base(), {"display_name": "Žlutý"})[0], 200)
        for path in (f"/v1/orgs/{bad}" for bad in ("Up", "-a", "a-", "a" * 64, "a_b", "a.b", "%C3%BC", "a%00b")):
            self.fails("PUT", path, 400, "invalid_argument", {"display_name": "x"})
        for body, code in ((b"[]", None), (b"{", "invalid_json"), (b'"x"', None), (b'{"display_name":1}', None),
                           (b'{"display_name":"a","x":1}', "invalid_argument"), (b'{"display_name":"\xff"}', None)):
            self.fails("PUT", self.base(), 400, code, body)
        self.assertEqual(self.http.request("PUT", self.base(), b"")[0], 200)
        for wait in ("x", "-1s", "10", "1y", "99999999999999999999s"):
            self.fails("PUT", f"{self.base()}?wait={wait}", 400, "invalid_argument", {"display_name": "x"})

    def test_pages_of_organisations(self):
        names = [f"page-{i}" for i in range(7)]
        for name in names:
            self.http.json("PUT", f"/v1/orgs/{name}", {"display_name": name})
        seen, token, pages = [], "", 0
        while True:
            page = self.http.json("GET", f"/v1/orgs?page_size=3&page_token={token}", expect=(200,))
            seen += [org["org"] for org in page["orgs"]]
            pages += 1
            token = page["next_page_token"]
            if token == "":
                self.assertLessEqual(len(page["orgs"]), 3)
                break
            self.assertEqual(len(page["orgs"]), 3)
        self.assertEqual(seen, sorted(set(seen)))
        self.assertLessEqual(set(names), set(seen))
        self.assertGreaterEqual(pages, 3)
        for query in ("page_size=0", "page_size=-1", "page_size=x", "page_token=%FF", "page_size=99999999999999999999"):
            self.fails("GET", f"/v1/orgs?{query}", 400, "invalid_argument")

    def test_closed_and_made_again(self):
        self.provision(item=schema(a="string"))
        position = self.write(upsert("item", id="1", a="x"))
        self.assertEqual(len(self.rows(position)), 1)
        before = self.http.json("GET", self.base())
        self.assertEqual((before["entities"], before["profiles"], before["roles"], int(before["records"])), (1, 1, 1, 1))
        cursor = json.loads(self.sync().request("GET", f"{self.base()}/delta")[2])["cursor"]
        status, _, body = self.http.request("DELETE", self.base())
        self.assertEqual(status, 202, body)
        problem = self.post(self.set(upsert("item", id="2")), expect=409)
        self.assertEqual(problem["code"], "org_not_ready")
        self.fails("PUT", f"{self.base()}/entities/b", 409, "org_not_ready", schema())
        self.http.json("DELETE", f"{self.base()}?wait=20s", expect=(200,))
        closed = self.http.json("GET", self.base(), expect=(200,))
        self.assertEqual(closed["state"], "closed")
        self.http.json("PUT", f"{self.base()}?wait=20s", expect=(200,))
        after = self.http.json("GET", self.base())
        self.assertEqual((after["incarnation"], after["display_name"]), (before["incarnation"] + 1, self.org))
        self.assertEqual((after["state"], after["entities"], int(after["records"])), ("ready", 0, 0))
        self.define("item", schema(a="string"))
        self.sees("item")
        self.assertEqual(self.rows(), {})
        status, headers, body = self.sync().request("GET", f"{self.base()}/delta?cursor={cursor}")
        self.assertEqual(self.problem(status, headers, body)["code"], "org_reprovisioned")
        self.assertEqual(status, 410)
        self.assertTrue(headers["Location"].endswith(f"{self.base()}/delta"))
        # The set's id was used in the life before; it is new in this one.
        again = self.post({"id": "s1", "source": "t", "ops": [upsert("item", id="1", a="y")]})[0]
        self.assertEqual(self.rows(int(again["position"])), {"1": {"id": "1", "a": "y"}})

    def test_each_step_sees_the_one_before(self):
        self.http.json("PUT", self.base(), {"display_name": "A"}, expect=(202,))
        while self.http.json("GET", self.base())["state"] != "ready":
            pass
        positions = [int(self.http.json("PUT", f"{self.base()}/{path}", body)["position"]) for path, body in (
            ("entities/item", schema(a="string")), ("roles/reader", {"offline": True, "entities": {"item": {"read": True}}}),
            ("profiles/all", {"entities": {"item": [{"kind": "all"}]}, "roles": ["reader"]}))]
        written = self.write(upsert("item", id="1", a="x"))
        self.assertEqual(positions + [written], sorted(set(positions + [written])))
        self.assertEqual(self.rows(written), {"1": {"id": "1", "a": "x"}})

    def test_names_for_one_organisation_race(self):
        self.provision()
        tag = self.http.request("GET", self.base())[1]["ETag"]

        def rename(i):
            http_ = Http(self.server.urls["admin"], self.all_token)
            return http_.request("PUT", self.base(), {"display_name": f"name {i}"}, headers={"If-Match": tag})[0]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertEqual(sorted(pool.map(rename, range(8))), [200] + [412] * 7)

    # ---- 1: definitions ----

    def test_the_example_schema_as_it_stands(self):
        self.provision()
        answer = self.define("account", EXAMPLE)
        self.assertIsInstance(answer["position"], str)
        shown = self.http.json("GET", f"{self.base()}/entities/account", expect=(200,))
        self.assertEqual(shown["primary_key"], "accountid")
        self.assertEqual(shown["ownership"], EXAMPLE["ownership"])
        for attribute in EXAMPLE["attributes"]:
            self.assertTrue(any(attribute.items() <= other.items() for other in shown["attributes"]), attribute)
        self.http.json("PUT", f"{self.base()}/entities/account?wait=10s", shown, expect=(200,))
        self.assertEqual(self.http.json("GET", f"{self.base()}/entities/account"), shown)
        self.sees("account")
        self.assertEqual(self.rows(self.write(
            {"op": "upsert", "entity": "account", "row": {"accountid": "A1", "name": "Contoso"}, "version": "17"},
            {"op": "patch", "entity": "account", "key": "A1", "row": {"name": "Contoso Ltd"}},
            {"op": "delete", "entity": "account", "key": "A2"})), {"A1": {"accountid": "A1", "name": "Contoso Ltd"}})

    def test_schemas_that_are_refused(self):
        self.provision()
        path = f"{self.base()}/entities/a"
        key = {"name": "id", "type": "string"}
        for body in ({}, {"primary_key": "id"}, {"primary_key": "id", "attributes": []}, {"primary_key": "x", "attributes": [key]},
                     {"primary_key": "id", "attributes": [key, key]},
                     {"primary_key": "id", "attributes": [key, {"name": "1a", "type": "string"}]},
                     {"primary_key": "id", "attributes": [key, {"name": "a" * 129, "type": "string"}]},
                     {"primary_key": "id", "attributes": [key, {"name": "ü", "type": "string"}]},
                     {"primary_key": "id", "attributes": [key, {"name": "a", "type": "text"}]},
                     {"primary_key": "id", "attributes": [key, {"name": "a"}]},
                     {"primary_key": "id", "attributes": [key, {"name": "a", "type": "string", "refs": "b"}]},
                     {"primary_key": "id", "attributes": [key], "ownership": {"usr": "id"}},
                     {"primary_key": "id", "attributes": [key], "owner": {}},
                     {"primary_key": 1, "attributes": [key]}, {"primary_key": "id", "attributes": {}}, []):
            self.fails("PUT", path, 400, body=body)
        for name in ("1a", "a-b", "a" * 129, "%C3%BC", "a%20"):
            self.fails("PUT", f"{self.base()}/entities/{name}", 400, "invalid_argument", schema())
        self.fails("PUT", path, 400, "invalid_json", b'{"primary_key":')
        self.fails("PUT", path, 400, None, b'[' * 100000)
        self.fails("GET", path, 404)
        self.fails("DELETE", path, 404)
        for kind in ("profiles", "roles"):
            self.fails("GET", f"{self.base()}/{kind}/a", 404)
            self.fails("DELETE", f"{self.base()}/{kind}/a", 404)

    def test_entity_tags(self):
        self.provision()
        for kind, name, first, second in (
                ("entities", "a", schema(x="string"), schema(x="string", y="string")),
                ("roles", "r", {"offline": True, "entities": {}}, {"offline": False, "entities": {}}),
                ("profiles", "p", {"entities": {}, "roles": []}, {"entities": {}, "roles": ["r"]})):
            path = f"{self.base()}/{kind}/{name}"
            self.fails("PUT", path, 412, "precondition_failed", first, headers={"If-Match": '"nothing"'})
            self.fails("PUT", path, 412, None, first, headers={"If-Match": "*"})
            self.assertIn(self.http.request("PUT", path, first)[0], (200, 201, 202))
            status, headers, body = self.http.request("GET", path)
            self.assertEqual(status, 200)
            tag = headers["ETag"]
            self.assertRegex(tag, r'^"[^"]+"$')
            self.fails("PUT", path, 412, None, second, headers={"If-None-Match": "*"})

            def replace(i):
                http_ = Http(self.server.urls["admin"], self.all_token)
                return http_.request("PUT", path, second, headers={"If-Match": tag})[0]
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                got = sorted(pool.map(replace, range(8)))
            self.assertEqual(got[1:], [412] * 7, kind)
            self.assertLess(got[0], 300)
            self.fails("DELETE", path, 412, None, headers={"If-Match": tag})
            now = self.http.request("GET", path)[1]["ETag"]
            self.assertNotEqual(now, tag)
            status, _, body = self.http.request("DELETE", path, headers={"If-Match": f'"other", {now}'})
            self.assertIn(status, (200, 202), body)
            self.assertIsInstance(json.loads(body)["position"], str)
            self.fails("GET", path, 404)

    def test_attributes_come_and_go(self):
        self.provision(item=schema(a="string", b="string"))
        self.write(upsert("item", id="1", a="x", b="y"))
        position = int(self.define("item", schema(a="string"))["position"])
        self.assertEqual(self.rows(position), {"1": {"id": "1", "a": "x"}})
        self.refused("unknown_attribute", upsert("item", id="2", b="y"))
        self.define("item", schema(a="string", b="int32"))
        self.assertEqual(self.rows(), {"1": {"id": "1", "a": "x"}})
        self.assertEqual(self.rows(self.write({"op": "patch", "entity": "item", "key": "1", "row": {"b": 5}}))["1"],
                         {"id": "1", "a": "x", "b": 5})
        path = f"{self.base()}/entities/item"
        self.fails("PUT", path, 409, "incompatible_schema", schema(a="int32", b="int32"))
        self.fails("PUT", path, 409, "incompatible_schema",
                   {"primary_key": "a", "attributes": schema(a="string", b="int32")["attributes"]})
        self.assertEqual(self.rows()["1"], {"id": "1", "a": "x", "b": 5})

    def test_attributes_in_use(self):
        owned = {**schema(owner="string", ref="string", free="string"), "ownership": {"user": "owner"}}
        owned["attributes"][2]["references"] = "item"
        self.provision(item=owned)
        path = f"{self.base()}/entities/item"
        without = {**owned, "attributes": [a for a in owned["attributes"] if a["name"] != "owner"]}
        self.fails("PUT", path, 409, "attribute_in_use", without)
        self.http.json("PUT", f"{self.base()}/profiles/all?wait=10s",
                       {"entities": {"item": [{"kind": "user"}]}, "roles": ["reader"]}, expect=(200,))
        self.fails("PUT", path, 409, "attribute_in_use", {**without, "ownership": {}})
        self.http.json("PUT", f"{self.base()}/profiles/all?wait=10s", {"entities": {"item": [{"kind": "all"}]}, "roles": ["reader"]})
        self.http.json("PUT", f"{path}?wait=10s", {**without, "ownership": {}}, expect=(200,))

    def test_an_entity_deleted_and_made_again(self):
        self.provision(item=schema(a="string"), other=schema(a="string"))
        self.write(upsert("item", id="1", a="x"), upsert("other", id="1", a="z"))
        client, connection = DeltaClient(self.org), self.sync()
        client.pull(connection, wait="1s")
        status, _, body = self.http.request("DELETE", f"{self.base()}/entities/item?wait=10s")
        self.assertEqual(status, 200, body)
        self.refused("unknown_entity", upsert("item", id="2"))
        self.assertEqual(self.rows(int(json.loads(body)["position"]), "item"), {})
        client.pull(connection)
        self.assertEqual(set(client.rows), {("other", "1")})
        self.define("item", schema(a="string"))
        self.assertEqual(self.rows(0, "item"), {})
        self.assertEqual(self.rows(self.write({"op": "patch", "entity": "item", "key": "1", "row": {"a": "q"}}), "item"), {})
        self.assertEqual(self.rows(self.write(upsert("item", id="2", a="w")), "item"), {"2": {"id": "2", "a": "w"}})
        client.pull(connection)
        self.assertEqual(set(client.rows), {("other", "1"), ("item", "2")})

    def test_profiles_and_roles_that_are_refused(self):
        self.provision(item=schema(a="string"))
        profile, role = f"{self.base()}/profiles/p", f"{self.base()}/roles/r"
        self.fails("PUT", profile, 400, "unknown_entity", {"entities": {"nope": [{"kind": "all"}]}, "roles": []})
        self.fails("PUT", role, 400, "unknown_entity", {"offline": True, "entities": {"nope": {"read": True}}})
        for body in ({"entities": {"item": [{"kind": "some"}]}, "roles": []}, {"entities": {"item": {}}, "roles": []},
                     {"entities": {"item": [{}]}, "roles": []}, {"entities": [], "roles": []}, {"entities": {}, "roles": "r"},
                     {"entities": {}, "roles": [1]}, {"entities": {}, "roles": [], "x": 1},
                     {"entities": {"item": [{"kind": "all", "x": 1}]}, "roles": []},
                     {"entities": {"item": [{"kind": "related"}]}, "roles": []},
                     {"entities": {"item": [{"kind": "filter", "through": "item.a"}]}, "roles": []},
                     {"entities": {"item": [{"kind": "all", "where": "a eq 'x'"}]}, "roles": []}):
            self.fails("PUT", profile, 400, None, body)
        for kind in ("team", "business_unit"):
            self.fails("PUT", profile, 400, "invalid_argument", {"entities": {"item": [{"kind": kind}]}, "roles": []})
        for body in ({"offline": "yes", "entities": {}}, {"offline": True, "entities": []}, {"offline": True, "entities": {}, "y": 1},
                     {"offline": True, "entities": {"item": {"read": 1}}},
                     {"offline": True, "entities": {"item": {"read": True, "deny_columns": "a"}}},
                     {"offline": True, "entities": {"item": {"read": True, "deny_columns": ["id"]}}}):
            self.fails("PUT", role, 400, None, body)
        self.fails("PUT", role, 400, "unknown_attribute", {"entities": {"item": {"read": True, "deny_columns": ["nope"]}}})
        self.fails("PUT", role, 413, "too_large", json.dumps("x" * (2 << 20)).encode())

    def test_rules_that_are_refused(self):
        node, leaf = schema(a="string", up="string"), schema(up="string")
        node["attributes"][-1]["references"] = "node"
        leaf["attributes"][-1]["references"] = "node"
        self.provision(node=node, leaf=leaf)
        profile = f"{self.base()}/profiles/p"

        def refused(code, **entities):
            return self.fails("PUT", profile, 400, code, {"entities": entities, "roles": []})

        def where(text):
            return [{"kind": "filter", "where": text}]

        def through(text):
            return [{"kind": "related", "through": text}]

        for text, column in (("a eq", 5), ("a eq 5", 6), ("'\u00e9' eq a and b", 14), ("not (a eq @user)", 11), ("a eq @me", 6), ("", 1)):
            problem = refused("unknown_attribute" if text.endswith(" b") else "invalid_filter", node=where(text))
            self.assertEqual(problem["column"], column, text)
            self.assertIn("profile 'p', entity 'node', rule 1", problem["detail"])
        refused("unknown_entity", leaf=through("nope.up"))
        refused("unknown_attribute", leaf=through("leaf.nope"))
        refused("invalid_argument", node=through("node.a"))
        refused("invalid_argument", leaf=through("node.up"))
        self.assertIn("node -> node", refused("circular_rules", node=through("node.up"))["detail"])
        refused("circular_rules", node=through("leaf.up"), leaf=through("leaf.up"))
        self.http.json("PUT", profile, {"entities": {"node": where("a eq @user or a eq 'x'"), "leaf": through("leaf.up")},
                                        "roles": []}, expect=(200,))
        self.fails("PUT", f"{self.base()}/entities/node", 409, "attribute_in_use", schema(up="string"))
        self.fails("PUT", f"{self.base()}/entities/leaf", 409, "attribute_in_use", schema(up="string"))

    # ---- 0 and 2: values ----

    def test_values(self):
        self.provision(item=schema(**{f"v_{kind}": kind for kind in TYPES}))
        cases = {
            "int64": [(9223372036854775807, "9223372036854775807"), ("-9223372036854775808", "-9223372036854775808"), ("5", "5"),
                      (0, "0")],
            "int32": [(2147483647, 2147483647), (-2147483648, -2147483648), (7, 7)],
            "double": [(1.5, 1.5), (3, 3.0), (-1e300, -1e300), (5e-324, 5e-324)],
            "decimal": [("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
                        ("0.12345678901234567890123456789012345678", "0.12345678901234567890123456789012345678"),
                        ("-1.10", "-1.1"), ("1e3", "1000"), ("0", "0"), ("-0.0", "0")],
            "bool": [(True, True), (False, False)],
            "datetime": [("2026-01-31T10:00:00Z", "2026-01-31T10:00:00.000000Z"),
                         ("2026-01-31T12:30:00.123456+02:30", "2026-01-31T10:00:00.123456Z"),
                         ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00.000000Z"),
                         ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000Z"),
                         ("2024-02-29t00:00:00z", "2024-02-29T00:00:00.000000Z"),
                         ("2026-01-31T10:00:00.1234567Z", "2026-01-31T10:00:00.123456Z"),
                         ("2026-12-31T23:59:59.999999999+00:00", "2026-12-31T23:59:59.999999Z"),
                         ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z")],
            "date": [("2026-01-31", "2026-01-31"), ("0001-01-01", "0001-01-01"), ("1969-12-31", "1969-12-31"),
                     ("2024-02-29", "2024-02-29"), ("9999-12-31", "9999-12-31")],
            "time": [("10:00:00", "10:00:00.000000"), ("00:00:00.5", "00:00:00.500000"), ("23:59:59.999999", "23:59:59.999999"),
                     ("23:59:59.999999999", "23:59:59.999999"), ("10:00:00.1234567", "10:00:00.123456")],
            "uuid": [(UUID, UUID), (UUID.upper(), UUID)],
            "bytes": [("", ""), ("AP8=", "AP8="), (base64.b64encode(bytes(range(256))).decode(), base64.b64encode(bytes(range(256))).decode())],
            "string": [("", ""), ("žluť \u0000 \U0001f600", "žluť \u0000 \U0001f600"), ("a" * 70000, "a" * 70000)],
        }
        wanted, ops = {}, []
        for kind, pairs in cases.items():
            for i, (given, shown) in enumerate(pairs):
                key = f"{kind}{i}"
                wanted[key] = {"id": key, f"v_{kind}": shown}
                ops.append(upsert("item", id=key, **{f"v_{kind}": given}))
            ops.append(upsert("item", id=f"{kind}-null", **{f"v_{kind}": None}))
            wanted[f"{kind}-null"] = {"id": f"{kind}-null"}
        rows = self.rows(self.write(*ops))
        for key, row in wanted.items():
            self.assertEqual(rows[key], row)
        self.assertEqual(set(rows), set(wanted))
        # A number that a float would spoil, taken from the text of the body.
        line = ('{"id":"n1","source":"t","ops":[{"op":"upsert","entity":"item","row":{"id":"n1","v_decimal":'
                '12345678901234567890.123456789012345678}}]}\n')
        position = int(self.post(raw=line.encode())[0]["position"])
        self.assertEqual(self.rows(position)["n1"]["v_decimal"], "12345678901234567890.123456789012345678")

    def test_values_of_the_wrong_type(self):
        self.provision(item=schema(**{f"v_{kind}": kind for kind in TYPES}))
        bad = {
            "string": [1, True, [], {}],
            "int32": [2147483648, -2147483649, 1.5, True, "x", [], ""],
            "int64": ["9223372036854775808", "1.5", "", " 1", "0x1", "+", True, 1.5, 1e30, {}],
            "double": ["x", True, [], "NaN", "Infinity"],
            "decimal": ["123456789012345678901234567890123456789", "1.2.3", "", "NaN", "1e999999999", " 1", True, []],
            "bool": ["true", 1, 0],
            "datetime": ["2026-01-31", "2026-01-31T10:00:00", "2026-02-30T10:00:00Z", "2026-01-31 25:00:00Z", 5, "",
                         "2025-02-29T00:00:00Z", "2026-01-31T10:00:00+25:00", "2026-13-01T00:00:00Z"],
            "date": ["2026-02-30", "2025-02-29", "2026-1-31", "0000-01-01", "2026-01-31T00:00:00Z", "2026-01-31Z", "20260131", "",
                     20484, True],
            "time": ["24:00:00", "23:59:60", "10:60:00", "10:00", "10:00:00Z", "10:00:00+01:00", "10:00:00.", "1:00:00", "", 36000,
                     []],
            "uuid": ["x", UUID[:-1], UUID + "0", UUID.replace("-", "_"), 5],
            "bytes": ["A", "AB=C", "*", 5],
        }
        for kind, values in bad.items():
            for value in values:
                with self.subTest(kind=kind, value=value):
                    self.refused("type_mismatch", upsert("item", id="1", **{f"v_{kind}": value}))
        self.assertEqual(self.rows(), {})

    def test_keys(self):
        self.provision(item=schema(a="string"), number={"primary_key": "n", "attributes": [{"name": "n", "type": "int64"}]},
                       when={"primary_key": "d", "attributes": [{"name": "d", "type": "datetime"}]},
                       price={"primary_key": "p", "attributes": [{"name": "p", "type": "decimal"}]},
                       unique={"primary_key": "u", "attributes": [{"name": "u", "type": "uuid"}]},
                       day={"primary_key": "d", "attributes": [{"name": "d", "type": "date"}]},
                       hour={"primary_key": "t", "attributes": [{"name": "t", "type": "time"}]})
        position = self.write(upsert("item", id="a" * 512), upsert("item", id="ž\u0001/?"), upsert("number", n=5),
                              upsert("number", n="5"), upsert("when", d="2026-01-31T12:00:00+02:00"),
                              upsert("price", p="1.50"), upsert("price", p=1.5), upsert("unique", u=UUID.upper()))
        self.assertEqual(set(self.rows(position)), {"a" * 512, "ž\u0001/?", "5", "2026-01-31T10:00:00.000000Z", "1.5", UUID})
        position = self.write(upsert("day", d="0001-01-01"), upsert("hour", t="10:00:00"), upsert("hour", t="10:00:00.0000009"),
                              upsert("hour", t="23:59:59.5"))
        self.assertEqual(set(self.rows(position, "day")), {"0001-01-01"})
        self.assertEqual(set(self.rows(position, "hour")), {"10:00:00.000000", "23:59:59.500000"})
        self.write({"op": "delete", "entity": "day", "key": "0001-01-01"}, {"op": "delete", "entity": "hour", "key": "10:00:00"},
                   {"op": "delete", "entity": "hour", "key": "23:59:59.500"})
        position = self.write({"op": "delete", "entity": "unique", "key": UUID.upper()}, {"op": "delete", "entity": "price", "key": "1.500"},
                              {"op": "delete", "entity": "number", "key": 5})
        self.assertEqual(set(self.rows(position)), {"a" * 512, "ž\u0001/?", "2026-01-31T10:00:00.000000Z"})
        self.refused("missing_key", upsert("item", a="x"))
        self.refused("missing_key", {"op": "delete", "entity": "item"})
        self.refused("missing_key", {"op": "patch", "entity": "item", "row": {"a": "x"}})
        for key in ("", "a" * 513, "ž" * 257, "a\u0000b"):
            self.refused("invalid_key", upsert("item", id=key))
            self.refused("invalid_key", {"op": "delete", "entity": "item", "key": key})
        for key in (None, ["a"], {}, True):
            self.refused("invalid_key", {"op": "delete", "entity": "item", "key": key})
        self.refused("invalid_key", upsert("item", id=None))
        self.refused("invalid_key", {"op": "delete", "entity": "number", "key": "x"})
        self.refused("invalid_key", {"op": "delete", "entity": "day", "key": "2026-02-30"})
        self.refused("invalid_key", {"op": "delete", "entity": "hour", "key": "24:00:00"})
        self.refused("invalid_key", {"op": "patch", "entity": "item", "key": "1", "row": {"id": "2", "a": "x"}})
        self.refused("invalid_key", {"op": "upsert", "entity": "item", "key": "1", "row": {"id": "2"}})

    def test_filters_on_dates_and_times(self):
        shift = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}, {"name": "at", "type": "time"},
                                                     {"name": "on", "type": "date", "references": "day"},
                                                     {"name": "made", "type": "datetime"}]}
        self.provision(day={"primary_key": "d", "attributes": [{"name": "d", "type": "date"}]}, shift=shift)
        self.assertEqual([a["type"] for a in self.http.json("GET", f"{self.base()}/entities/shift")["attributes"]],
                         ["string", "time", "date", "datetime"])
        days, times = ("0001-01-01", "1969-12-31", "2026-01-31", "9999-12-31"), ("00:00:00", "10:00:00.5", "23:59:59.999999")
        ops = [upsert("shift", id=f"{day} {time_}", on=day, at=time_) for day in days for time_ in times]
        ops += [upsert("day", d=day) for day in days] + [upsert("shift", id="null")]
        position, profile = self.write(*ops), f"{self.base()}/profiles/all?wait=30s"

        def seen(where, **entities):
            self.http.json("PUT", profile, {"entities": {"shift": [{"kind": "filter", "where": where}], **entities},
                                            "roles": ["reader"]}, expect=(200,))
            return set(self.rows(position))

        keys = lambda *of: {f"{day} {time_}" for day in of for time_ in times}  # noqa: E731
        self.assertEqual(seen("on eq 2026-01-31"), keys("2026-01-31"))
        self.assertEqual(seen("on lt 2026-01-31"), keys("0001-01-01", "1969-12-31"))
        self.assertEqual(seen("'2026-01-31' le on"), keys("2026-01-31", "9999-12-31"))
        self.assertEqual(seen("on in (0001-01-01,9999-12-31,null)"), keys("0001-01-01", "9999-12-31") | {"null"})
        self.assertEqual(seen("on eq 1969-12-31 and at ge 10:00:00.5"), {"1969-12-31 10:00:00.5", "1969-12-31 23:59:59.999999"})
        self.assertEqual(seen("on ge 9999-12-31 and (at lt '10:00:00' or at eq 23:59:59.9999999)"),
                         {"9999-12-31 00:00:00", "9999-12-31 23:59:59.999999"})
        # A key that is a date is a reference's text like any other.
        self.assertEqual(seen("on eq 2026-01-31 and at eq 00:00:00", day=[{"kind": "related", "through": "shift.on"}]),
                         {"2026-01-31 00:00:00", "2026-01-31"})
        for where, column in (("on eq 2026-02-30", 7), ("on eq 2026-01-31T00:00:00Z", 7), ("made ge 2026-01-31", 9),
                              ("at eq 24:00:00", 7), ("on eq at", 7), ("at eq '10:00'", 7), ("on eq @user", 7)):
            problem = self.fails("PUT", profile, 400, "invalid_filter",
                                 {"entities": {"shift": [{"kind": "filter", "where": where}]}, "roles": []})
            self.assertEqual(problem["column"], column, where)

    def test_after_a_kill(self):
        """Whoever asks at once is told to wait, or gets the truth; a set sent again is applied once."""
        self.provision(item=schema(a="string"))
        sets = [self.set(upsert("item", id=str(i), a="first")) for i in range(3000)]
        self.assertTrue(all("position" in answer for answer in self.post(*sets)))
        last = self.write({"op": "patch", "entity": "item", "key": "0", "row": {"a": "later"}})
        self.server.kill()
        self.server.start()
        self.http, statuses, deadline = Http(self.server.urls["admin"], self.all_token), set(), time.monotonic() + 20
        sync = self.sync()
        while 200 not in statuses and time.monotonic() < deadline:
            status, headers, body = sync.request("GET", f"{self.base()}/delta?min_position={last}")
            statuses.add(status)
            if status != 200:
                self.assertEqual(self.problem(status, headers, body)["code"], "not_caught_up")
        self.assertLessEqual(statuses, {200, 503})
        again = self.post(*sets)
        rows = self.rows(max(int(answer["position"]) for answer in again))
        self.assertEqual((len(rows), rows["0"]["a"]), (3000, "later"))

    # ---- 2: operations ----

    def test_operations(self):
        self.provision(item=schema(a="string", b="string"))
        self.assertEqual(self.rows(self.write(upsert("item", id="1", a="x", b="y"))), {"1": {"id": "1", "a": "x", "b": "y"}})
        self.assertEqual(self.rows(self.write(upsert("item", id="1", a="z"))), {"1": {"id": "1", "a": "z"}})
        patch = lambda key, **row: {"op": "patch", "entity": "item", "key": key, "row": row}  # noqa: E731
        self.assertEqual(self.rows(self.write(patch("1", b="q"))), {"1": {"id": "1", "a": "z", "b": "q"}})
        self.assertEqual(self.rows(self.write(patch("1", a=None))), {"1": {"id": "1", "b": "q"}})
        self.assertEqual(set(self.rows(self.write(patch("none", a="x")))), {"1"})
        self.assertEqual(set(self.rows(self.write({"op": "delete", "entity": "item", "key": "none"}))), {"1"})
        self.assertEqual(self.rows(self.write({"op": "delete", "entity": "item", "key": "1"}, upsert("item", id="1", a="n"),
                                              patch("1", b="m"))), {"1": {"id": "1", "a": "n", "b": "m"}})
        # A set is atomic, and a bad one does not stop the others.
        answers = self.post(self.set(upsert("item", id="2")), self.set(upsert("item", id="3"), upsert("nope", id="4")),
                            self.set(upsert("item", id="5")))
        self.assertEqual(["position" in answer for answer in answers], [True, False, True])
        self.assertEqual(answers[1]["error"]["code"], "unknown_entity")
        self.assertEqual(set(self.rows(int(answers[2]["position"]))), {"1", "2", "5"})
        self.refused("unknown_attribute", upsert("item", id="1", c="x"))
        self.refused("invalid_argument", {"op": "replace", "entity": "item", "key": "1"})
        self.refused("invalid_argument", {"op": "upsert", "entity": "item"})
        self.refused("invalid_argument", {"entity": "item", "row": {"id": "1"}})
        self.refused("invalid_argument", {"op": "delete", "entity": "item", "key": "1", "x": 1})
        self.refused("invalid_argument", upsert("item", id="1"), extra=1)
        for change in ({"source": "t", "ops": []}, {"id": 5, "source": "t", "ops": []}, {"id": "x", "source": "t", "ops": {}},
                       {"id": "x", "source": "t"}, {"id": "x", "ops": [5], "source": "t"}, 5, "x", None, []):
            answer = self.post(change)[0]
            self.assertIn(answer.get("error", {}).get("code"), ("invalid_argument", "invalid_json"), (change, answer))

    def test_versions(self):
        self.provision(item=schema(a="string"))
        put = lambda a, version=None, key="1": {**upsert("item", id=key, a=a), **({"version": version} if version is not None else {})}  # noqa: E731
        drop = lambda version=None, key="1": {"op": "delete", "entity": "item", "key": key, **({"version": version} if version is not None else {})}  # noqa: E731
        value = lambda *ops, key="1": self.rows(self.write(*ops)).get(key, {}).get("a")  # noqa: E731
        self.assertEqual(value(put("a", "10")), "a")
        self.assertEqual(value(put("b", "10")), "a")
        self.assertEqual(value(put("b", 9)), "a")
        self.assertEqual(value(put("c", 11)), "c")
        self.assertEqual(value(put("d")), "d")  # no version: log order decides, and 11 stays
        self.assertEqual(value(put("e", "11")), "d")
        self.assertEqual(value({"op": "patch", "entity": "item", "key": "1", "row": {"a": "p"}, "version": "11"}), "d")
        self.assertEqual(value({"op": "patch", "entity": "item", "key": "1", "row": {"a": "p"}, "version": "12"}), "p")
        self.assertEqual(value(drop("12")), "p")
        self.assertIsNone(value(drop("20")))
        self.assertIsNone(value(put("x", "20")))
        self.assertIsNone(value(put("x", "15")))
        self.assertEqual(value(put("y", "21")), "y")
        self.assertIsNone(value(drop()))  # the stored version stays on the tombstone
        self.assertIsNone(value(put("z", "21")))
        self.assertEqual(value(put("z", "22")), "z")
        self.assertIsNone(value(drop("5", "2"), put("w", "5", "2"), key="2"))  # a delete of no row is remembered
        self.assertEqual(value(put("w", "6", "2"), key="2"), "w")
        self.assertEqual(value(put("n", "-9223372036854775808", "3"), key="3"), "n")
        for version in ("x", "", 1.5, True, "9223372036854775808", [], {}):
            change = self.post(self.set(put("q", version)))[0]
            self.assertIn(change.get("error", {}).get("code"), ("type_mismatch", "invalid_argument"), (version, change))

    def test_sets_sent_again(self):
        self.provision(item=schema(a="string"))
        first = {"id": "same", "source": "s", "ops": [upsert("item", id="1", a="first")]}
        position = int(self.post(first)[0]["position"])
        self.write(upsert("item", id="1", a="later"))
        again = self.post(first)[0]
        self.assertEqual(int(again["position"]), position)
        other = int(self.post({**first, "source": "other"})[0]["position"])
        self.assertEqual(self.rows(other)["1"]["a"], "first")
        self.assertGreater(other, position)
        # Twice in one body, and from eight connections at once.
        twice = {"id": "twice", "source": "s", "ops": [upsert("item", id="2", a="x")]}
        answers = self.post(twice, twice, self.set(upsert("item", id="3")), twice)
        self.assertEqual(len({answers[i]["position"] for i in (0, 1, 3)}), 1, answers)

        def send(i):
            http_ = Http(self.server.urls["admin"], self.all_token)
            body = json.dumps({"id": "race", "source": "s", "ops": [upsert("item", id="r", a=str(i))]}).encode() + b"\n"
            return json.loads(http_.request("POST", f"{self.base()}/changes", body, "application/x-ndjson")[2])["position"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            positions = set(pool.map(send, range(16)))
        self.assertEqual(len(positions), 1, positions)
        # Another organisation's ids are its own.
        mine, self.org = self.org, self.org + "-b"
        self.provision(item=schema(a="string"))
        self.assertEqual(self.rows(int(self.post(first)[0]["position"])), {"1": {"id": "1", "a": "first"}})
        self.http.json("DELETE", f"{self.base()}/entities/item?wait=10s", expect=(200,))
        self.refused("unknown_entity", upsert("item", id="4"))
        self.org = mine
        self.write(upsert("item", id="4"))
        # Accepted once is accepted, also when the schema no longer has what the set names.
        self.define("item", schema())
        self.assertEqual(int(self.post(first)[0]["position"]), position)
        self.assertEqual(self.post(twice)[0]["position"], answers[0]["position"])
        self.assertEqual(self.post({**first, "id": "another"})[0]["error"]["code"], "unknown_attribute")
        # A refused set is not remembered.
        self.assertIn("error", self.post({"id": "mend", "source": "s", "ops": [upsert("nope", id="1")]})[0])
        mended = self.post({"id": "mend", "source": "s", "ops": [upsert("item", id="m")]})[0]
        self.assertIn("m", self.rows(int(mended["position"])))

    def test_plain_json_bodies(self):
        self.provision(item=schema(a="string"))
        path = f"{self.base()}/changes"
        one = self.set(upsert("item", id="1"))
        status, headers, body = self.http.request("POST", path, one)
        self.assertEqual((status, headers.get_content_type()), (200, "application/json"))
        self.assertEqual(set(json.loads(body)), {"id", "position"})
        status, headers, body = self.http.request("POST", path, [self.set(upsert("item", id="2")), self.set(upsert("x", id="2"))])
        answers = json.loads(body)
        self.assertEqual((status, headers.get_content_type(), len(answers)), (200, "application/json", 2))
        self.assertEqual((set(answers[0]), answers[1]["error"]["code"]), ({"id", "position"}, "unknown_entity"))
        self.assertEqual(json.loads(self.http.request("POST", path, [])[2]), [])
        status, _, body = self.http.request("POST", path, json.dumps(self.set(upsert("item", id="3")), indent=2).encode(),
                                            "application/json; charset=utf-8")
        self.assertEqual((status, "position" in json.loads(body)), (200, True), body)
        status, _, body = self.http.request("POST", path, self.set(upsert("x", id="2")))
        self.assertEqual((status, json.loads(body)["error"]["code"]), (200, "unknown_entity"))
        good_up_to_its_end = b"[" + json.dumps(self.set(upsert("item", id="lost"))).encode() + b",}"
        for bad in (b"", b"{", b"[", b"[{]", b"{} {}", b'{"id":"\xff"}', b"nope", b"\xef\xbb\xbf", b"[" * 100000, good_up_to_its_end):
            self.fails("POST", path, 400, "invalid_json", bad)
        self.assertNotIn("lost", self.rows(self.write(upsert("item", id="next"))))
        for kind in ("text/plain", "application/xml"):
            self.fails("POST", path, 415, "unsupported_media_type", b"{}", content_type=kind)

    def test_lines_that_are_not_json(self):
        self.provision(item=schema(a="string"))
        good = json.dumps(self.set(upsert("item", id="1"))).encode()
        deep = b'{"id":"d","source":"t","ops":[{"op":"upsert","entity":"item","row":{"id":' + b"[" * 5000 + b"]" * 5000 + b"}}]}"
        bad = [b"{", b'{"id":"\xff\xfe","source":"t","ops":[]}', b"nope", good + b" x", deep, b'{"id":"\\ud800","source":"t","ops":[]}',
               b'{"id":"a\x01"}', b"[" * 200000]
        answers = self.post(raw=b"\n".join([good, *bad, b"", b"   ", json.dumps(self.set(upsert("item", id="2"))).encode()]))
        self.assertEqual(len(answers), len(bad) + 2, answers)
        self.assertIn("position", answers[0])
        self.assertIn("position", answers[-1])
        for line, answer in zip(bad, answers[1:-1]):
            # An array where a string belongs may be told before its end is looked for.
            self.assertIn(answer["error"]["code"], ("invalid_json", "type_mismatch") if line is deep else ("invalid_json",), answer)
            self.full(answer["error"])
        self.assertEqual(set(self.rows(int(answers[-1]["position"]))), {"1", "2"})
        # \r\n is white space of JSON.
        self.assertIn("position", self.post(raw=json.dumps(self.set(upsert("item", id="4"))).encode() + b"\r\n")[0])
        self.assertEqual(self.post(raw=b""), [])

    def test_limits(self):
        self.provision(item=schema(a="string"))
        many = self.set(*(upsert("item", id=str(i)) for i in range(10000)))
        self.assertIn("position", self.post(many)[0])
        more = self.set(*(upsert("item", id=str(i)) for i in range(10001)))
        long = self.set(upsert("item", id="long", a="x" * (1 << 20)))
        answers = self.post(more, long, self.set(upsert("item", id="after")))
        self.assertEqual([a.get("error", {}).get("code") for a in answers], ["too_large", "too_large", None])
        self.assertEqual(answers[0].get("id"), more["id"])
        self.assertEqual(set(self.rows(int(answers[2]["position"]))), {str(i) for i in range(10000)} | {"after"})
        exact = json.dumps(self.set(upsert("item", id="exact", a="")))
        exact = exact.replace('"a": ""', '"a": "' + "x" * ((1 << 20) - len(exact)) + '"')
        self.assertEqual(len(exact), 1 << 20)
        self.assertIn("position", self.post(raw=exact.encode() + b"\n")[0])
        status, headers, body = self.http.request("POST", f"{self.base()}/changes", json.dumps(long).encode())
        self.assertEqual(json.loads(body).get("code") or json.loads(body)["error"]["code"], "too_large", (status, body[:300]))

    def test_bodies_that_break_off(self):
        self.provision(item=schema(a="string"))
        sets = [self.set(upsert("item", id=str(i))) for i in range(50)]
        lines = b"".join(json.dumps(change).encode() + b"\n" for change in sets)
        # Nobody knows whether a line without its end was whole, though it may look so.
        half = json.dumps(self.set(upsert("item", id="half"))).encode()
        answer = self.raw(self.head(f"Content-Length: {len(lines) + len(half) + 100}") + lines + half, half_close=True)
        self.assertIn(b"400", answer)
        taken = self.rows(self.write(upsert("item", id="behind")))
        self.assertEqual(set(taken), {str(i) for i in range(50)} | {"behind"})
        last = self.post(sets[-1])[0]["position"]
        answer = self.raw(self.head("Transfer-Encoding: chunked") + f"{len(lines):x}\r\n".encode() + lines + b"\r\n0\r\n\r\n")
        self.assertEqual(answer.count(b'"position"'), 50, answer[:400])
        self.assertIn(f'"position":"{last}"'.encode(), answer)
        self.raw(self.head("Transfer-Encoding: chunked") + b"zz\r\n" + lines, half_close=True)
        self.raw(self.head("Content-Length: 100") + b"{", half_close=True)
        self.raw(b"\x16\x03\x01\x00\x00 nonsense\r\n\r\n", half_close=True)
        self.raw(b"GET / HTTP/9.9\r\n\r\n", half_close=True)
        # An answer comes whole, and once, also where the rest of the request is not wanted.
        for request, code in ((b"nonsense\r\n\r\n", b"400"), (self.head("Content-Length: -1"), b"400"),
                              (f"GET {self.base()} HTTP/1.1\r\nHost: x\r\nX: {'y' * 50000}\r\n\r\n".encode(), b"400"),
                              (f"PUT {self.base()} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.all_token}\r\n"
                               f"Content-Length: {20 << 20}\r\n\r\n".encode() + b"x" * (20 << 20), b"413"),
                              (self.head(f"Content-Length: {(1 << 30) + 1}"), b"413")):
            answer = self.raw(request)
            self.assertEqual(answer.split(b" ")[1], code, answer)
            self.assertEqual(answer.count(b"HTTP/1.1 "), 1, answer)
            self.assertEqual(answer.lower().count(b"connection: close"), 1, answer)
            self.full(json.loads(answer.split(b"\r\n\r\n")[1]))
        answer = self.raw(self.head("Content-Length: 0", "Expect: 100-continue\r\n"))
        self.assertIn(b"HTTP/1.1 200", answer)
        # Behind an empty one, with which it came.
        piped = json.dumps(self.set(upsert("item", id="piped"))).encode()
        empty = self.head("Content-Length: 0").replace(b"Connection: close\r\n", b"")
        answer = self.raw(empty + self.head(f"Content-Length: {len(piped)}") + piped)
        self.assertEqual((answer.count(b"HTTP/1.1 200"), answer.count(b'"position"')), (2, 1), answer)
        self.assertNotIn("half", self.rows(self.write(upsert("item", id="next"))))

    def test_request_smuggling(self):
        """What another reader on the way could read differently is 400 and the end, on both listeners."""
        self.provision(item=schema(a="string"))
        hidden = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        tokens = {"admin": (f"{self.base()}/changes", self.all_token),
                  "sync": (f"{self.base()}/stream", self.server.token("sluice.sync", "anna", self.org, ["reader"]))}
        for url, (path, token) in tokens.items():
            head = (f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                    "Content-Type: application/x-ndjson\r\n").encode()
            size = len(hidden)
            for framing in (f"Content-Length : {size}\r\n", f"Content-Length: {size}\r\nContent-Length: 0\r\n",
                            f"Content-Length: {size}\r\nContent-Length: {size}\r\n",
                            f"Content-Length: {size}\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding : chunked\r\n",
                            "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: chunked, identity\r\n",
                            "Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: gzip\r\n", "Content-Length: x\r\n",
                            f"X: a\r\n Content-Length: {size}\r\n", f"X: a\nContent-Length: {size}\r\n",
                            f"Content-Length: {size}\n", f"X: a\r\n\tb\r\n", "X: a\rb\r\n"):
                answer = self.raw(head + framing.encode() + b"\r\n" + hidden, url, half_close=True)
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), (url, framing, answer))
                self.assertIn(b"Connection: close", answer, (url, framing))
                self.assertEqual(answer.count(b"HTTP/1.1 "), 1, (url, framing, answer))
            for body in (b"zz\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"-1\r\nhello\r\n0\r\n\r\n",
                         b"5\r\nhelloX0\r\n\r\n", b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", b"\r\n\r\n",
                         b"5;\x01=\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n"):
                answer = self.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + body + hidden, url, half_close=True)
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), (url, body, answer))
                self.assertEqual(answer.count(b"HTTP/1.1 "), 1, (url, body, answer))

    def test_nothing_is_read_from_strangers(self):
        """The body that is announced never comes: who waited for it would not answer."""
        self.provision()
        for url, path in (("admin", f"{self.base()}/changes"), ("admin", f"{self.base()}/entities/x"), ("sync", f"{self.base()}/stream")):
            method = "PUT" if "entities" in path else "POST"
            for token, status in (("nobody", b"401"), (self.server.token("sluice.audit"), b"403")):
                answer = self.raw(f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                                  "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n".encode(), url)
                self.assertEqual(answer.split(b" ")[1], status, (path, answer))

    def test_silent_connections(self):
        """More silent connections than threads could be made for: health and requests are answered."""
        parts = urllib.parse.urlsplit(self.server.urls["admin"])
        silent = [socket.create_connection((parts.hostname, parts.port), timeout=20) for _ in range(700)]
        try:
            for path in ("/healthz", "/readyz", "/v1/orgs"):
                self.assertEqual(Http(self.server.urls["admin"], self.all_token).request("GET", path)[0], 200, path)
        finally:
            for connection in silent:
                connection.close()

    def test_tokens_of_one_organisation(self):
        self.provision(item=schema(a="string"))
        bound = Http(self.server.urls["admin"], self.server.token("sluice.admin sluice.ingest", org=self.org))
        self.assertEqual(bound.request("GET", self.base())[0], 200)
        self.assertEqual(bound.request("POST", f"{self.base()}/changes", self.set(upsert("item", id="1")))[0], 200)
        listed = bound.json("GET", "/v1/orgs")
        self.assertEqual(([o["org"] for o in listed["orgs"]], listed["next_page_token"]), ([self.org], ""))
        own, self.org = self.org, self.org + "-b"
        self.provision(item=schema(a="string"))
        for other in (self.org, "another"):
            base = f"/v1/orgs/{other}"
            for method, path in (("GET", base), ("PUT", base), ("DELETE", base), ("GET", f"{base}/entities"), ("GET", f"{base}/entities/item"),
                                 ("PUT", f"{base}/entities/x"), ("GET", f"{base}/roles/reader"), ("POST", f"{base}/changes")):
                self.fails(method, path, 403, "forbidden", {} if method in ("PUT", "POST") else None, http_=bound)
        self.fails("GET", "/metrics", 403, "forbidden", http_=bound)
        # A path is cut before it is decoded.
        self.org = own
        self.assertEqual(self.http.request("GET", f"/v1/%6frgs/{own.replace('t', '%74')}")[0], 200)
        for method, path in (("GET", f"/v1/orgs/{own}%2Fentities"), ("GET", f"/v1/orgs%2f{own}"), ("GET", f"/v1/orgs/{own}%2fentities%2Fitem"),
                             ("DELETE", f"/v1/orgs/x%2F..%2F{own}")):
            self.assertIn(self.http.request(method, path)[0], (400, 404), path)
        self.assertEqual(self.http.request("GET", self.base())[0], 200)

    # ---- 0: tokens ----

    def test_tokens(self):
        self.provision(item=schema(a="string"))
        encode = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()  # noqa: E731
        head, claims, signature = self.all_token.split(".")
        body = json.loads(base64.urlsafe_b64decode(claims + "=="))
        header = json.loads(base64.urlsafe_b64decode(head + "=="))
        bad = ["", "x", "a.b.c", f"{encode({'alg': 'none'})}.{claims}.", f"{encode({**header, 'alg': 'none'})}.{claims}.{signature}",
               f"{encode({**header, 'alg': 'HS256'})}.{claims}.{signature}", f"{encode({**header, 'alg': 'RS256'})}.{claims}.{signature}",
               f"{head}.{encode({**body, 'sub': 'other'})}.{signature}", f"{head}.{claims}.", f"{head}.{claims}.{signature[:-4]}AAAA",
               f"{encode({**header, 'kid': 'unknown'})}.{claims}.{signature}", self.all_token + "x", self.all_token + ".x"]
        for url in ("admin", "sync"):
            for token in bad:
                path = self.base() + ("/delta" if url == "sync" else "")
                self.fails("GET", path, 401, None, http_=Http(self.server.urls[url], token))
        parts = urllib.parse.urlsplit(self.server.urls["admin"])
        connection = http.client.HTTPConnection(parts.hostname, parts.port)
        connection.request("GET", self.base())
        response = connection.getresponse()
        self.assertEqual((response.status, response.headers.get_content_type()), (401, "application/problem+json"))
        self.assertTrue(response.headers["WWW-Authenticate"].startswith("Bearer"))
        response.read()
        connection.close()
        for scope, method, path in (("sluice.ingest", "GET", self.base()), ("sluice.sync", "GET", self.base()),
                                    ("sluice.admin", "POST", f"{self.base()}/changes"), ("sluice.audit", "PUT", self.base()),
                                    ("sluice.ingest", "PUT", f"{self.base()}/entities/x"), ("", "GET", "/v1/orgs"),
                                    ("sluice.ingest", "GET", "/metrics")):
            self.fails(method, path, 403, None, {"display_name": "x"} if method != "GET" else None,
                       http_=Http(self.server.urls["admin"], self.server.token(scope)))
        self.assertEqual(Http(self.server.urls["admin"], self.server.token("sluice.metrics")).request("GET", "/metrics")[0], 200)
        self.fails("GET", f"{self.base()}/delta", 403, None, http_=Http(self.server.urls["sync"], self.all_token))
        self.fails("GET", f"{self.base()}/delta", 403, None,
                   http_=Http(self.server.urls["sync"], self.server.token("sluice.sync", "anna", "other-org", ["reader"])))

    # ---- methods, documents, health ----

    def test_paths_and_methods(self):
        self.provision(item=schema(a="string"))
        for path in ("/", "/v1", "/v2/orgs", "/v1/orgs/", f"{self.base()}/", f"{self.base()}/nope", f"{self.base()}/entities/a/b",
                     f"{self.base()}/changes/1", "/v1/orgs//entities"):
            self.fails("GET", path, 404, "not_found")
        for method, path, allowed in (("POST", "/v1/orgs", "GET"), ("PATCH", self.base(), "PUT, GET, HEAD, DELETE"), ("GET", f"{self.base()}/changes", "POST"),
                                      ("DELETE", f"{self.base()}/changes", "POST"), ("POST", f"{self.base()}/entities/item", "PUT"),
                                      ("PUT", "/healthz", "GET"), ("POST", "/metrics", "GET")):
            got, headers, body = self.http.request(method, path, b"{}")
            self.assertEqual(got, 405, (method, path, body))
            self.problem(got, headers, body)
            self.assertIn(allowed, headers["Allow"])
        for path in ("/healthz", "/readyz", "/openapi.json", self.base(), "/v1/orgs", f"{self.base()}/entities/item"):
            status, headers, body = self.http.request("GET", path)
            self.assertNotIn("Allow", headers, path)
            head_status, head_headers, head_body = self.http.request("HEAD", path)
            self.assertEqual((head_status, head_body), (status, b""), path)
            self.assertEqual(head_headers.get_content_type(), headers.get_content_type(), path)
        for given, kept in (("my-id", True), ("a b", False)):
            headers = self.http.request("GET", "/healthz", headers={"X-Request-Id": given})[1]
            self.assertEqual(headers["X-Request-Id"] == given, kept)
        sync = self.sync()
        self.fails("PUT", f"{self.base()}/delta", 405, None, b"", http_=sync)
        self.fails("GET", "/v1/nope", 404, None, http_=sync)

    def test_open_documents(self):
        for url in ("admin", "sync"):
            parts = urllib.parse.urlsplit(self.server.urls[url])
            for path in ("/healthz", "/readyz", "/openapi.json"):
                connection = http.client.HTTPConnection(parts.hostname, parts.port)
                connection.request("GET", path)
                response = connection.getresponse()
                body = response.read()
                self.assertEqual(response.status, 200, (url, path, body))
                if path == "/openapi.json":
                    self.assertEqual(response.headers.get_content_type(), "application/json")
                    document = json.loads(body)
                    self.assertTrue(document["openapi"].startswith("3.1"))
                    wanted = {"/v1/orgs", "/v1/orgs/{org}", "/v1/orgs/{org}/changes", "/v1/orgs/{org}/entities/{name}",
                              "/v1/orgs/{org}/profiles/{name}", "/v1/orgs/{org}/roles/{name}", "/metrics"} \
                        if url == "admin" else {"/v1/orgs/{org}/delta", "/v1/orgs/{org}/stream"}
                    self.assertLessEqual(wanted | {"/healthz", "/readyz"}, set(document["paths"]))
                connection.close()

    def test_metrics(self):
        self.provision(item=schema(a="string"))
        self.rows(self.write(upsert("item", id="1")))
        self.refused("unknown_entity", upsert("nope", id="1"))
        status, headers, body = self.http.request("GET", "/metrics")
        self.assertEqual((status, headers.get_content_type()), (200, "text/plain"))
        text = body.decode()
        values = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if not line.startswith("#")}
        for name in ("sluice_eventlog_append_events_total", "sluice_staging_events_total", "sluice_store_open_stores",
                     "sluice_sync_sent_bytes_total", 'sluice_ingest_rejected_total{code="unknown_entity"}'):
            self.assertGreater(sum(v for k, v in values.items() if k.startswith(name)), 0, name)
        for name in ('sluice_staging_lag_events{partition="0"}', "sluice_sync_sessions", "sluice_staging_dead_letters_total"):
            self.assertIn(name, values)
        limited = [k.split("{")[0].removesuffix("_limit") for k in values if k.split("{")[0].endswith("_limit")]
        self.assertGreaterEqual(len(limited), 6)
        for name in limited:  # what has a limit says how full it is
            self.assertTrue(any(k.split("{")[0] == name for k in values), name)
        self.fails("GET", "/metrics", 401, http_=Http(self.server.urls["admin"], "x"))

    # ---- 6: the command line ----

    def test_the_command_line(self):
        def run(*arguments, code=0, text=None):
            done = subprocess.run([BINARY, *map(str, arguments)], input=text, capture_output=True, text=True, timeout=60, env={
                **os.environ, "SLUICE_URL": self.server.urls["admin"], "SLUICE_SYNC_URL": self.server.urls["sync"],
                "SLUICE_DATA_DIR": str(self.server.data)})
            self.assertEqual(done.returncode, code, (arguments, done.stdout, done.stderr))
            if code != 0:
                self.assertEqual(done.stdout if code == 2 else "", "")
                self.assertTrue(done.stderr)
            return done.stdout

        def data(*arguments, **more):
            return json.loads(run(*arguments, "--output", "json", **more))
        org = self.org
        self.assertEqual(data("org", "create", org, "--display-name", "Acme Ltd")["state"], "ready")
        self.assertEqual(data("org", "get", org)["display_name"], "Acme Ltd")
        self.assertIn(org, [o["org"] for o in data("org", "list")["orgs"]])
        for group, name, definition in (("entity", "item", schema(a="decimal")),
                                        ("role", "r", {"offline": True, "entities": {"item": {"read": True}}}),
                                        ("profile", "p", {"entities": {"item": [{"kind": "all"}]}, "roles": ["r"]})):
            self.assertIsInstance(data(group, "put", org, name, "-", text=json.dumps(definition))["position"], str)
            shown = data(group, "get", org, name)
            self.assertEqual({key: shown[key] for key in definition}, definition)
            self.assertIn(name, run(group, "list", org))
        done = data("ingest", "-", "--org", org, text=json.dumps(self.set(upsert("item", id="1", a="1.50"))) + "\n")
        self.assertEqual((done["sets"], done["refused"]), (1, 0))
        run("ingest", "-", "--org", org, code=1, text="{bad\n")
        token = data("token", "--sub", "anna", "--org", org, "--role", "r")["token"]
        self.assertEqual(token.count("."), 2)
        self.assertEqual(run("token", "--sub", "anna").count("\n"), 1)
        deadline = time.monotonic() + 20
        database = self.folder / "cli.sqlite"
        while data("pull", "--org", org, "--db", database, "--token", token)["position"] != done["position"]:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(sqlite3.connect(database).execute("SELECT id, a FROM item").fetchall(), [("1", "1.5")])
        self.assertIn("optional string a", run("schema", "export", org, "item"))
        self.assertTrue(data("version")["version"])
        self.assertNotIn("exception", subprocess.run(
            [BINARY, "entity", "put", org, "item", "-", "--url", self.server.urls["admin"], "--token", self.all_token],
            input="{bad", capture_output=True, text=True).stderr)
        for group, name in (("profile", "p"), ("role", "r"), ("entity", "item")):
            data(group, "delete", org, name)
            run(group, "get", org, name, code=1)
        self.assertEqual(data("org", "delete", org)["state"], "closed")
        for arguments in (("org",), ("org", "get"), ("nope",), ("org", "create", org, "--wait", "soon"), ("pull", "--org", org),
                          ("token", "--sub", "a", "--expires", "soon"), ("org", "list", "--output", "xml"), ()):
            run(*arguments, code=2)
        for arguments in (("org", "get", "never-was"), ("org", "create", "Bad_Name"), ("ingest", "/no/file", "--org", org)):
            run(*arguments, code=1)


def main():
    global BINARY
    BINARY = sys.argv.pop(1)
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
