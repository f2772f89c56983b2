"""The sync listener against gateways/docs/api.md, sections 3 and 4: clients written from that page, a real server under
random changes, and a plain model of what a caller's rows are at each position.

    api_sync_test.py BINARY [--seed N] [--steps N]
"""

import argparse
import copy
import http.client
import json
import os
import pathlib
import random
import shutil
import socket
import sys
import tempfile
import time
import unittest
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import Http, Sluice  # noqa: E402
from xxh64 import xxh64  # noqa: E402

ARGS = argparse.Namespace()
SECRET = "of-another-org"
ACCOUNT = {"primary_key": "id", "attributes": [
    {"name": "id", "type": "string"}, {"name": "name", "type": "string"}, {"name": "owner", "type": "string"},
    {"name": "team", "type": "string"}, {"name": "unit", "type": "string"}, {"name": "n", "type": "int64"}],
    "ownership": {"user": "owner", "team": "team", "business_unit": "unit"}}
NOTE = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}, {"name": "owner", "type": "string"},
                                            {"name": "name", "type": "string"}], "ownership": {"user": "owner"}}
SCHEMAS = {"account": ACCOUNT, "note": NOTE}
KINDS = {"account": ["all", "user", "team", "business_unit"], "note": ["all", "user"]}
USERS, TEAMS, UNITS, ROLES = ["anna", "bert"], ["t1", "t2", "t3"], ["u1", "u2"], ["r1", "r2", "r3"]


class Claims:
    """Who asks: what a token says."""

    def __init__(self, sub, roles, teams, unit):
        self.sub, self.roles, self.teams, self.unit = sub, tuple(roles), tuple(teams), unit

    def matches(self, kind, entity, row):
        if kind == "all":
            return True
        attribute = SCHEMAS[entity]["ownership"][kind]
        return row.get(attribute) in {"user": [self.sub], "team": self.teams,
                                      "business_unit": [self.unit] if self.unit else []}[kind]


class State:
    """The organisation after a change: definitions and rows."""

    def __init__(self):
        self.entities, self.profiles, self.roles = set(), {}, {}
        self.rows, self.versions = {}, {}

    def caller_rows(self, claims):
        """(entity, key) -> row, or None where the caller may not sync at all."""
        roles = [self.roles[name] for name in claims.roles if name in self.roles]
        if not any(role["offline"] for role in roles):
            return None
        readable = {entity for role in roles for entity, right in role["entities"].items() if right["read"]}
        rules = {(entity, rule["kind"]) for profile in self.profiles.values()
                 if any(name in self.roles and name in claims.roles for name in profile["roles"])
                 for entity, list_ in profile["entities"].items() for rule in list_}
        return {(entity, key): row for (entity, key), row in self.rows.items() if entity in readable and any(
            of == entity and claims.matches(kind, entity, row) for of, kind in rules)}

    def apply(self, op):
        entity = op["entity"]
        key = op.get("key") or op["row"]["id"]
        version, stored = op.get("version"), self.versions.get((entity, key))
        if version is not None:
            if stored is not None and int(version) <= stored:
                return
        if op["op"] == "upsert":
            self.rows[(entity, key)] = {name: value for name, value in op["row"].items() if value is not None}
        elif op["op"] == "patch":
            if (entity, key) not in self.rows:
                return
            merged = {**self.rows[(entity, key)], **op["row"]}
            self.rows[(entity, key)] = {name: value for name, value in merged.items() if value is not None}
        else:
            self.rows.pop((entity, key), None)
        if version is not None:
            self.versions[(entity, key)] = int(version)


class World:
    """Changes a real organisation at random and keeps the state at each position."""

    def __init__(self, server, seed, org="acme"):
        self.server, self.org, self.random = server, org, random.Random(seed)
        self.tokens, self.ids, self.epoch, self.incarnation = {}, 0, 0, 0
        self.reconnect()
        self.open()

    def reconnect(self):
        self.admin = Http(self.server.urls["admin"], self.token("sluice.admin sluice.ingest"))

    def token(self, scope, claims=None, expires="12h"):
        key = (scope, expires) + ((claims.sub, claims.roles, claims.teams, claims.unit) if claims else ())
        if key not in self.tokens:
            arguments = ["token", "--data-dir", self.server.data, "--scope", scope, "--expires", expires, "--sub",
                         claims.sub if claims else "test"]
            if claims:
                arguments += ["--org", self.org] + (["--business-unit", claims.unit] if claims.unit else [])
                for flag, values in (("--role", claims.roles), ("--team", claims.teams)):
                    for value in values:
                        arguments += [flag, value]
            self.tokens[key] = self.server.command(*arguments).stdout.strip()
        return self.tokens[key]

    def open(self):
        self.admin.json("PUT", f"/v1/orgs/{self.org}?wait=30s", {"display_name": self.org})
        self.state, self.history, self.position, self.versions = State(), [(-1, State())], -1, 0
        self.incarnation += 1
        self.epoch += 1
        for entity in SCHEMAS:
            self.define_entity(entity)
        for name in ROLES:
            self.define_role(name)
        self.define_profile("p1")
        self.define_profile("p2")

    def reprovision(self):
        self.admin.json("DELETE", f"/v1/orgs/{self.org}?wait=30s")
        self.open()

    def note(self, position):
        self.position = max(self.position, int(position))
        self.history.append((int(position), copy.deepcopy(self.state)))

    def at(self, position):
        return next(state for at, state in reversed(self.history) if at <= position)

    def put(self, path, body):
        answer = self.admin.json("PUT", f"/v1/orgs/{self.org}/{path}", body)
        self.epoch += 1
        self.note(answer["position"])

    def delete(self, path):
        answer = self.admin.json("DELETE", f"/v1/orgs/{self.org}/{path}")
        self.epoch += 1
        self.note(answer["position"])

    def define_entity(self, entity):
        self.state.entities.add(entity)
        self.put(f"entities/{entity}", SCHEMAS[entity])

    def delete_entity(self, entity):
        self.state.entities.discard(entity)
        for table in (self.state.rows, self.state.versions):
            for name in [name for name in table if name[0] == entity]:
                del table[name]
        self.delete(f"entities/{entity}")

    def define_role(self, name):
        reads = {entity: {"read": self.random.random() < 0.8} for entity in self.state.entities}
        self.state.roles[name] = {"offline": self.random.random() < 0.85, "entities": reads}
        self.put(f"roles/{name}", self.state.roles[name])

    def define_profile(self, name):
        rules = {entity: [{"kind": kind} for kind in self.random.sample(KINDS[entity], self.random.randint(1, 2))]
                 for entity in sorted(self.state.entities) if self.random.random() < 0.9}
        self.state.profiles[name] = {"entities": rules, "roles": self.random.sample(ROLES, self.random.randint(1, 2))}
        self.put(f"profiles/{name}", self.state.profiles[name])

    def random_op(self, entity):
        key = f"k{self.random.randrange(30)}"
        kind = self.random.choices(["upsert", "patch", "delete"], [5, 3, 2])[0]
        values = {"name": f"n{self.random.randrange(1000)}", "owner": self.random.choice(USERS + [None])}
        if entity == "account":
            values |= {"team": self.random.choice(TEAMS + [None]), "unit": self.random.choice(UNITS + [None]),
                       "n": self.random.choice([str(2**60 + self.random.randrange(9)), None])}
        op = {"op": kind, "entity": entity}
        if kind == "upsert":
            op["row"] = {"id": key, **values}
        else:
            op["key"] = key
            if kind == "patch":
                op["row"] = {name: values[name] for name in self.random.sample(sorted(values), 2)}
        if self.random.random() < 0.3:
            self.versions += 1
            op["version"] = str(max(0, self.versions - self.random.randrange(4)))
        return op

    def ingest(self, sets=1):
        lines = []
        for _ in range(sets):
            ops = [self.random_op(self.random.choice(sorted(self.state.entities)))
                   for _ in range(self.random.choice([1, 1, 3, 12]))]
            self.ids += 1
            lines.append({"id": f"s{self.ids}", "source": "test", "ops": ops})
        _, _, body = self.admin.request("POST", f"/v1/orgs/{self.org}/changes",
                                        "\n".join(map(json.dumps, lines)).encode(), "application/x-ndjson")
        for line, answer in zip(lines, map(json.loads, body.splitlines()), strict=True):
            for op in line["ops"]:
                self.state.apply(op)
            self.note(answer["position"])

    def change(self):
        """One random change."""
        what = self.random.choices(["ingest", "profile", "role", "drop_role", "drop_profile", "entity", "same"],
                                   [60, 10, 6, 2, 2, 3, 3])[0]
        if what == "ingest" and self.state.entities:
            self.ingest(self.random.choice([1, 2, 5]))
        elif what == "profile":
            self.define_profile(self.random.choice(["p1", "p2", "p3"]))
        elif what == "role":
            self.define_role(self.random.choice(ROLES))
        elif what == "drop_role" and len(self.state.roles) > 1:
            name = self.random.choice(sorted(self.state.roles))
            del self.state.roles[name]
            self.delete(f"roles/{name}")
        elif what == "drop_profile" and len(self.state.profiles) > 1:
            name = self.random.choice(sorted(self.state.profiles))
            del self.state.profiles[name]
            self.delete(f"profiles/{name}")
        elif what == "entity":
            entity = self.random.choice(sorted(SCHEMAS))
            if entity in self.state.entities:
                self.delete_entity(entity)
            else:
                self.define_entity(entity)
        elif what == "same" and self.state.profiles:
            name = self.random.choice(sorted(self.state.profiles))
            if self.state.profiles[name]["entities"].keys() <= self.state.entities:
                self.put(f"profiles/{name}", self.state.profiles[name])

    def settle(self):
        """Until the server has applied everything so far."""
        deadline = time.monotonic() + 30
        while int(self.admin.json("GET", f"/v1/orgs/{self.org}").get("applied", -1)) < self.position:
            assert time.monotonic() < deadline, "the server does not catch up"

    def claims(self):
        pick = self.random.sample
        return Claims(self.random.choice(USERS), pick(ROLES, self.random.randint(1, 3)),
                      pick(TEAMS, self.random.randint(0, 2)), self.random.choice(UNITS + [None]))


def delta_path(org, **query):
    return f"/v1/orgs/{org}/delta?" + urllib.parse.urlencode({k: v for k, v in query.items() if v is not None})


class DeltaDevice:
    """A client of section 3.1 that asks again, goes back and is somebody else from time to time."""

    def __init__(self, test, world, may_expire):
        self.test, self.world, self.random = test, world, world.random
        self.rows, self.cursor, self.position, self.incarnation = {}, None, -1, world.incarnation
        self.claims = world.claims()
        self.earlier = []  # (epoch, claims, cursor)
        self.complete = self.expired = self.restless = 0
        self.may_expire = may_expire

    def get(self, **query):
        http_ = Http(self.world.server.urls["sync"], self.world.token("sluice.sync", self.claims))
        while True:
            status, headers, body = http_.request("GET", delta_path(self.world.org, **query))
            self.test.assertNotIn(SECRET.encode(), body)
            page = json.loads(body)
            if status != 503:
                return status, headers, page
            self.test.assertEqual(page["code"], "not_caught_up")  # after a restart
            self.test.assertIn("Retry-After", headers)

    def page(self):
        """Fetches and applies one page; True when the caller is complete."""
        if self.random.random() < 0.1:
            self.claims = self.world.claims()
        world = self.world
        settled = self.random.random() < 0.6
        if settled:
            world.settle()
        cursor = self.cursor
        usable = [c for epoch, claims, c in self.earlier if epoch == world.epoch and claims is self.claims]
        if usable and self.random.random() < 0.1:
            cursor = self.random.choice(usable)
        limit = self.random.choice([1, 2, 7, 50, 1000])
        for _ in range(2 if self.random.random() < 0.1 else 1):  # the same page once more is harmless
            status, headers, page = self.get(cursor=cursor, limit=limit)
            if status == 403:
                world.settle()
                status, headers, page = self.get(cursor=cursor, limit=limit)
                if status == 403:
                    self.test.assertEqual(page["code"], "offline_not_allowed")
                    self.test.assertIsNone(world.state.caller_rows(self.claims))
                    self.claims = world.claims()
                    return False
            if status == 410:
                anew = self.incarnation != world.incarnation
                self.test.assertEqual(page["code"], "org_reprovisioned" if anew else "cursor_expired")
                # One whose buckets changed some 30 times before it had read its pages starts anew:
                # sync.md says so. Nothing else is a reason here.
                restless = "changed too often while pages were read" in page["detail"]
                self.test.assertTrue(anew or self.may_expire or restless, page)
                self.expired += not anew and not restless
                self.restless += restless
                self.test.assertNotIn("cursor=", headers["Location"])
                self.rows, self.cursor, self.position, self.earlier = {}, None, -1, []
                self.incarnation = world.incarnation
                return False
            self.test.assertEqual(status, 200, page)
            if self.cursor is None:
                self.incarnation = world.incarnation
            self.apply(page, limit, settled)
        self.cursor = page["cursor"]
        self.earlier.append((world.epoch, self.claims, self.cursor))
        if page["more"]:
            return False
        position = int(page["position"])
        self.test.assertGreaterEqual(position, self.position)
        self.position = position
        self.test.assertEqual(self.rows, world.at(position).caller_rows(self.claims))
        self.complete += 1
        return True

    def apply(self, page, limit, settled):
        self.test.assertLessEqual(len(page["ops"]), limit)
        mine = self.world.state.caller_rows(self.claims) if settled else None
        for op in page["ops"]:
            name = (op["entity"], op["key"])
            if settled:  # what is sent is true now
                self.test.assertEqual(mine.get(name), op.get("row"), op)
            if op["op"] == "put":
                self.rows[name] = op["row"]
            else:
                self.rows.pop(name, None)


class StreamDevice:
    """A client of section 3.2 whose connection breaks anywhere."""

    def __init__(self, test, world):
        self.test, self.world, self.random = test, world, world.random
        self.buckets, self.after, self.checkpoint = {}, {}, None
        self.shown, self.position = {}, -1
        self.claims = world.claims()
        self.connection = None
        self.complete = self.resets = 0

    def connect(self, live):
        self.sse = self.random.random() < 0.5
        url = urllib.parse.urlsplit(self.world.server.urls["sync"])
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
        have = [{"bucket": bucket, "after": after} for bucket, after in self.after.items()]
        self.connection.request("POST", f"/v1/orgs/{self.world.org}/stream", json.dumps({"have": have, "live": live}), {
            "Authorization": "Bearer " + self.world.token("sluice.sync", self.claims),
            "Content-Type": "application/json", "Accept": "text/event-stream" if self.sse else "application/x-ndjson"})
        self.response = self.connection.getresponse()
        self.checkpoint, self.event = None, None
        return self.response.status

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def frame(self):
        """The next frame as (name, content); None at the end."""
        while True:
            line = self.response.readline()
            if not line.endswith(b"\n"):
                return None
            self.test.assertNotIn(SECRET.encode(), line)
            line = line.rstrip(b"\r\n")
            if not self.sse:
                (name, content), = json.loads(line).items()
                return name, content
            if line.startswith(b"event:"):
                self.event = line[6:].strip().decode()
            elif line.startswith(b"data:"):
                (name, content), = json.loads(line[5:]).items()
                self.test.assertEqual(self.event, name)
                return name, content

    def apply(self, name, content):
        if name == "checkpoint":
            self.checkpoint = content
            for bucket in content["removed"]:
                self.buckets.pop(bucket, None)
                self.after.pop(bucket, None)
        elif name == "reset":
            self.resets += 1
            self.buckets.pop(content["bucket"], None)
            self.after.pop(content["bucket"], None)
        elif name == "ops":
            self.ops(content)
        elif name == "checkpoint_complete":
            self.finish(content)
        elif name == "heartbeat":
            self.compare(int(content["position"]))
        else:
            self.test.assertEqual(name, "token_expires")

    def ops(self, content):
        bucket = content["bucket"]
        self.test.assertIn(bucket, [b["bucket"] for b in self.checkpoint["buckets"]])
        self.test.assertEqual(int(content["from"]), int(self.after.get(bucket, 0)))
        self.test.assertGreaterEqual(int(content["to"]), int(content["from"]))
        rows, last = self.buckets.setdefault(bucket, {}), (-1, -1)
        for op in content["ops"]:
            at = tuple(map(int, op["position"].split(".")))
            self.test.assertLess(last, at)
            last = at
            if op["op"] == "put":
                rows[(op["entity"], op["key"])] = (op["row"], op["position"])
            else:
                rows.pop((op["entity"], op["key"]), None)
        self.after[bucket] = content["to"]

    def finish(self, content):
        self.test.assertEqual(content["position"], self.checkpoint["position"])
        listed = {bucket["bucket"]: bucket for bucket in self.checkpoint["buckets"]}
        self.test.assertLessEqual(set(self.buckets), set(listed), "buckets that are neither listed nor removed")
        for bucket, promised in listed.items():
            rows = self.buckets.setdefault(bucket, {})
            total = sum(xxh64(b"\0".join(part.encode() for part in (entity, key, position)))
                        for (entity, key), (_, position) in rows.items()) % 2**64
            self.test.assertEqual((str(len(rows)), f"{total:016x}"), (promised["count"], promised["checksum"]), bucket)
        self.after = {bucket: content["position"] for bucket in listed}
        self.shown = {name: row for rows in self.buckets.values() for name, (row, _) in rows.items()}
        self.checkpoint = None
        self.compare(int(content["position"]))
        self.complete += 1

    def compare(self, position):
        self.test.assertIsNone(self.checkpoint)
        self.test.assertGreaterEqual(position, self.position)
        self.position = position
        self.test.assertEqual(self.shown, self.world.at(position).caller_rows(self.claims))

    def pull(self):
        """One connection: to the end, cut in the middle, or live until the world's position is reached."""
        if self.random.random() < 0.15:
            self.claims = self.world.claims()
        status = self.connect(live := self.random.random() < 0.4)
        while status == 503:  # after a restart
            self.close()
            status = self.connect(live)
        if status == 403:
            self.close()
            self.world.settle()
            if (status := self.connect(live)) == 403:
                self.test.assertIsNone(self.world.state.caller_rows(self.claims))
                self.close()
                self.claims = self.world.claims()
                return
        self.test.assertEqual(status, 200)
        frames = self.random.randrange(6) if self.random.random() < 0.4 else None
        while frames is None or frames > 0:
            next_ = self.frame()
            if next_ is None:  # ends where it should, or because the caller may not sync any more
                self.test.assertTrue(not live or self.world.state.caller_rows(self.claims) is None)
                break
            self.apply(*next_)
            frames = None if frames is None else frames - 1
            if live and self.checkpoint is None and self.position >= self.world.position:
                if self.random.random() < 0.4:
                    break
                self.world.change()
        self.close()


class ApiSyncTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-api-sync-"))
        self.servers = []

    def tearDown(self):
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def server(self, *arguments, name="server"):
        server = Sluice(ARGS.binary, self.folder / name, arguments)
        self.servers.append(server)
        return server.start()

    def test_random_changes(self):
        deltas, streams = self.random_changes(ARGS.seed, "--set", "sync.tombstone_horizon=1000000")
        self.assertEqual((sum(d.expired for d in deltas), sum(s.resets for s in streams)), (0, 0))

    def test_random_changes_near_the_horizon(self):
        deltas, streams = self.random_changes(ARGS.seed + 1, "--set", "sync.tombstone_horizon=12", may_expire=True)
        self.assertGreater(sum(d.expired for d in deltas) + sum(s.resets for s in streams), 0)

    def random_changes(self, seed, *arguments, may_expire=False):
        server = self.server("--set", "sync.heartbeat=50ms", "--set", "log.partitions=1", *arguments)
        self.other_org(server)
        world = World(server, seed)
        deltas = [DeltaDevice(self, world, may_expire) for _ in range(3)]
        streams = [StreamDevice(self, world) for _ in range(2)]
        for _ in range(ARGS.steps):
            world.change()
            for device in deltas:
                for _ in range(world.random.randrange(4)):
                    device.page()
            for device in streams:
                if world.random.random() < 0.4:
                    device.pull()
            if world.random.random() < 0.01:
                world.reprovision()
                for device in streams:
                    device.position = -1
            if world.random.random() < 0.02:
                world.random.choice([server.kill, server.stop])()
                server.start()
                world.reconnect()
        world.state.roles["r1"] = {"offline": True, "entities": {}}
        world.put("roles/r1", world.state.roles["r1"])
        for device in deltas:
            for _ in range(1000):
                if device.page() and device.position == world.position:
                    break
            else:
                self.fail("pages without end")
        print(f"expired {sum(d.expired for d in deltas)}, resets {sum(s.resets for s in streams)}, "
              f"complete pages {sum(d.complete for d in deltas)}, checkpoints {sum(s.complete for s in streams)}, "
              f"positions {len(world.history)}", file=sys.stderr)
        self.assertGreater(sum(d.complete for d in deltas), ARGS.steps / 4)
        self.assertLessEqual(sum(d.restless for d in deltas), 3)  # mostly none
        self.assertGreater(sum(s.complete for s in streams), ARGS.steps / 8)
        return deltas, streams

    def other_org(self, server):
        """An organisation in the same partition, whose rows must not show up anywhere."""
        world = World(server, 1, org="other")
        world.admin.json("POST", "/v1/orgs/other/changes", [{"id": f"o{i}", "source": "o", "ops": [
            {"op": "upsert", "entity": "account", "row": {"id": f"k{i}", "name": SECRET, "owner": "anna", "team": "t1"}}]}
            for i in range(20)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--steps", type=int, default=90)
    parser.parse_known_args(namespace=ARGS)
    print(f"seed {ARGS.seed}", file=sys.stderr)
    rest = parser.parse_known_args()[1]
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
