"""From tables of a real PostgreSQL, by Debezium in Kafka Connect and a source of kind debezium, to the SQLite file of
`sluice pull`, which is compared with the tables row by row. Two organisations have the same tables: one by messages with
schemas, for which nothing is declared, one by messages without, of which most tables' types are declared.

    debezium_postgres_test.py BINARY BROKER_SCRIPT
"""

import decimal
import json
import pathlib
import re
import sqlite3
import sys
import tempfile
import unittest

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "support"
sys.path[:0] = [str(SUPPORT), str(SUPPORT / "postgres")]
from postgres_chain import PostgresChain  # noqa: E402
from sluice_process import Http, Sluice, brokers  # noqa: E402
from source_org import SourceOrg, settle  # noqa: E402

BINARY, BROKER_SCRIPT = "", ""

TABLES = """
create type mood as enum ('fine', 'so-so');
create table everything (
  id bigint primary key, small smallint, whole integer, real4 real, real8 double precision,
  price numeric(12,2), rate numeric, active boolean, name text, code varchar(20), uid uuid,
  photo bytea, bits bit(9), feeling mood, data jsonb, day date, wakes time, wakes_ms time(3),
  wakes_tz timetz, seen timestamp, seen_ms timestamp(3), seen_tz timestamptz, span interval,
  tags text[], scores integer[], ip inet);
create table orders (id bigint primary key, customer bigint, note text);
create table long_values (
  id integer primary key, counter integer, note text, photo bytea, tags text[], scores integer[], data jsonb);
alter table long_values alter note set storage external, alter photo set storage external,
  alter tags set storage external, alter scores set storage external, alter data set storage external;
create table whole_before (id integer primary key, note text);
alter table whole_before replica identity full;
create table pairs (a integer, b text, v numeric(6,3), primary key (a, b));
insert into everything (id, name) values (1, 'of the snapshot');
insert into orders select n, n % 7, 'order ' || n from generate_series(1, 3000) n;
insert into whole_before values (0, 'of the snapshot');
insert into pairs values (1, 'a,b', 1.5), (1, 'c~d', null), (2, '', -0.001);
"""
LONG = """
insert into long_values select {id}, 0, repeat('note ', 500), decode(repeat('00ff', 1500), 'hex'),
  array_agg('tag ' || n), array_agg(n), jsonb_build_object('text', repeat('json ', 500)) from generate_series(1, 600) n;
"""
# Of each column what a row of the client has, as an expression of SQL: by the type's name, or the column's.
DATETIME = "to_char({}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
BY_TYPE = {
    "numeric": "{}::text", "bytea": "encode({}, 'hex')", "USER-DEFINED": "{}::text", "jsonb": "{}::text", "date": "{}::text",
    "time without time zone": "to_char({}, 'HH24:MI:SS.US')", "timestamp without time zone": DATETIME,
    "timestamp with time zone": DATETIME.format("{} at time zone 'UTC'"), "uuid": "{}::text", "ARRAY": "to_jsonb({})",
    "interval": "(extract(epoch from {}) * 1000000)::bigint", "inet": "host({})", "bit": "{}::text",
    # What PostgreSQL says of a real is the shortest text that is it; as a double it has other digits.
    "real": "{}::text::double precision", "boolean": "{}::integer",
    "time with time zone": "({} at time zone 'UTC')::time::text || 'Z'",
}
# Without schemas a time(3) and a timestamp(3) are numbers of milliseconds, which nothing tells from one of microseconds.
WITHOUT_SCHEMAS = {"wakes_ms": "(extract(epoch from {}) * 1000)::bigint", "seen_ms": "(extract(epoch from {}) * 1000)::bigint"}
DECLARED = {
    "everything": "id int64, small int32, whole int32, real4 double, real8 double, price decimal, rate decimal, active bool, "
                  "name string, code string, uid uuid, photo bytes, bits bytes, feeling string, data string, day date, "
                  "wakes time, wakes_ms int64, wakes_tz string, seen datetime, seen_ms int64, seen_tz datetime, span int64, "
                  "tags string, scores string, ip string",
    "orders": "id int64, customer int64, note string",
    "long_values": "id int32, counter int32, note string, photo bytes, tags string, scores string, data string",
    "whole_before": "id int32, note string",
}
NAMES = [*DECLARED, "pairs"]  # which nothing is declared of in either


def canonical(value, kind):
    """A value of either side as one that can be compared."""
    if value is None:
        return None
    if kind == "numeric":
        return decimal.Decimal(value)
    if kind in ("jsonb", "ARRAY"):
        return json.dumps(json.loads(value) if isinstance(value, str) else value, sort_keys=True)
    if kind == "bit" and isinstance(value, str):
        return int(value, 2).to_bytes((len(value) + 7) // 8, "little").hex()
    return value.hex() if isinstance(value, bytes) else value


class Tables:
    """What the database has, in the form that a client has it in."""

    def __init__(self, chain):
        self.chain = chain

    def columns(self, table):
        """[(name, type)]"""
        told = self.chain.shop(f"select json_agg(json_build_array(column_name, data_type) order by ordinal_position) from "
                               f"information_schema.columns where table_schema = 'public' and table_name = '{table}'")
        return json.loads(told)

    def difference(self, org, table, schemas):
        """What differs between a table and the client's, or ""."""
        columns = self.columns(table)
        named = {} if schemas else WITHOUT_SCHEMAS
        shown = ", ".join((named.get(name) or BY_TYPE.get(kind, "{}")).format(name) for name, kind in columns)
        told = self.chain.shop(f"select coalesce(json_agg(json_build_array({shown})), '[]') from {table}")
        names = ", ".join(f'"{name}"' for name, _ in columns)

        def rows(found):
            made = ([canonical(value, kind) for value, (_, kind) in zip(row, columns)] for row in found)
            return sorted(made, key=repr)

        wanted = rows(json.loads(told))
        try:
            found = rows(org.query(f"SELECT {names} FROM {table}")[0])
        except sqlite3.OperationalError as error:
            return f"{table}: {error}"  # a column or the table is still to come
        if wanted == found:
            return ""
        wrong = [f"  {name}: {str(w)[:60]} is {str(f)[:60]}" for row, at in zip(wanted, found) if row != at
                 for (name, _), w, f in zip(columns, row, at) if w != f]
        return "\n".join([f"{table}: {len(wanted)} rows, the client has {len(found)}", *wrong[:20]])


class DebeziumPostgresTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        address = brokers(BROKER_SCRIPT, folder.name)
        cls.chain = PostgresChain(address)
        cls.addClassCleanup(cls.chain.stop)
        cls.server = Sluice(BINARY, pathlib.Path(folder.name) / "server",
                            ["--log", "kafka", "--brokers", address, "--set", "log.topic_prefix=pg.",
                             "--set", "sources.interval_min=1s"]).start()
        cls.addClassCleanup(cls.server.kill)
        cls.tables = Tables(cls.chain)
        cls.chain.shop(TABLES + LONG.format(id=1))
        cls.orgs = {}
        for org, schemas in (("schemas", True), ("plain", False)):
            cls.chain.put_connector(org, cls.config(org, schemas))
            entities = {table: {"topic": f"{org}.public.{table}"} for table in NAMES}
            if not schemas:
                for table, declared in DECLARED.items():
                    attributes = [dict(zip(("name", "type"), part.split())) for part in declared.split(", ")]
                    entities[table].update({"primary_key": "id", "attributes": attributes})
            cls.orgs[org] = SourceOrg(cls.server, folder.name, org, org, entities)

    @classmethod
    def config(cls, org, schemas, **more):
        return cls.chain.connector_config(org, [f"public.{table}" for table in NAMES], schemas, **more)

    def assert_follows(self, what):
        """Both clients come to have what the tables have. Returns for each how many rows came and went."""
        moved = {}
        for name, org in self.orgs.items():
            moved[name] = [0, 0]
            differences = []

            def equal(name=name, org=org, differences=differences):
                pulled = org.pull()
                if pulled is None:
                    return False
                moved[name][0] += pulled["rows_put"]
                moved[name][1] += pulled["rows_removed"]
                differences[:] = [d for d in (self.tables.difference(org, t, name == "schemas") for t in NAMES) if d]
                return not differences

            settle(equal, f"{name}: {what}", lambda org=org, d=differences: "\n".join(d) + "\n" + org.told())
        return moved

    def rejected(self):
        admin = Http(self.server.urls["admin"], self.orgs["plain"].admin_token)
        text = admin.request("GET", "/metrics")[2].decode()
        return sum(float(value) for value in re.findall(r"^sluice_source_rejected_total\S* (\S+)", text, re.M))

    def test_a_client_has_what_the_tables_have(self):
        """One history, as each step goes on from the one before it."""
        for step in (self.snapshot, self.types, self.values_beside_the_row, self.keys, self.transactions, self.columns,
                     self.truncate, self.rows_that_can_not_be, self.killed, self.second_snapshot):
            step()

    def snapshot(self):
        for org in self.orgs.values():
            org.begin()
        offer = self.orgs["schemas"].ask("POST", "/sources/shop/check")
        self.assertTrue(offer["ok"], offer)
        self.assertEqual(sorted(offer["entities"]), sorted(NAMES))
        self.assertEqual(self.orgs["schemas"].ask("GET", "/entities/pairs")["primary_key"], "_key")
        self.assert_follows("rows of the snapshot")

    def types(self):
        self.chain.shop("""
insert into everything values (
  2, -32768, 2147483647, 1.1, 2.5e-300, -1234567890.12, 12.3450, true, 'Ann "A" Müller', 'x',
  '1b4e28ba-2fa1-11d2-883f-0016d3cca427', '\\x00ff10', B'101010101', 'so-so', '{"a": [1, null]}',
  '2026-01-31', '10:00:00.123456', '10:00:00.123', '10:00:00+02', '2026-01-31 10:00:00.123456',
  '2026-01-31 10:00:00.123', '2026-01-31 10:00:00.123456+02', '2 days 00:00:03.5',
  array['a', null, 'ü'], array[1, -2], '192.0.2.1');
insert into everything (id, price, rate, day, wakes, seen, name) values (
  3, 0, 99999999999999999999999999999999999999, '0001-01-01', '00:00', '0001-01-01 00:00:00', '');
insert into everything (id, whole, day, wakes, seen, seen_tz) values (
  9223372036854775807, -2147483648, '1969-12-31', '23:59:59.999999', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999+00');
update everything set price = 0.01, rate = -0.0001, day = '9999-12-31', seen = '9999-12-31 23:59:59.999999' where id = 3;
update everything set name = null, active = false where id = 1;
""")
        self.assert_follows("values of every type")

    def values_beside_the_row(self):
        """TOAST: what an update leaves is not in its message."""
        self.chain.shop(LONG.format(id=2) + LONG.format(id=3) + """
update long_values set counter = 1 where id = 1;
update long_values set id = 20 where id = 2;
update long_values set note = 'short', counter = 2 where id = 3;
""")
        self.assert_follows("values that an update left")

    def keys(self):
        self.chain.shop("""
update everything set id = 20 where id = 2;
update pairs set b = 'x' where a = 2;
begin; update pairs set b = 'y' where b = 'a,b'; update pairs set b = 'a,b' where b = 'c~d'; commit;
delete from everything where id = 1;
insert into everything (id, name) values (1, 'again');
insert into whole_before values (1, 'before'), (2, 'stays');
update whole_before set note = 'after' where id = 1;
delete from whole_before where id = 1;
delete from orders where id % 3 = 0;
""")
        self.assert_follows("changed keys")

    def transactions(self):
        self.chain.shop("""
begin;
insert into orders values (10001, 6, 'opened first');
\\! psql -X -q -c "insert into orders values (10002, 7, 'committed first'); update orders set note = 'x' where id = 1"
savepoint s;
delete from orders;
rollback to s;
insert into pairs values (7, 'of two tables', 7);
insert into orders values (10003, 6, 'committed last');
update orders set note = 'y' where id = 1;
commit;
begin;
delete from orders where id < 100;
rollback;
""")
        self.assert_follows("transactions that overlap, and ones that are taken back")

    def columns(self):
        self.chain.shop("""
alter table orders add column added integer default 5;
insert into orders values (10010, 9, 'with another column', 9);
update orders set added = 6 where id < 10;
""")
        # Rows that nobody has touched since have the default in the database alone: it sends no messages of them.
        self.chain.shop("update orders set customer = customer")
        self.assert_follows("a column that was added")
        self.chain.shop("alter table orders drop column note; insert into orders values (10011, 10, 10)")
        self.assert_follows("a column that was dropped")
        for org in self.orgs.values():
            self.assertEqual(org.query("SELECT note FROM orders WHERE id = 10011"), [[(None,)]])

    def truncate(self):
        self.chain.shop("""
begin;
insert into orders values (20000, 1, 1);
truncate orders;
insert into orders values (20001, 1, 1);
commit;
""")
        self.assert_follows("a table that was emptied amid a transaction")
        self.chain.shop("truncate orders, pairs; insert into orders values (20002, 1, 1)")
        self.assert_follows("tables that were emptied")

    def rows_that_can_not_be(self):
        before = self.rejected()
        self.chain.shop("""
insert into everything (id, real8) values (104, 'NaN');
insert into everything (id, seen) values (105, 'infinity');
insert into everything (id, wakes) values (106, '24:00');
insert into everything (id, rate) values (107, 1e38);
insert into everything (id, name) values (108, 'behind them');
""")
        settle(lambda: self.rejected() >= before + 8, "four rows of each organisation are dead letters",
               self.orgs["schemas"].told)
        self.chain.shop("delete from everything where id between 104 and 107")
        self.assert_follows("rows behind those that can't be taken")
        self.assertEqual(self.rejected(), before + 8)

    def killed(self):
        self.server.kill()
        self.chain.kill("connect")
        self.chain.shop("insert into orders select n, n, n from generate_series(30000, 32000) n; delete from orders where id = 20002")
        self.server.start()
        self.chain.shop("update orders set customer = 0 where id = 31000")
        self.chain.start_connect()
        self.assert_follows("what changed while the server and Connect were away")

    def second_snapshot(self):
        """A slot is gone, and what was committed meanwhile with it; then Debezium reads the tables again."""
        for org in self.orgs:
            self.chain.delete_connector(org)
            self.chain.drop_slot(org)
        self.chain.shop("""
delete from orders where id between 30000 and 30009;
update orders set customer = -1 where id between 30010 and 30014;
insert into orders values (40000, 1, 1);
delete from long_values where id = 3;
""")
        for org in self.orgs:
            self.chain.put_connector(org, self.config(org, org == "schemas", **{"snapshot.mode": "when_needed"}))
        self.assert_follows("what a second snapshot has, and what it has no more")
        self.chain.shop("update orders set customer = -2 where id = 31000")
        self.assert_follows("changes behind the second snapshot")


if __name__ == "__main__":
    BINARY, BROKER_SCRIPT = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
