"""kill -9 of the whole process under load, again and again, on either log.

Writers post change sets and send those again that got no answer; clients pull with what they have. At the
end, the log itself (first occurrence of each set's id) is folded here in a few lines, and:
- every acknowledged set is in it, once for its readers;
- every client's rows at every position at which it was complete equal that fold at that position, by the
  profile that was in force there: by owner, by a filter, and related in both directions;
- a SQLite file pulled all along equals it too; the store verifies itself, and its digest is that of a
  rebuild from offset 0.

    kill_run.py --binary build/release/bin/sluice --cycles 25 [--brokers HOST:PORT] [--seed N]
"""

import argparse
import http.client
import json
import pathlib
import random
import sqlite3
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import DeltaClient, Http, Sluice, brokers, ending  # noqa: E402

ORG = "acme"
TEAMS = ["north", "south"]
USERS = ["anna", "bert"]
STRING = "string"
SCHEMAS = {
    "item": {"primary_key": "id", "attributes": [
        {"name": "id", "type": STRING}, {"name": "owner", "type": STRING}, {"name": "team", "type": STRING},
        {"name": "n", "type": "int64"}, {"name": "kindid", "type": STRING, "references": "kind"}],
        "ownership": {"user": "owner", "team": "team"}},
    "line": {"primary_key": "id", "attributes": [{"name": "id", "type": STRING},
                                                 {"name": "itemid", "type": STRING, "references": "item"}]},
    "kind": {"primary_key": "id", "attributes": [{"name": "id", "type": STRING}, {"name": "n", "type": "int64"}]}}
COLUMNS = {entity: [a["name"] for a in schema["attributes"]] for entity, schema in SCHEMAS.items()}
FILTER = {"kind": "filter", "where": "team in @teams and n lt 500"}
# What the profile says of items; lines and kinds follow them.
ITEM_RULES = [[{"kind": "user"}, FILTER], [{"kind": "user"}, {"kind": "team"}], [FILTER]]
CONNECTION_ERRORS = (ConnectionError, http.client.HTTPException, TimeoutError, OSError)


class Writer(threading.Thread):
    """Posts sets one after the other; a set without an answer is sent again, also after a restart."""

    def __init__(self, number, seed, sluice, token):
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.number, self.sluice, self.token = number, sluice, token
        self.made = 0
        self.sent, self.acked = {}, {}
        self.stopping = threading.Event()
        self.failure = None

    def make_row(self, entity, key):
        if entity == "line":
            return {"id": key, "itemid": f"r{self.random.randint(0, 79)}"}
        if entity == "kind":
            return {"id": key, "n": self.random.randint(0, 999)}
        return {"id": key, "owner": self.random.choice(USERS + ["carl"]), "team": self.random.choice(TEAMS + ["west"]),
                "n": self.random.randint(0, 999), "kindid": f"k{self.random.randint(0, 9)}"}

    def make_set(self):
        ops = []
        for _ in range(self.random.randint(1, 4)):
            entity = self.random.choice(["item", "item", "line", "line", "kind"])
            key = {"item": f"r{self.random.randint(0, 79)}", "line": f"l{self.random.randint(0, 199)}",
                   "kind": f"k{self.random.randint(0, 9)}"}[entity]
            kind = self.random.random()
            if kind < 0.15:
                ops.append({"op": "delete", "entity": entity, "key": key})
            elif kind < 0.35:
                row = self.make_row(entity, key)
                name = self.random.choice(sorted(set(row) - {"id"}))
                ops.append({"op": "patch", "entity": entity, "key": key, "row": {name: row[name]}})
            else:
                ops.append({"op": "upsert", "entity": entity, "row": self.make_row(entity, key)})
        self.made += 1
        return {"id": f"w{self.number}-{self.made}", "source": "kill-run", "ops": ops}

    def run(self):
        http_client, batch = None, []
        try:
            while not self.stopping.is_set() or batch:
                if not batch:
                    batch = [self.make_set() for _ in range(self.random.randint(1, 20))]
                    self.sent.update((change["id"], change["ops"]) for change in batch)
                try:
                    http_client = http_client or Http(self.sluice.urls["admin"], self.token, timeout=30)
                    body = "".join(json.dumps(change) + "\n" for change in batch).encode()
                    status, _, answer = http_client.request("POST", f"/v1/orgs/{ORG}/changes", body,
                                                            content_type="application/x-ndjson")
                except CONNECTION_ERRORS:
                    http_client = None
                    self.stopping.wait(0.02)
                    continue
                if status != 200:
                    self.stopping.wait(0.02)
                    continue
                for line in answer.decode().splitlines():
                    one = json.loads(line)
                    if "position" in one:
                        self.acked[one["id"]] = int(one["position"])
                    elif one["error"].get("status", 500) < 500 and one["error"].get("status") != 409:
                        raise AssertionError(f"refused: {line}")
                batch = [change for change in batch if change["id"] not in self.acked]
        except Exception as failure:  # reported by the main thread
            self.failure = failure


def apply(rows, ops):
    """One change set, as gateways/docs/api.md, section 2, says; rows by (entity, key)."""
    for op in ops:
        key = op["entity"], op.get("key") or op["row"]["id"]
        if op["op"] == "upsert":
            rows[key] = dict(op["row"])
        elif op["op"] == "patch" and key in rows:
            rows[key].update(op["row"])
        elif op["op"] == "delete":
            rows.pop(key, None)


def fold(events, visit):
    """The rows after all events, each set's id once; calls visit(position, rows, rules) after each event."""
    rows, seen, rules = {}, set(), []
    for position, identity, what in events:
        if identity is None:
            rules = what
        elif identity not in seen:
            seen.add(identity)
            apply(rows, what)
        visit(position, rows, rules)
    return rows, rules


def visible(rows, rules, user, teams):
    def passes(row):
        by_rule = {"user": row.get("owner") == user, "team": row.get("team") in teams,
                   "filter": row.get("team") in teams and int(row.get("n", 500)) < 500}
        return any(by_rule[rule] for rule in rules)
    items = {k: r for k, r in rows.items() if k[0] == "item" and passes(r)}
    kinds = {r.get("kindid") for r in items.values()}
    related = {k: r for k, r in rows.items() if (k[0] == "line" and ("item", r.get("itemid")) in items) or
               (k[0] == "kind" and k[1] in kinds)}
    return items | related


def rule_kinds(profile):
    """The kinds of the rules that a profile has for items, from the event's payload."""
    of_items = [e for e in profile["profile"].get("entities", []) if e["entity"] == "item"]
    return [rule["kind"].removeprefix("RULE_KIND_").lower() for e in of_items for rule in e.get("rules", [])]


def comparable(rows):
    return {k: {name: str(value) for name, value in row.items()} for k, row in rows.items()}


class Run:
    def __init__(self, options, folder):
        self.options = options
        self.random = random.Random(options.seed)
        arguments = ["--set", "staging.checkpoint_interval=300ms"]
        self.log_arguments = []
        if options.brokers:
            prefix = f"kill{options.seed}-{int(time.time())}."
            self.log_arguments = ["--brokers", options.brokers, "--topic-prefix", prefix]
            arguments += ["--log", "kafka", "--brokers", options.brokers, "--set", f"log.topic_prefix={prefix}"]
        self.sluice = Sluice(options.binary, folder / "server", arguments)
        self.folder = folder
        self.compared = 0
        self.history = []  # (user, teams, position, rows) at each complete pull

    def provision(self):
        admin = Http(self.sluice.urls["admin"], self.sluice.token("sluice.admin"))
        admin.json("PUT", f"/v1/orgs/{ORG}?wait=30s", {"display_name": "Acme"})
        for entity, schema in SCHEMAS.items():
            admin.json("PUT", f"/v1/orgs/{ORG}/entities/{entity}?wait=30s", schema)
        admin.json("PUT", f"/v1/orgs/{ORG}/roles/field?wait=30s",
                   {"offline": True, "entities": {entity: {"read": True} for entity in SCHEMAS}})
        self.put_profile(admin)

    def put_profile(self, admin):
        admin.json("PUT", f"/v1/orgs/{ORG}/profiles/field?wait=30s", {"roles": ["field"], "entities": {
            "item": self.random.choice(ITEM_RULES), "line": [{"kind": "related", "through": "line.itemid"}],
            "kind": [{"kind": "related", "through": "item.kindid"}]}}, expect=(200, 202, 503))

    def pull_all(self, clients, fatal):
        for (user, teams), (client, token) in clients.items():
            try:
                http_client = Http(self.sluice.urls["sync"], token, timeout=30)
                # Smaller pages would fall behind the writers for good: a load ends where nothing is left to read.
                client.pull(http_client, limit=self.random.choice([50, 200, 1000]), wait="30s" if fatal else None)
                self.history.append((user, teams, client.position, {k: dict(r) for k, r in client.rows.items()}))
            except CONNECTION_ERRORS:
                if fatal:
                    raise

    def pull_sqlite(self, token, check):
        self.sluice.command("pull", "--url", self.sluice.urls["sync"], "--org", ORG, "--db", self.folder / "anna.sqlite",
                            env={"SLUICE_TOKEN": token}, check=check)

    def run(self):
        self.sluice.start()
        self.provision()
        ingest = self.sluice.token("sluice.ingest")
        clients = {(user, (team,)): (DeltaClient(ORG), self.sluice.token("sluice.sync", user, ORG, ["field"], [team]))
                   for user, team in zip(USERS, TEAMS)}
        anna = clients[("anna", ("north",))][1]
        writers = [Writer(i, self.random.random(), self.sluice, ingest) for i in range(4)]
        for writer in writers:
            writer.start()
        for cycle in range(self.options.cycles):
            end = time.monotonic() + self.random.uniform(0.1, self.options.period)
            while time.monotonic() < end:
                self.pull_all(clients, fatal=False)
            if cycle % 2 == 1:
                self.put_profile(Http(self.sluice.urls["admin"], self.sluice.token("sluice.admin"), timeout=60))
            killer = threading.Timer(self.random.uniform(0.0, 0.05), self.sluice.kill)
            killer.start()
            self.pull_all(clients, fatal=False)
            killer.join()
            self.sluice.start()
            if cycle % 5 == 0:
                self.pull_sqlite(anna, check=False)
            failures = [writer.failure for writer in writers if writer.failure]
            if failures:
                raise failures[0]
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join(timeout=60)
            if writer.failure or writer.is_alive():
                raise writer.failure or AssertionError("a writer got no answer within a minute")
        self.settle(max(max(w.acked.values()) for w in writers))
        self.pull_all(clients, fatal=True)
        self.pull_sqlite(anna, check=True)
        self.check(writers)

    def settle(self, position):
        admin = Http(self.sluice.urls["admin"], self.sluice.token("sluice.admin"))
        deadline = time.monotonic() + 60
        while int((admin.json("GET", f"/v1/orgs/{ORG}", expect=(200, 503)) or {}).get("applied", -1)) < position:
            if time.monotonic() > deadline:
                raise AssertionError(f"position {position} was not applied within a minute after the last restart")
            time.sleep(0.02)  # polls the server's progress

    def check(self, writers):
        code = self.sluice.stop()
        assert code == 0, f"a graceful stop ended with {code}:\n{self.sluice.tail()}"
        dump_source = self.log_arguments or ["--data-dir", self.sluice.data]
        dump = self.sluice.command("log", "dump", "changes", *dump_source, "--limit", 100_000_000).stdout
        sent = {identity: ops for writer in writers for identity, ops in writer.sent.items()}
        sets, events = [], []
        for line in dump.splitlines():
            event = json.loads(line)
            if event["key"] == ORG and event["type"] == "sluice.v1.ChangeSet":
                identity = event["payload"]["id"]
                sets.append((int(event["offset"]), identity, sent[identity]))
            elif event["key"] == ORG and event["type"] == "sluice.v1.ProfileDefined":
                events.append((int(event["offset"]), None, rule_kinds(event["payload"])))
        sets.sort(key=lambda one: one[0])
        events = sorted(events + sets, key=lambda one: one[0])
        first = {}
        for position, identity, _ in sets:
            first.setdefault(identity, position)
        acked = {identity: position for writer in writers for identity, position in writer.acked.items()}
        lost = [identity for identity in acked if identity not in first]
        assert not lost, f"{len(lost)} acknowledged sets are not in the log, such as {lost[0]}"
        early = [identity for identity, position in acked.items() if position < first[identity]]
        assert not early, f"{len(early)} sets were acknowledged before their place, such as {early[0]}"
        self.history.sort(key=lambda one: one[2])
        pending = [one for one in self.history if one[2] >= events[0][0]]

        def compare(position, rows, rules):
            following = next((p for p, _, _ in events[self.compared + 1:self.compared + 2]), 1 << 62)
            self.compared += 1
            while pending and pending[0][2] < following:
                user, teams, at, found = pending.pop(0)
                found, wanted = comparable(found), comparable(visible(rows, rules, user, teams))
                wrong = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
                assert not wrong, (f"{user} at position {at} differs from the log in {len(wrong)} rows: {wrong[0]} is "
                                   f"{found.get(wrong[0])}, should be {wanted.get(wrong[0])}")

        final, rules = fold(events, compare)
        assert not pending, "a client was at a position that the log does not have"
        connection = sqlite3.connect(self.folder / "anna.sqlite")
        found = {(entity, r[0]): {k: str(v) for k, v in zip(columns, r) if v is not None}
                 for entity, columns in COLUMNS.items()
                 for r in connection.execute(f"SELECT {', '.join(columns)} FROM {entity}")}
        assert found == comparable(visible(final, rules, "anna", ("north",))), "the SQLite file differs from the log"
        self.check_store(len(final))
        print(f"{self.options.cycles} kills, {len(acked)} acknowledged sets ({len(sets) - len(first)} sent twice into the "
              f"log, applied once), {len(self.history)} complete pulls equal to the log at their positions, "
              f"{len(final)} rows, digest equal to a rebuild's; seed {self.options.seed}")

    def check_store(self, rows):
        before = json.loads(self.sluice.command("store", "verify", "--data-dir", self.sluice.data, "--output", "json").stdout)
        store = [one for one in before["stores"] if one["org"] == ORG][0]
        assert store["ok"] and store["records"] == rows, f"the store is not right: {store}, {rows} rows expected"
        # A rebuild from offset 0: the stores go, the log stays.
        (self.sluice.data / "stores").rename(self.folder / "old-stores")
        self.sluice.start()
        self.settle(int(store["applied"]))
        self.sluice.stop()
        after = json.loads(self.sluice.command("store", "verify", "--data-dir", self.sluice.data, "--output", "json").stdout)
        rebuilt = [one for one in after["stores"] if one["org"] == ORG][0]
        assert rebuilt["digest"] == store["digest"], f"a rebuild differs: {rebuilt} and {store}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--cycles", type=int, default=25)
    parser.add_argument("--period", type=float, default=1.5, help="longest time between kills, in seconds")
    parser.add_argument("--brokers", default="")
    parser.add_argument("--broker-script", default="", help="run over Kafka: SLUICE_TEST_BROKERS, or a broker started with this")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randint(1, 1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sluice-kill-") as folder:
        if options.broker_script:
            options.brokers = brokers(options.broker_script, folder)
        run = Run(options, pathlib.Path(folder))
        with ending([run.sluice]):
            run.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
