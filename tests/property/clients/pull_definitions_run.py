"""Definitions that change quickly under `sluice pull`: whatever a file went through, it is as one that is new.

A real server; attributes are removed and defined again with another type, entities deleted and made anew, roles
deny and show columns, profiles change their rules, and rows come all along. Beside it one file follows live and
others are pulled into now and then, through a proxy that holds the stream amid a load until definitions have
changed, or cuts it there; pullers are ended and killed. At each rest every file is compared with one that a new pull made:
tables, columns, values and their types, buckets, counts and checksums. The server is without a fault here, so a
bucket that is loaded anew or reset was so for nothing.

    pull_definitions_run.py --binary build/release/bin/sluice --rests 200 [--seed N]
"""

import argparse
import collections
import contextlib
import json
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import Http, Sluice  # noqa: E402

ORG = "acme"
ENTITIES = ["item", "Item", "order"]
NAMES = ["a", "b", "A", "rowid", "c"]
KEYS = [("id", "string"), ("id", "int64"), ("no", "string")]
VALUES = {"string": lambda r: f"s{r.randrange(999)}", "int64": lambda r: r.randrange(999),
          "bool": lambda r: r.random() < 0.5, "decimal": lambda r: str(r.randrange(999)),
          "double": lambda r: r.randrange(999) / 8, "bytes": lambda r: "AAH/",
          "date": lambda r: f"{r.choice((1, 1969, 2026, 9999)):04}-12-{r.randrange(1, 32):02}",
          "time": lambda r: f"23:59:59.{r.randrange(999999):06}"}
RULES = [[{"kind": "all"}], [{"kind": "user"}], [{"kind": "user"}, {"kind": "all"}],
         [{"kind": "filter", "where": "own eq 'anna' or own eq 'bert'"}, {"kind": "user"}]]
NEEDLESS = ["buckets_reloaded", "buckets_reset", "reconnects"]
PULLER = ["--sub", "anna", "--role", "plain", "--role", "more"]


class Proxy:
    """Hands bytes on to the sync listener. The answer of a connection can be held, or cut, after some bytes."""

    BUFFER = 8 << 10  # small, so that the server feels at once that nobody reads

    def __init__(self, port, seed):
        self.port, self.random = port, random.Random(seed)
        self.free = threading.Event()  # answers that are held go on
        self.held = threading.Semaphore(0)  # one more for each answer that is held
        self.plan = lambda: (None, False)  # of a new connection: bytes until it is held or cut; cut?
        self.lock = threading.Lock()
        self.failures = 0  # that a client has to meet: what was cut here, and what a busy server refused
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.BUFFER)
            server.connect(("127.0.0.1", self.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.BUFFER)
            threading.Thread(target=self.ask, args=(client, server), daemon=True).start()
            threading.Thread(target=self.answer, args=(client, server, self.plan()), daemon=True).start()

    def count_failure(self):
        with self.lock:
            self.failures += 1

    @staticmethod
    def ask(client, server):
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def answer(self, client, server, plan):
        left, cut = plan
        first = True
        with contextlib.suppress(OSError):
            while data := server.recv(self.BUFFER):
                if first and not data.startswith(b"HTTP/1.1 200"):
                    self.count_failure()
                first = False
                if left is not None and left < len(data):
                    client.sendall(data[:left])
                    data = data[left:]
                    if cut:
                        self.count_failure()
                        break
                    self.held.release()
                    self.free.wait()
                    left = None
                client.sendall(data)
                left = None if left is None else left - len(data)
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Definitions:
    """What was defined last, and the random changes."""

    def __init__(self, http, rng):
        self.http, self.random = http, rng
        self.entities = {}  # name: (key, {attribute: type})
        self.rules = {}
        self.denied = {}  # role: {entity: names}
        self.changes, self.position = 0, 0

    def put(self, path, body):
        answer = self.http.json("PUT", f"/v1/orgs/{ORG}/{path}", body)
        self.position = max(self.position, int(answer["position"]))
        self.changes += 1

    def put_entity(self, name):
        (key, key_type), attributes = self.entities[name]
        self.put(f"entities/{name}", {
            "primary_key": key, "ownership": {"user": "own"}, "attributes":
                [{"name": key, "type": key_type}, {"name": "own", "type": "string"}, {"name": "text", "type": "string"}] +
                [{"name": attribute, "type": kind} for attribute, kind in attributes.items()]})

    def put_roles(self, *roles):
        for role in roles or ("plain", "more"):
            self.put(f"roles/{role}", {"offline": True, "entities": {
                name: {"read": True, "deny_columns": sorted(self.denied.get(role, {}).get(name, set()) & set(attributes))}
                for name, (_, attributes) in self.entities.items()}})

    def put_profile(self):
        self.put("profiles/field", {"entities": {name: self.rules[name] for name in self.entities},
                                    "roles": ["plain", "more"]})

    def make(self, name):
        self.entities[name] = (self.random.choice(KEYS),
                               {a: self.random.choice(list(VALUES)) for a in self.random.sample(NAMES, 3)})
        self.rules[name] = self.random.choice(RULES)
        self.denied = {role: {e: n for e, n in of.items() if e != name} for role, of in self.denied.items()}
        self.put_entity(name)
        self.put_roles()
        self.put_profile()

    def delete(self, name):
        gone = self.entities.pop(name)
        self.put_profile()
        self.put_roles()
        self.http.json("DELETE", f"/v1/orgs/{ORG}/entities/{name}")
        self.changes += 1
        return gone

    def remove_attribute(self, name, attribute):
        attributes = self.entities[name][1]
        kind = attributes.pop(attribute)
        if any(attribute in of.get(name, ()) for of in self.denied.values()):
            for of in self.denied.values():
                of.get(name, set()).discard(attribute)
            self.put_roles()
        self.put_entity(name)
        return kind

    def define_attribute(self, name, attribute, kind=None):
        self.entities[name][1][attribute] = kind or self.random.choice(list(VALUES))
        self.put_entity(name)

    def deny(self, name):
        attributes = self.entities[name][1]
        before = {role: dict(of) for role, of in self.denied.items()}
        for role in ("plain", "more"):
            self.denied.setdefault(role, {})[name] = {a for a in attributes if self.random.random() < 0.6}
        self.put_roles()
        if self.random.random() < 0.4:  # and back at once
            self.denied = before
            self.put_roles()

    def change(self):
        """One change, or several that belong together."""
        name = self.random.choice(ENTITIES)
        if name not in self.entities:
            self.make(name)
            if self.random.random() < 0.7:
                self.rows(name, 30)
            return
        attributes = self.entities[name][1]
        kind = self.random.randrange(8)
        if kind == 0:
            self.delete(name)
            if self.random.random() < 0.6:
                self.make(name)
                self.rows(name, 60)
        elif kind in (1, 2):
            attribute = self.random.choice(NAMES)
            if attribute in attributes:
                was = self.remove_attribute(name, attribute)
                if self.random.random() < 0.5:
                    self.define_attribute(name, attribute, was if self.random.random() < 0.5 else None)
            else:
                self.define_attribute(name, attribute)
            if self.random.random() < 0.5:
                self.rows(name, 20)
        elif kind in (3, 4):
            self.deny(name)
        elif kind == 5:
            self.rules[name] = self.random.choice(RULES)
            self.put_profile()
        else:
            self.rows(name, self.random.choice([1, 5, 40]))

    def rows(self, name, count):
        (key, key_type), attributes = self.entities[name]
        ops = []
        for number in self.random.sample(range(120), count):
            if self.random.random() < 0.15:
                ops.append({"op": "delete", "entity": name, "key": str(number)})
                continue
            row = {key: number if key_type == "int64" else str(number), "own": self.random.choice(["anna", "bert", "carl"]),
                   "text": f"{self.changes}." * self.random.choice([1, 1000])}
            row.update((a, VALUES[kind](self.random)) for a, kind in attributes.items() if self.random.random() < 0.7)
            ops.append({"op": self.random.choice(["upsert", "patch"]), "entity": name, "row": row})
            if ops[-1]["op"] == "patch":
                ops[-1]["key"] = str(number)
                del row[key]
        body = json.dumps({"ops": ops}).encode() + b"\n"
        answer = self.http.json("POST", f"/v1/orgs/{ORG}/changes", body, content_type="application/x-ndjson")
        if "position" not in answer:
            raise AssertionError(answer)
        self.position = max(self.position, int(answer["position"]))
        self.changes += 1


def contents(path):
    """What a file holds, without what may be left of before: empty tables, and columns without a value."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
        db.execute("BEGIN")
        position = db.execute("SELECT value FROM _sluice_meta WHERE name='position'").fetchone()
        if position is None:
            return -1, None
        names = {(entity, attribute): name for entity, attribute, name in db.execute("SELECT * FROM _sluice_names")}
        hidden = set(db.execute("SELECT entity, name FROM _sluice_hidden"))
        tables = {}
        for number, entity, _ in db.execute("SELECT * FROM _sluice_entity").fetchall():
            table = names.get((entity, ""), entity)
            called = {name: attribute for (of, attribute), name in names.items() if of == entity and attribute}
            columns = [(called.get(column[1], column[1]), column[1], column[2])
                       for column in db.execute(f'PRAGMA table_info("{table}")')]
            rows = db.execute("SELECT {} FROM \"{}\"".format(
                ", ".join(f'"{c[1]}", typeof("{c[1]}")' for c in columns), table)).fetchall()
            for place, column in enumerate(columns):
                if (number, column[1]) in hidden and any(row[2 * place] is not None for row in rows):
                    raise AssertionError(f"{path}: hidden column {entity}.{column[1]} has values")
            shown = [place for place, column in enumerate(columns) if (number, column[1]) not in hidden]
            tables[entity] = {
                "columns": sorted((columns[place][0], columns[place][2]) for place in shown) if rows else None,
                "rows": sorted(str(sorted((columns[place][0], row[2 * place], row[2 * place + 1])
                                          for place in shown if row[2 * place] is not None)) for row in rows)}
        buckets = sorted(db.execute("SELECT bucket, count, checksum FROM _sluice_bucket"))
        members = db.execute("SELECT count(*) FROM _sluice_member").fetchone()[0]
        return int(position[0]), {"tables": {e: t for e, t in tables.items() if t["rows"]}, "buckets": buckets,
                                  "members": members}


def difference(got, want):
    for part in ("buckets", "members"):
        if got[part] != want[part]:
            return f"{part}: {got[part]} and not {want[part]}"
    for entity in sorted(set(got["tables"]) | set(want["tables"])):
        mine, other = got["tables"].get(entity), want["tables"].get(entity)
        if mine is None or other is None:
            return f"{entity}: {mine and mine['columns']} and not {other and other['columns']}"
        if mine["columns"] != other["columns"]:
            return f"columns of {entity}: {mine['columns']} and not {other['columns']}"
        for a, b in zip(mine["rows"], other["rows"]):
            if a != b:
                return f"a row of {entity}: {a[:400]} and not {b[:400]}"
    return None


class File:
    """A local file and its puller."""

    def __init__(self, run, name):
        self.run, self.path, self.follower = run, run.folder / name, None
        self.pulls = self.killed = 0
        self.needless = collections.Counter()

    def command(self, *more, url=None):
        return [str(self.run.binary), "--output", "json", "pull", "--url", url or self.run.proxy.url, "--org", ORG, "--db",
                str(self.path), "--data-dir", str(self.run.sluice.data), *PULLER, *more]

    def count(self, line):
        told = json.loads(line)
        self.pulls += 1
        self.needless.update({name: told[name] for name in NEEDLESS})

    def start(self):
        with open(f"{self.path}.out", "wb") as out, open(f"{self.path}.err", "ab") as err:
            self.follower = subprocess.Popen(self.command("--follow"), stdout=out, stderr=err)

    def end(self, how):
        """Ends the follower, if any, and adds up what it told."""
        if self.follower is None:
            return
        if self.follower.poll() is not None:
            raise AssertionError(f"{self.path}: the follower ended by itself: {pathlib.Path(f'{self.path}.err').read_text()}")
        self.follower.send_signal(how)
        self.follower.wait()
        self.follower = None
        lines = [line for line in pathlib.Path(f"{self.path}.out").read_bytes().split(b"\n") if line.endswith(b"}")]
        if lines:
            self.count(lines[-1])

    def pull(self, kill_after_s=None, how=signal.SIGKILL):
        """By the proxy; ended amid where it takes longer."""
        self.end(signal.SIGTERM)
        puller = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = puller.communicate(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            puller.send_signal(how)
            puller.communicate()
            self.killed += 1
            return
        if puller.returncode != 0:
            raise AssertionError(f"{self.path}: {err.decode()}")
        self.count(out)


class Run:
    def __init__(self, binary, folder, seed):
        self.binary, self.folder, self.random = binary, folder, random.Random(seed)
        self.sluice = Sluice(binary, folder / "server").start()
        self.proxy = Proxy(int(self.sluice.urls["sync"].rsplit(":", 1)[1]), seed)
        http = Http(self.sluice.urls["admin"], self.sluice.token("sluice.admin sluice.ingest"))
        http.json("PUT", f"/v1/orgs/{ORG}?wait=20s", {"display_name": ORG})
        self.definitions = Definitions(http, self.random)
        self.follower, self.other, self.first = (File(self, name) for name in ("live.db", "other.db", "first0.db"))
        self.files = [self.follower, self.other, self.first]
        self.rests = self.holds = 0
        self.failure = None  # of a puller's thread
        for name in ENTITIES:
            self.definitions.make(name)
            self.definitions.rows(name, 100)

    def hold_or_cut(self):
        kind = self.random.random()
        bytes_until = self.random.choice([300, 5_000, 100_000, 300_000])
        return (None, False) if kind < 0.3 else (self.random.randrange(bytes_until), kind < 0.5)

    def step(self):
        """Changes, while loads are held at wherever they are."""
        self.proxy.plan = self.hold_or_cut
        self.proxy.free.clear()
        if self.follower.follower is None:
            self.follower.start()
        # Held for so long that it is ended amid, after which a first load may keep what it has or not; or only until
        # the definitions have changed.
        pullers = [threading.Thread(target=self.guarded, args=(
            file, self.random.choice([0.15, 60]), self.random.choice([signal.SIGKILL, signal.SIGTERM])))
                   for file in (self.other, self.first) if self.random.random() < 0.6]
        for thread in pullers:
            thread.start()
        if self.proxy.held.acquire(timeout=0.3):
            self.holds += 1
        for _ in range(self.random.choice([1, 1, 2, 4])):
            self.definitions.change()
        if self.random.random() < 0.2:
            self.follower.end(signal.SIGKILL)
        self.proxy.plan = lambda: (None, False)
        self.proxy.free.set()
        for thread in pullers:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def guarded(self, file, kill_after_s, how):
        try:
            file.pull(kill_after_s, how)
        except (AssertionError, OSError) as error:  # told by the main thread
            self.failure = error

    def rest(self):
        """Nothing changes: each file must become what a new one is."""
        self.rests += 1
        fresh = File(self, "fresh.db")
        for part in self.folder.glob("fresh.db*"):
            part.unlink()
        deadline = time.monotonic() + 60
        while True:
            subprocess.run(fresh.command(url=self.sluice.urls["sync"]), check=True, capture_output=True)
            position, want = contents(fresh.path)
            if position >= self.definitions.position:
                break
            if time.monotonic() > deadline:
                raise AssertionError(f"the server stays at {position}, before {self.definitions.position}")
        if self.follower.follower is None:
            self.follower.start()
        for file in (self.other, self.first):
            file.pull()
            self.compare(file, want)
        while True:  # what another process writes
            try:
                return self.compare(self.follower, want)
            except (AssertionError, sqlite3.OperationalError):
                if time.monotonic() > deadline or self.follower.follower.poll() is not None:
                    raise
            time.sleep(0.02)

    def compare(self, file, want):
        position, got = contents(file.path)
        if got is None or (different := difference(got, want)) is not None:
            raise AssertionError(f"{file.path.name} at {position}: {got and different}")

    def new_first(self):
        """The next step's first load goes into a file that is new."""
        self.first.end(signal.SIGTERM)
        self.first = File(self, f"first{self.rests}.db")
        self.files.append(self.first)

    def needless(self):
        self.follower.end(signal.SIGTERM)
        return sum((file.needless for file in self.files), collections.Counter())

    def close(self):
        if self.follower.follower is not None:
            self.follower.follower.kill()
            self.follower.follower.wait()
        self.proxy.free.set()
        self.proxy.listener.close()
        self.sluice.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rests", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--keep", action="store_true", help="the folder, where something failed")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-definitions-"))
    run = Run(arguments.binary, folder, arguments.seed)
    try:
        for rest in range(arguments.rests):
            for _ in range(run.random.randint(1, 3)):
                run.step()
            run.rest()
            if run.random.random() < 0.5:
                run.new_first()
        needless = run.needless()
        pulls = sum(file.pulls for file in run.files)
        print(f"{run.definitions.changes} changes, {run.rests} rests, {pulls} pulls, {run.holds} held amid, "
              f"{sum(file.killed for file in run.files)} ended amid, {run.proxy.failures} cut; {dict(needless)}")
        if needless["buckets_reloaded"] or needless["buckets_reset"] or needless["reconnects"] > run.proxy.failures:
            raise AssertionError("something was sent again for nothing")
    except BaseException:
        print(f"seed {arguments.seed}, rest {run.rests}, {folder}", flush=True)
        raise
    finally:
        run.close()
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
