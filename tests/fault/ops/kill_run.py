"""kill -9 of the whole process under load, again and again, on either log.

Writers post change sets and send those again that got no answer; clients pull with what they have. At the
end, the log itself (first occurrence of each set's id) is folded here in a few lines, and:
- every acknowledged set is in it, once for its readers;
- every client's rows at every position at which it was complete equal that fold at that position;
- a SQLite file pulled all along equals it too; the store verifies itself, and its digest is that of a
  rebuild from offset 0.

    kill_run.py --binary build/release/bin/sluice --cycles 25 [--brokers HOST:PORT] [--seed N]
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import DeltaClient, Http, Sluice  # noqa: E402

ORG = "acme"
TEAMS = ["north", "south"]
USERS = ["anna", "bert"]
SCHEMA = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}, {"name": "owner", "type": "string"},
                                              {"name": "team", "type": "string"}, {"name": "n", "type": "int64"}],
          "ownership": {"user": "owner", "team": "team"}}
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

    def make_set(self):
        ops = []
        for _ in range(self.random.randint(1, 4)):
            key = f"r{self.random.randint(0, 199)}"
            kind = self.random.random()
            if kind < 0.15:
                ops.append({"op": "delete", "entity": "item", "key": key})
            elif kind < 0.35:
                ops.append({"op": "patch", "entity": "item", "key": key, "row": {"n": self.random.randint(0, 999)}})
            else:
                ops.append({"op": "upsert", "entity": "item", "row": {
                    "id": key, "owner": self.random.choice(USERS + ["carl"]), "team": self.random.choice(TEAMS + ["west"]),
                    "n": self.random.randint(0, 999)}})
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
    """One change set, as API section 2 says."""
    for op in ops:
        key = op.get("key") or op["row"]["id"]
        if op["op"] == "upsert":
            rows[key] = dict(op["row"])
        elif op["op"] == "patch" and key in rows:
            rows[key].update(op["row"])
        elif op["op"] == "delete":
            rows.pop(key, None)


def fold(sets, visit):
    """The rows after all sets, each id once; calls visit(position, rows) after each set."""
    rows, seen = {}, set()
    for position, identity, ops in sets:
        if identity not in seen:
            seen.add(identity)
            apply(rows, ops)
        visit(position, rows)
    return rows


def visible(rows, user, teams):
    return {k: r for k, r in rows.items() if r.get("owner") == user or r.get("team") in teams}


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
        admin.json("PUT", f"/v1/orgs/{ORG}/entities/item?wait=30s", SCHEMA)
        admin.json("PUT", f"/v1/orgs/{ORG}/roles/field?wait=30s", {"offline": True, "entities": {"item": {"read": True}}})
        admin.json("PUT", f"/v1/orgs/{ORG}/profiles/field?wait=30s",
                   {"entities": {"item": [{"kind": "user"}, {"kind": "team"}]}, "roles": ["field"]})

    def pull_all(self, clients, fatal):
        for (user, teams), (client, token) in clients.items():
            try:
                http_client = Http(self.sluice.urls["sync"], token, timeout=30)
                client.pull(http_client, limit=self.random.choice([1, 7, 50, 1000]), wait="30s" if fatal else None)
                self.history.append((user, teams, client.position, {k[1]: dict(r) for k, r in client.rows.items()}))
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
        sets = []
        for line in dump.splitlines():
            event = json.loads(line)
            if event["type"] == "sluice.v1.ChangeSet" and event["key"] == ORG:
                identity = event["payload"]["id"]
                sets.append((int(event["offset"]), identity, sent[identity]))
        sets.sort(key=lambda one: one[0])
        first = {}
        for position, identity, _ in sets:
            first.setdefault(identity, position)
        acked = {identity: position for writer in writers for identity, position in writer.acked.items()}
        lost = [identity for identity in acked if identity not in first]
        assert not lost, f"{len(lost)} acknowledged sets are not in the log, such as {lost[0]}"
        early = [identity for identity, position in acked.items() if position < first[identity]]
        assert not early, f"{len(early)} sets were acknowledged before their place, such as {early[0]}"
        self.history.sort(key=lambda one: one[2])
        pending = [one for one in self.history if sets and one[2] >= sets[0][0]]

        def compare(position, rows):
            following = next((p for p, _, _ in sets[self.compared + 1:self.compared + 2]), 1 << 62)
            self.compared += 1
            while pending and pending[0][2] < following:
                user, teams, at, found = pending.pop(0)
                found, wanted = comparable(found), comparable(visible(rows, user, teams))
                wrong = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
                assert not wrong, (f"{user} at position {at} differs from the log in {len(wrong)} rows: {wrong[0]} is "
                                   f"{found.get(wrong[0])}, should be {wanted.get(wrong[0])}")

        final = fold(sets, compare)
        assert not pending, "a client was at a position that the log does not have"
        connection = sqlite3.connect(self.folder / "anna.sqlite")
        found = {r[0]: {k: str(v) for k, v in zip(("id", "owner", "team", "n"), r) if v is not None}
                 for r in connection.execute("SELECT id, owner, team, n FROM item")}
        assert found == comparable(visible(final, "anna", ("north",))), "the SQLite file differs from the log"
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
            options.brokers = os.environ.get("SLUICE_TEST_BROKERS") or subprocess.run(
                [options.broker_script, "start", "--dir", f"{folder}/broker", "--owner", str(os.getpid())], check=True,
                stdout=subprocess.PIPE, text=True).stdout.split()[-1]
        run = Run(options, pathlib.Path(folder))
        try:
            run.run()
        except BaseException:
            print(run.sluice.tail(), file=sys.stderr)
            raise
        finally:
            run.sluice.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
