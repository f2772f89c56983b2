"""A source that is an OData service of other people's making (Apache Olingo), and kill -9 of both sides.

The service's rows are loaded, then changed at random, while it asks to be left alone (429), forgets its links (410),
and it and the server are killed at random moments, amid the load too. Clients pull all along. In the end
- the store, each client by its own filter, and a SQLite file have what the service has, no row less or more;
- no client was sent a row that it had as it is, nor more operations than there were first rows and changes;
- the store verifies itself.

With --brokers or --broker-script two processes read sources over one Kafka; one at a time is killed or paused (SIGSTOP),
for longer than the group waits, so that the other takes over and the first goes on as if it were the one.

    odata_kill_run.py --binary build/release/bin/sluice --rows 200000 --changes 20000 [--polled] [--seed N]
"""

import argparse
import collections
import http.client
import json
import pathlib
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "support"
sys.path[:0] = [str(SUPPORT), str(SUPPORT / "olingo")]
from olingo_service import OlingoService  # noqa: E402
from sluice_process import DeltaClient, Http, Sluice, brokers, ending  # noqa: E402

ORG = "acme"
LIMIT = 50_000  # of the balance: what one of the clients may have
GONE = (ConnectionError, http.client.HTTPException, TimeoutError, OSError)
SETTLED_S = 600  # how long a hang may last


class Client(DeltaClient):
    """Sees that each operation that it is sent is of some use."""

    def __init__(self):
        super().__init__(ORG)
        self.needless_deletes = 0

    def take(self, op):
        had = self.rows.get((op["entity"], op["key"]))
        if op["op"] == "put" and had == op["row"]:
            raise AssertionError(f"a row was sent that the client had: {op}")
        # A row that came and went between two pulls.
        self.needless_deletes += op["op"] != "put" and had is None
        super().take(op)


class Puller(threading.Thread):
    """Has a client follow, over restarts of the server."""

    def __init__(self, server, role):
        super().__init__(daemon=True)
        self.server, self.client = server, Client()
        self.token = server.token("sluice.sync", role, ORG, [role])
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self.stopping.wait(0.05):
                try:
                    with self.lock:
                        self.client.pull(Http(self.server.urls["sync"], self.token, timeout=20))
                except GONE:
                    pass
        except Exception as failure:  # reported by the main thread
            self.failure = failure

    def rows(self):
        with self.lock:
            return {int(key): (row["Name"], plain(row["Balance"])) for (_, key), row in self.client.rows.items()}


def plain(number):
    return str(number).rstrip("0").rstrip(".") if "." in str(number) else str(number)


def expected(service):
    rows = {}
    for key, row in service.rows().items():
        name, balance = row.split(" ")
        rows[int(key)] = name, plain(balance)
    return rows


def differences(have, want):
    wrong = [key for key in have.keys() | want.keys() if have.get(key) != want.get(key)]
    return [(key, have.get(key), want.get(key)) for key in sorted(wrong)[:5]], len(wrong)


class Run:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.random = random.Random(options.seed)
        self.counters = collections.Counter()
        self.service = OlingoService(options.rows, folder / "journal")
        arguments = ["--set", "staging.checkpoint_interval=500ms", "--set", "sources.interval_min=1s",
                     "--set", "sources.allow_hosts=127.0.0.1", "--set", "sources.allow_private=127.0.0.1"]
        if options.brokers:
            prefix = f"odata{options.seed}-{int(time.time())}."
            arguments += ["--log", "kafka", "--brokers", options.brokers, "--set", f"log.topic_prefix={prefix}"]
            self.dump_arguments = ["--brokers", options.brokers, "--topic-prefix", prefix]
        else:
            self.dump_arguments = []
        self.server = Sluice(options.binary, folder / "server", arguments)
        self.nodes = [self.server]
        if options.brokers:
            self.nodes.append(Sluice(options.binary, folder / "reader", [*arguments, "--set", "roles=sources"]))
        self.pullers = []

    def provision(self):
        admin = Http(self.server.urls["admin"], self.admin_token)
        admin.json("PUT", f"/v1/orgs/{ORG}?wait=30s", {})
        entity = {"set": "Customers"}
        if self.options.polled:
            entity |= {"modified": "Changed", "reconcile": "2s"}
        admin.json("PUT", f"/v1/orgs/{ORG}/entities/customer?wait=30s", {"primary_key": "ID", "attributes": [
            {"name": "ID", "type": "int64"}, {"name": "Name", "type": "string"}, {"name": "Balance", "type": "decimal"}]})
        admin.json("PUT", f"/v1/orgs/{ORG}/sources/shop?wait=30s",
                   {"kind": "odata", "url": self.service.url, "interval": "1s", "entities": {"customer": entity}})
        for role, rule in (("all", {"kind": "all"}), ("few", {"kind": "filter", "where": f"Balance lt {LIMIT}"})):
            admin.json("PUT", f"/v1/orgs/{ORG}/roles/{role}?wait=30s", {"offline": True, "entities": {"customer": {"read": True}}})
            admin.json("PUT", f"/v1/orgs/{ORG}/profiles/{role}?wait=30s", {"entities": {"customer": [rule]}, "roles": [role]})

    def state(self):
        """Of the stream; {} where the server does not tell."""
        try:
            admin = Http(self.server.urls["admin"], self.admin_token, timeout=20)
            status, _, body = admin.request("GET", f"/v1/orgs/{ORG}/sources/shop")
            return json.loads(body).get("entities", {}).get("customer", {}) if status == 200 else {}
        except GONE:
            return {}

    def disturb_node(self):
        node = self.random.choice(self.nodes)
        if self.options.brokers and self.random.random() < 0.5:
            node.process.send_signal(signal.SIGSTOP)
            time.sleep(self.random.choice([0.5, 3.0, 13.0]))  # the group waits for 10 s
            node.process.send_signal(signal.SIGCONT)
            self.counters["pauses"] += 1
            return
        node.kill()
        time.sleep(self.random.uniform(0, 0.5))
        node.start()
        self.counters["kills of the server"] += 1

    def kill_service(self):
        self.service.kill()
        time.sleep(self.random.uniform(0, 1.0))
        self.service.start()
        self.counters["kills of the service"] += 1

    def edit(self):
        left = self.options.changes - int(self.service.control("made"))
        count = min(self.random.choice([1, 10, self.options.changes // 40]), left + 20)
        self.service.control("edit", self.random.randint(1, 1 << 30), count)
        self.counters["edits"] += 1

    def step(self):
        kind = self.random.random()
        if kind < 0.55:
            self.edit()
        elif kind < 0.60:
            self.service.control("expire")
            self.counters["expired links"] += 1
        elif kind < 0.70:
            self.service.control("busy", self.random.randint(1, 8))
            self.counters["429s"] += 1
        elif kind < 0.80:
            self.disturb_node()
        elif kind < 0.85:
            self.kill_service()
        elif kind < 0.90:
            self.pull_sqlite(check=False)
        time.sleep(self.random.uniform(0, 0.5))
        self.look()

    def look(self):
        for puller in self.pullers:
            if puller.failure:
                raise puller.failure

    def pull_sqlite(self, check):
        done = self.server.command("pull", "--org", ORG, "--db", self.folder / "few.sqlite", "--url", self.server.urls["sync"],
                                   "--token", self.pullers[1].token, check=check)
        self.counters["pulls into SQLite"] += done.returncode == 0

    def run(self):
        with self.service:
            self.service.control("page", min(5000, self.options.rows // 10))
            self.service.control("tracks", "false" if self.options.polled else "true")
            self.server.start()
            self.admin_token = self.server.token("sluice.admin")
            for node in self.nodes[1:]:
                node.start()
            self.provision()
            self.pullers = [Puller(self.server, role) for role in ("all", "few")]
            for puller in self.pullers:
                puller.start()
            began = time.monotonic()
            # Amid the load, too: from where it was it goes on.
            for _ in range(4):
                time.sleep(self.random.uniform(0, 1.5))
                self.disturb_node()
                self.edit()
            self.settle("the load ends", lambda: self.state().get("state") == "following")
            print(f"loaded after {time.monotonic() - began:.0f} s, with {dict(self.counters)}", flush=True)
            while int(self.service.control("made")) < self.options.changes:
                self.step()
            self.service.control("busy", 0)
            print(f"changed after {time.monotonic() - began:.0f} s, with {dict(self.counters)}", flush=True)
            self.check()

    def settle(self, what, check):
        """Polls what other processes bring about."""
        deadline = time.monotonic() + SETTLED_S
        while not check():
            self.look()
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {SETTLED_S} s: {what}; {self.state()}")
            time.sleep(0.2)

    def check(self):
        want = expected(self.service)
        few = {key: row for key, row in want.items() if float(row[1]) < LIMIT}
        for puller, rows in zip(self.pullers, (want, few)):
            try:
                self.settle("clients have what the service has", lambda: puller.rows() == rows)
            except AssertionError as late:
                raise AssertionError(f"{late}: {differences(puller.rows(), rows)}") from None
        self.pull_sqlite(check=True)
        for puller in self.pullers:
            puller.stopping.set()
            puller.join(timeout=60)
        self.look()
        connection = sqlite3.connect(self.folder / "few.sqlite")
        held = {int(key): (name, plain(balance)) for key, name, balance in connection.execute("SELECT ID, Name, Balance FROM customer")}
        assert held == few, f"the SQLite file differs: {differences(held, few)}"
        made = int(self.service.control("made"))
        for puller in self.pullers:
            client = puller.client
            assert client.fresh_starts == 0, "a client had to begin anew"
            assert client.ops <= self.options.rows + made, f"{client.ops} operations for {self.options.rows} rows and {made} changes"
        for node in reversed(self.nodes):
            code = node.stop()
            assert code == 0, f"a graceful stop ended with {code}:\n{node.tail()}"
        verify = self.server.command("store", "verify", "--data-dir", self.server.data, *self.dump_arguments, "--output", "json",
                                     check=False)
        store = [one for one in json.loads(verify.stdout)["stores"] if one["org"] == ORG][0]
        assert store["ok"] and store["records"] == len(want), f"{len(want)} rows are expected: {store}"
        sent = ", ".join(f"{p.client.ops} ({p.client.needless_deletes} of rows that came and went)" for p in self.pullers)
        print(f"{len(want)} rows after {made} changes are in the store, {len(few)} of them in SQLite; clients were sent {sent} "
              f"operations; {dict(self.counters)}; seed {self.options.seed}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--changes", type=int, default=20_000)
    parser.add_argument("--polled", action="store_true", help="the service tracks no changes")
    parser.add_argument("--brokers", default="")
    parser.add_argument("--broker-script", default="", help="run over Kafka: SLUICE_TEST_BROKERS, or a broker started with this")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randint(1, 1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sluice-odata-") as folder:
        if options.broker_script:
            options.brokers = brokers(options.broker_script, folder)
        run = Run(options, pathlib.Path(folder))
        with ending(run.nodes):
            run.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
