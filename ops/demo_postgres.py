"""Shows a database going the whole way: tables of a real PostgreSQL, Debezium, Kafka, a source, and SQLite files of two
callers that follow what `psql` writes.

Run by ./ops/demo --postgres, which builds first. Exits non-zero when a check fails.
"""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

from demo import DATA, ROOT, SLUICE, WORK, Failed, Server, say, size, sluice, step

sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "tests/support/postgres")]
from postgres_chain import Failure, PostgresChain, postgres_program  # noqa: E402
from sluice_process import start_broker  # noqa: E402

ORG = "acme"
TABLES = """
create table customer (id bigint primary key, name text, region text, revenue numeric(12,2), since date);
create table orders (id bigint primary key, customer bigint references customer, total numeric(10,2), placed timestamptz);
insert into customer select n, 'Customer ' || n, (array['north', 'south', 'east', 'west'])[1 + n % 4], n * 17.25,
  date '2020-01-01' + n % 2000 from generate_series(1, 5000) n;
insert into orders select n, 1 + n % 5000, n * 0.37, timestamptz '2026-01-01 00:00:00+00' + n * interval '1 minute'
  from generate_series(1, 50000) n;
"""
# ... and what a client's file has of them: decimals without needless zeros, times in UTC.
COLUMNS = {"customer": ["id", "name", "region", "revenue", "since"], "orders": ["id", "customer", "total", "placed"]}
SHOWN = {"revenue": "trim_scale(revenue)::text", "since": "since::text", "total": "trim_scale(total)::text",
         "placed": "to_char(placed at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"}
SOURCE = {"kind": "debezium", "transactions": "shop.transaction",
          "entities": {name: {"topic": f"shop.public.{name}"} for name in COLUMNS}}
# What is done, its statements, and what is true of olga's file once it has come.
CHANGES = [
    ("one row", "update customer set revenue = revenue + 1 where id = 4",
     "SELECT CAST(revenue AS REAL) = 70 FROM customer WHERE id = 4"),
    ("one transaction over two tables", "begin; insert into customer values (5001, 'Newcomer', 'north', 0, '2026-01-31');\n"
     "      insert into orders values (50001, 5001, 99.50, now()); commit",
     "SELECT (SELECT count(*) FROM customer WHERE id = 5001) AND (SELECT count(*) FROM orders WHERE id = 50001)"),
    ("10,000 rows at once", "update orders set total = total + 1 where id <= 10000",
     "SELECT CAST(total AS REAL) = 1.37 FROM orders WHERE id = 1"),
    ("rows that go", "delete from orders where id > 49000 and id <= 50000",
     "SELECT count(*) = 0 FROM orders WHERE id = 49500"),
    ("a column that nobody declared", "alter table customer add column rating integer;\n"
     "      update customer set rating = id % 5 where id <= 100", "SELECT rating = 1 FROM customer WHERE id = 1"),
]


class Caller:
    """Somebody with a token and a SQLite file. `where`: which customers are hers."""

    def __init__(self, name, role, tables, where="true"):
        self.name, self.tables, self.where = name, tables, where
        self.db = WORK / f"{name}.sqlite"
        self.token = sluice("token", "--data-dir", DATA, "--sub", name, "--org", ORG, "--role", role, "--expires", "24h").strip()
        self.follower = None

    def pull(self, url):
        return json.loads(sluice("pull", "--url", url, "--org", ORG, "--db", self.db, "--output", "json",
                                 env={"SLUICE_TOKEN": self.token}))

    def follow(self, url):
        with open(WORK / f"{self.name}.log", "w", encoding="utf-8") as log:
            self.follower = subprocess.Popen([SLUICE, "pull", "--follow", "--url", url, "--org", ORG, "--db", self.db],
                                             env={**os.environ, "SLUICE_TOKEN": self.token}, stdout=log, stderr=log,
                                             start_new_session=True)

    def stop(self):
        if self.follower is not None:
            self.follower.terminate()
            self.follower.wait()

    def query(self, statement):
        db = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)
        try:
            return db.execute(statement).fetchall()
        except sqlite3.OperationalError:
            return None  # the first pull, or a column, is still to come
        finally:
            db.close()

    def compare(self, chain, columns):
        """(rows, what differs or "") of the file and what psql says."""
        count = 0
        for table in self.tables:
            shown = ", ".join(SHOWN.get(column, column) for column in columns[table])
            where = self.where if table == "customer" else "true"
            told = chain.shop(f"select coalesce(json_agg(json_build_array({shown}) order by id), '[]') from {table} where {where}")
            wanted, found = [tuple(row) for row in json.loads(told)], self.query(
                f"SELECT {', '.join(columns[table])} FROM {table} ORDER BY id")
            if found != wanted:
                pair = next(((w, f) for w, f in zip(wanted, found or []) if w != f), "")
                return count, f"{table}: {len(wanted)} rows in PostgreSQL, {len(found or [])} in {self.db.name} {pair}"
            count += len(wanted)
        return count, ""


def await_true(check, what, told=lambda: ""):
    deadline = time.monotonic() + 120
    while not check():
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come within two minutes {told()}")
        time.sleep(0.02)


def provision(common):
    """The organisation, the source, and who may have what."""
    sluice("org", "create", ORG, "--display-name", "Acme", *common)
    definition = WORK / "shop.json"
    definition.write_text(json.dumps(SOURCE, indent=1))
    say(f"   {json.dumps(SOURCE)}")
    await_true(lambda: json.loads(sluice("source", "check", ORG, "shop", definition, *common, "--output", "json"))["ok"],
               "the first message of each topic")
    say("\n   sluice source check: what would come")
    say("   " + sluice("source", "check", ORG, "shop", definition, *common).strip().replace("\n", "\n   "))
    sluice("source", "put", ORG, "shop", definition, *common)
    await_true(lambda: set(COLUMNS) <= {e["name"] for e in json.loads(
        sluice("entity", "list", ORG, *common, "--output", "json"))["entities"]}, "the entities of the source")
    roles = {"office": COLUMNS, "seller": ["customer"]}
    for role, entities in roles.items():
        rules = {e: [{"kind": "filter", "where": "region eq 'north'"} if role == "seller" else {"kind": "all"}] for e in entities}
        for kind, body in (("role", {"offline": True, "entities": {e: {"read": True} for e in entities}}),
                           ("profile", {"entities": rules, "roles": [role]})):
            path = WORK / f"{kind}-{role}.json"
            path.write_text(json.dumps(body, indent=1))
            sluice(kind, "put", ORG, role, path, *common)


def show(chain, server):
    common = ["--url", server.urls["admin"], "--data-dir", DATA]
    sync = server.urls["sync"]
    step("2. A source: two topics of Debezium become two entities")
    started = time.monotonic()
    provision(common)

    step("3. Two callers pull their rows into SQLite")
    olga, nora = Caller("olga", "office", list(COLUMNS)), Caller("nora", "seller", ["customer"], "region = 'north'")
    callers = [olga, nora]

    def loaded():
        olga.pull(sync)
        return (olga.query("SELECT (SELECT count(*) FROM customer) + (SELECT count(*) FROM orders)") or [(0,)])[0][0] == 55_000

    await_true(loaded, "the snapshot")
    say(f"   55,000 rows: from the definition of the source to olga's file in {time.monotonic() - started:.1f} s")
    nora.pull(sync)
    for caller, rights in ((olga, "all rows of both tables"), (nora, "customers of the north")):
        rows, differs = caller.compare(chain, COLUMNS)
        if differs:
            raise Failed(f"{caller.name}: {differs}")
        say(f"   {caller.name}, {rights}: {rows:,} rows - compared with psql's: equal")

    step("4. The files follow psql")
    columns = dict(COLUMNS)
    for caller in callers:
        caller.follow(sync)
    for what, statements, seen in CHANGES:
        say(f"   {what}\n   => {statements};")
        chain.shop(statements)
        begun = time.monotonic()
        await_true(lambda seen=seen: olga.query(seen) == [(1,)], f"the change in {olga.db.name}")
        took = time.monotonic() - begun
        if "rating" in statements:
            columns["customer"] = [*COLUMNS["customer"], "rating"]
        for caller in callers:
            differs = [""]

            def equal(caller=caller, differs=differs):
                differs[0] = caller.compare(chain, columns)[1]
                return not differs[0]

            await_true(equal, f"the change in {caller.db.name}", lambda differs=differs: f"({differs[0]})")
        say(f"      in olga's file {1000 * took:,.0f} ms after psql had returned; both files compared with psql's rows: equal")
    return callers


def next_steps(chain, server, alive):
    step("Try next")
    db = (WORK / "olga.sqlite").relative_to(ROOT)
    if alive:
        login = " ".join(f"{name}={value}" for name, value in chain.environment().items())
        say("   In another terminal, write:")
        say(f"   {login} psql -c \"update customer set name = 'Mine' where id = 4\"")
        say("   and see it in olga's file, and what the source says of itself:")
        say(f"   sqlite3 {db} 'SELECT * FROM customer WHERE id = 4'")
        say(f"   build/release/bin/sluice source get {ORG} shop --url {server.urls['admin']} --data-dir build/demo/data")
    else:
        say(f"   sqlite3 {db} 'SELECT region, count(*), sum(revenue) FROM customer GROUP BY region'")
        say("   ./ops/demo --postgres on a terminal keeps all of it running, to be written to by psql")
    say("   Your own database: ops/docs/sources.md")


def main():
    parser = argparse.ArgumentParser(prog="ops/demo --postgres")
    parser.add_argument("--once", action="store_true", help="end when the files were compared")
    once = parser.parse_args().once or not sys.stdin.isatty()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    server, chain, callers = None, None, []
    broker_script, cluster = ROOT / "tests/support/broker/kafka_broker", WORK / "kafka"
    try:
        step("1. PostgreSQL with 5,000 customers and 50,000 orders, Kafka, and Debezium in Kafka Connect")
        started = time.monotonic()
        brokers = start_broker(str(broker_script), cluster)
        chain = PostgresChain(brokers)
        chain.shop(TABLES)
        chain.put_connector("shop", chain.connector_config("shop", [f"public.{table}" for table in COLUMNS]))
        version = subprocess.run([postgres_program("postgres"), "--version"], stdout=subprocess.PIPE, text=True, check=True)
        debezium = chain.ask("GET", "/connectors/shop/status")[1]["connector"]["version"]
        server = Server(["--log", "kafka", "--brokers", brokers])
        say(f"   {version.stdout.strip()}; Debezium {debezium}: all run after {time.monotonic() - started:.1f} s")
        callers = show(chain, server)
        say(f"\n   memory of the server: {size(server.memory())}")
        next_steps(chain, server, alive=not once)
        if not once:
            say("\nAll of it is running. Ctrl-C ends it.")
            server.process.wait()
        return 0
    except (Failed, Failure, subprocess.CalledProcessError) as problem:
        print(f"\nops/demo: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say()
        return 0
    finally:
        for caller in callers:
            caller.stop()
        if server is not None and server.stop() != 0:
            print(f"ops/demo: the server ended with {server.process.returncode}", file=sys.stderr)
        if chain is not None:
            chain.stop()
        if (cluster / "cluster.json").exists():
            subprocess.run([broker_script, "stop", "--dir", cluster], check=False)


if __name__ == "__main__":
    sys.exit(main())
