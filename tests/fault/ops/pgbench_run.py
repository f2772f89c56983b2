"""pgbench writes to a PostgreSQL as fast as it is let; Debezium, a broker and a Sluice carry its tables to a SQLite file;
each of the three is killed again and again and started anew.

- At each completed pull the sums of accounts' abalance, tellers' tbalance and branches' bbalance are equal: what pgbench
  commits together comes together.
- At the end all three tables are in the client, row by row.
- How long it takes from a commit to the client's file is measured by a table of times, and printed; nothing depends on it.

pgbench_history has no key, so no entity can be made of it; Debezium sends it all the same, in the same transactions.

    pgbench_run.py --binary build/release/bin/sluice --broker-script tests/support/broker/kafka_broker [--seconds 600]
        [--scale 10] [--rate 500] [--kills 30] [--seed N]
"""

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "support"
sys.path[:0] = [str(SUPPORT), str(SUPPORT / "postgres")]
from postgres_chain import PostgresChain, postgres_program  # noqa: E402
from sluice_process import Sluice, start_broker  # noqa: E402
from source_org import SourceOrg, settle  # noqa: E402

KEYS = {"pgbench_accounts": "aid", "pgbench_tellers": "tid", "pgbench_branches": "bid"}
COLUMNS = {"pgbench_accounts": "aid, bid, abalance, filler", "pgbench_tellers": "tid, bid, tbalance, filler",
           "pgbench_branches": "bid, bbalance, filler"}
SUMS = ["SELECT count(*), sum(abalance) FROM pgbench_accounts", "SELECT count(*), sum(tbalance) FROM pgbench_tellers",
        "SELECT count(*), sum(bbalance) FROM pgbench_branches"]


class Probe:
    """Commits the time five times a second, and sees when it is in a SQLite file that `sluice pull --follow` keeps."""

    def __init__(self, chain, org):
        self.chain, self.org = chain, org
        self.ended, self.latencies = threading.Event(), []
        settle(lambda: org.pull() is not None, "the first pull", org.told)  # or there is no table to look into
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.write, self.follow, self.look)]
        for thread in self.threads:
            thread.start()

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def write(self):
        """In one session, as a process for each would be the greater part of what is measured."""
        psql = subprocess.Popen(["psql", "-X", "-q"], stdin=subprocess.PIPE, text=True,
                                env={**os.environ, **self.chain.environment()})
        number = 0
        while not self.ended.wait(0.2):
            number += 1
            psql.stdin.write(f"insert into probe values ({number}, extract(epoch from clock_timestamp()));\n")
            psql.stdin.flush()
        psql.stdin.close()
        psql.wait()

    def follow(self):
        """Keeps a client at work. A server that was started again has another port."""
        while not self.ended.is_set():
            url = self.org.server.urls["sync"]
            client = subprocess.Popen([self.org.server.binary, "pull", "--follow", "--url", url, "--org", self.org.org,
                                       "--db", self.org.db], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      env={**os.environ, "SLUICE_TOKEN": self.org.token})
            while client.poll() is None and not self.ended.wait(0.1) and url == self.org.server.urls["sync"]:
                pass
            client.kill()
            client.wait()
            self.ended.wait(0.2)

    def look(self):
        seen = 0
        with contextlib.closing(sqlite3.connect(f"file:{self.org.db}?mode=ro", uri=True)) as db:
            while not self.ended.wait(0.005):  # how exact the measure is
                found = db.execute("SELECT id, at FROM probe WHERE id > ?", (seen,)).fetchall()
                now = time.time()
                self.latencies += [(now, now - at) for _, at in found if at]
                seen = max([seen, *(number for number, _ in found)])

    def report(self, crashes):
        """p50 and p99 of all that was measured, and of what no crash can have held up. `crashes`: [(from, to)]"""
        far = [latency for now, latency in self.latencies
               if not any(now - latency - 10 < end and begin < now for begin, end in crashes)]
        for name, values in (("far from crashes", sorted(far)), ("of all", sorted(latency for _, latency in self.latencies))):
            if values:
                p50, p99 = (values[int((len(values) - 1) * part)] * 1000 for part in (0.5, 0.99))
                print(f"commit to the client's file, {name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, "
                      f"max {values[-1] * 1000:.0f} ms, {len(values)} commits", flush=True)


class Run:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.random = random.Random(options.seed)
        self.cluster = folder / "broker"
        address = start_broker(options.broker_script, self.cluster)
        self.chain = PostgresChain(address)
        self.server = Sluice(options.binary, folder / "server",
                             ["--log", "kafka", "--brokers", address, "--set", "log.topic_prefix=sluice.",
                              "--set", "sources.interval_min=1s"]).start()
        self.pulls, self.checked, self.crashes = 0, 0, []

    def broker(self, command, *arguments):
        subprocess.run([self.options.broker_script, command, "--dir", str(self.cluster), *arguments], check=True,
                       stdout=subprocess.DEVNULL)

    def close(self):
        self.server.kill()
        self.chain.stop()
        self.broker("stop", "--now")

    def pgbench(self, *arguments):
        return subprocess.Popen([postgres_program("pgbench"), *map(str, arguments)], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, env={**os.environ, **self.chain.environment()})

    def kill_one(self, what):
        """A crash, and the same again."""
        print(f"  kill -9 of {what}", flush=True)
        begun = time.time()
        if what == "sluice":
            self.server.kill()
            self.server.start()
        elif what == "connect":
            self.chain.kill("connect")
            self.chain.start_connect()
        else:
            self.broker("kill", "--node", "1")
            self.broker("restart", "--node", "1")
        self.crashes.append((begun, time.time()))

    def look(self, org):
        """One pull, and the sums of what it brought; false where no server answered."""
        if org.pull() is None:
            return False
        self.pulls += 1
        (accounts,), (tellers,), (branches,) = org.query(*SUMS)
        scale = self.options.scale
        if (accounts[0], tellers[0], branches[0]) == (100_000 * scale, 10 * scale, scale):
            self.checked += 1
            assert accounts[1] == tellers[1] == branches[1], \
                f"pull {self.pulls}: {accounts[1]} in accounts, {tellers[1]} in tellers, {branches[1]} in branches"
        else:
            assert not self.checked, f"pull {self.pulls}: {accounts[0]}, {tellers[0]}, {branches[0]} rows, and all were there"
        return True

    def differences(self, org):
        told = []
        for table, columns in COLUMNS.items():
            shown = self.chain.shop(f"copy (select {columns} from {table} order by {KEYS[table]}) to stdout")
            wanted = [tuple(None if value == "\\N" else value for value in line.split("\t")) for line in shown.splitlines()]
            found = [tuple(None if value is None else str(value) for value in row)
                     for row in org.query(f"SELECT {columns} FROM {table} ORDER BY {KEYS[table]}")[0]]
            if wanted != found:
                differ = [pair for pair in zip(wanted, found) if pair[0] != pair[1]]
                told.append(f"{table}: {len(wanted)} rows, {len(found)} in the client, {len(differ)} differ, such as {differ[:1]}")
        return told

    def go(self):
        options = self.options
        made = self.pgbench("-i", "-q", "-s", options.scale)
        said = made.communicate()[0]
        assert made.returncode == 0, said
        self.chain.shop("create table probe (id bigint primary key, at double precision); insert into probe values (0, 0)")
        tables = [*KEYS, "probe", "pgbench_history"]
        self.chain.put_connector("bench", self.chain.connector_config("bench", [f"public.{table}" for table in tables]))
        org = SourceOrg(self.server, self.folder, "bench", "bench", {table: {"topic": f"bench.public.{table}"} for table in KEYS})
        org.begin()
        probe_org = SourceOrg(self.server, self.folder, "probe", "bench", {"probe": {"topic": "bench.public.probe"}})
        probe_org.begin()
        # Entities are defined by the first rows that come, so pgbench begins amid the first load.
        load = self.pgbench("-n", "-c", 2, "-T", options.seconds, *(["-R", options.rate] if options.rate else []))
        probe = Probe(self.chain, probe_org)
        self.disturb(load, org)
        said = load.communicate()[0]
        assert load.returncode == 0, said
        print("  " + "; ".join(line for line in said.splitlines() if line.startswith(("number of transactions", "tps"))), flush=True)
        ended = time.monotonic()
        probe.end()
        told = []

        def equal():
            if self.look(org):
                told[:] = self.differences(org)
                return not told
            return False

        settle(equal, "the client has pgbench's tables", lambda: "\n".join(told) + "\n" + org.told())
        print(f"equal, row by row, {time.monotonic() - ended:.1f} s after the last commit; {self.pulls} pulls, at {self.checked} "
              f"of them all rows were there and the sums agreed", flush=True)
        assert self.checked, "no pull had all rows"
        probe.report(self.crashes)

    def disturb(self, load, org):
        """Pulls and kills until pgbench has ended and all were killed as often as asked for. Each of the three is killed once before one is killed again."""
        order, begun, done = [], time.monotonic(), 0
        while load.poll() is None or done < self.options.kills:
            self.look(org)
            due = time.monotonic() - begun >= self.options.seconds * (done + 1) / (self.options.kills + 1)
            if due and done < self.options.kills:
                if not order:
                    order = ["sluice", "connect", "broker"]
                    self.random.shuffle(order)
                self.kill_one(order.pop())
                done += 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--broker-script", required=True)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--scale", type=int, default=10, help="of pgbench: 100,000 accounts each")
    parser.add_argument("--rate", type=int, default=200, help="transactions a second; 0: as many as it can")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-pgbench-"))
    run = None
    try:
        run = Run(options, folder)
        run.go()
    finally:
        if run is not None:
            run.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
