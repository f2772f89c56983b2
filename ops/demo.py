"""Shows Sluice's main job on real input: this machine's package index, two callers, one real change.

Run by ./ops/demo, which builds first. Exits non-zero when a check fails.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLUICE = ROOT / "build/release/bin/sluice"
WORK = ROOT / "build/demo"
DATA = WORK / "data"
ORG = "debian"
OPS_PER_SET = 50
TEAMS = ["games", "science", "python"]

SCHEMAS = {
    "maintainer": {
        "primary_key": "email",
        "attributes": [
            {"name": "email", "type": "string"},
            {"name": "name", "type": "string"},
            {"name": "packages", "type": "int32"},
        ],
    },
    "package": {
        "primary_key": "name",
        "attributes": [
            {"name": "name", "type": "string"},
            {"name": "version", "type": "string"},
            {"name": "section", "type": "string"},
            {"name": "priority", "type": "string"},
            {"name": "architecture", "type": "string"},
            {"name": "installed_size", "type": "int64"},
            {"name": "download_size", "type": "int64"},
            {"name": "maintainer", "type": "string", "references": "maintainer"},
            {"name": "homepage", "type": "string"},
            {"name": "description", "type": "string"},
            {"name": "depends", "type": "string"},
        ],
        "ownership": {"user": "maintainer", "team": "section"},
    },
}
PROFILE = {
    "entities": {"package": [{"kind": "user"}, {"kind": "team"}], "maintainer": [{"kind": "all"}]},
    "roles": ["packager", "reader"],
}
ROLES = {
    "packager": {"offline": True, "entities": {"package": {"read": True}, "maintainer": {"read": True}}},
    "reader": {"offline": True, "entities": {"package": {"read": True}}},
}


class Failed(Exception):
    """A check of the demo did not hold."""


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}")


def sluice(*arguments, env=None):
    """Runs the program; standard error (its progress bars) goes to the terminal."""
    done = subprocess.run([SLUICE, *map(str, arguments)], env={**os.environ, **(env or {})},
                          stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed(f"sluice {' '.join(map(str, arguments[:3]))} ... exited {done.returncode}")
    return done.stdout


# ---- the input -------------------------------------------------------------------------------------


def stanzas(text):
    """The packages of a Packages file: name -> fields."""
    found = {}
    for block in text.split("\n\n"):
        fields = {}
        for line in block.split("\n"):
            if line[:1] not in ("", " ", "\t") and ":" in line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if "Package" in fields:
            found.setdefault(fields["Package"], fields)
    return found


def read_available():
    text = subprocess.run(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, check=True).stdout.decode("utf-8", "replace")
    found = stanzas(text)
    if len(found) < 10_000 and os.geteuid() == 0:
        say("The package index is empty: apt-get update")
        subprocess.run(["apt-get", "update"], stdout=subprocess.DEVNULL, check=True)
        text = subprocess.run(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, check=True).stdout.decode("utf-8", "replace")
        found = stanzas(text)
    if len(found) < 1_000:
        raise Failed("the package index has fewer than 1,000 packages: run apt-get update first")
    return found


def read_release():
    """The packages as the distribution was released, without updates and security; {} where not known."""
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(SUITE)\t$(FILENAME)", "Created-By: Packages"],
                            stdout=subprocess.PIPE, text=True)
    found = {}
    for line in listed.stdout.splitlines():
        suite, _, filename = line.partition("\t")
        if "security" in suite or "updates" in suite or "security" in filename or "updates" in filename:
            continue
        text = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", filename], stdout=subprocess.PIPE)
        if text.returncode == 0:
            found.update(stanzas(text.stdout.decode("utf-8", "replace")))
    return found


def split_maintainer(text):
    name, bracket, rest = text.partition("<")
    email = rest.partition(">")[0].strip() if bracket else text.strip()
    return email.lower() or "unknown", name.strip() or email


def rows_of(packages):
    """The two entities' rows, as the input says: entity -> key -> row."""
    maintainers, rows, counts = {}, {}, collections.Counter()
    for name, fields in packages.items():
        email, person = split_maintainer(fields.get("Maintainer", "unknown"))
        counts[email] += 1
        maintainers.setdefault(email, person)
        row = {"name": name, "version": fields.get("Version"), "section": fields.get("Section"),
               "priority": fields.get("Priority"), "architecture": fields.get("Architecture"),
               "installed_size": fields.get("Installed-Size"), "download_size": fields.get("Size"),
               "maintainer": email, "homepage": fields.get("Homepage"), "description": fields.get("Description"),
               "depends": fields.get("Depends")}
        rows[name] = {k: v for k, v in row.items() if v}
    people = {email: {"email": email, "name": person, "packages": counts[email]} for email, person in maintainers.items()}
    return {"maintainer": people, "package": rows}


def difference(before, after):
    """The operations that turn one state into the other."""
    ops = []
    for entity in SCHEMAS:
        old, new = before[entity], after[entity]
        ops += [{"op": "upsert", "entity": entity, "row": row} for key, row in new.items() if old.get(key) != row]
        ops += [{"op": "delete", "entity": entity, "key": key} for key in old if key not in new]
    return ops


def write_sets(path, ops, name):
    with open(path, "w", encoding="utf-8") as out:
        for i in range(0, len(ops), OPS_PER_SET):
            out.write(json.dumps({"id": f"{name}-{i // OPS_PER_SET}", "source": "apt", "ops": ops[i:i + OPS_PER_SET]},
                                 ensure_ascii=False) + "\n")


def make_input():
    after = rows_of(read_available())
    release = read_release()
    before = rows_of(release) if release else after
    changed = difference(before, after)
    kind = "the security archive's and updates' versions"
    if len(changed) < 100:
        kind = "an edit of every 20th package's description"
        before = after
        edited = {key: {**row, "description": row.get("description", "") + " (reviewed)"}
                  for i, (key, row) in enumerate(after["package"].items()) if i % 20 == 0}
        after = {**before, "package": {**before["package"], **edited}}
        changed = difference(before, after)
    return before, after, changed, kind


# ---- callers ---------------------------------------------------------------------------------------


class Caller:
    """Somebody who takes rows off line: a token and a SQLite file."""

    def __init__(self, label, user, teams, role, sees):
        self.label, self.user, self.teams, self.role, self.sees = label, user, teams, role, sees
        self.db = WORK / f"{label}.sqlite"
        self.pulls = []

    def token(self):
        arguments = ["token", "--data-dir", DATA, "--sub", self.user, "--org", ORG, "--role", self.role, "--expires", "24h"]
        for team in self.teams:
            arguments += ["--team", team]
        return sluice(*arguments).strip()

    def pull(self, url, db=None):
        out = sluice("pull", "--url", url, "--org", ORG, "--db", db or self.db, "--output", "json",
                     env={"SLUICE_TOKEN": self.token()})
        result = json.loads(out)
        if db is None:
            self.pulls.append(result)
        return result

    def expected(self, state):
        """The caller's rows, computed from the input alone."""
        mine = {k: r for k, r in state["package"].items() if r["maintainer"] == self.user or r.get("section") in self.teams}
        return {"package": mine, "maintainer": state["maintainer"] if "maintainer" in self.sees else {}}

    def check(self, state):
        connection = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)
        for entity, rows in self.expected(state).items():
            columns = [a["name"] for a in SCHEMAS[entity]["attributes"]]
            integers = {a["name"] for a in SCHEMAS[entity]["attributes"] if a["type"].startswith("int")}
            exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (entity,)).fetchone()
            found = {}
            if exists:
                for values in connection.execute(f'SELECT {", ".join(columns)} FROM "{entity}"'):
                    found[values[0]] = {c: v for c, v in zip(columns, values) if v is not None}
            wanted = {k: {c: int(v) if c in integers else v for c, v in r.items()} for k, r in rows.items()}
            if found != wanted:
                wrong = [k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k)]
                raise Failed(f"{self.label}: {len(wrong)} rows of {entity} differ from the input, such as {wrong[0]!r}: "
                             f"SQLite has {found.get(wrong[0])}, the input {wanted.get(wrong[0])}")
        connection.close()
        return sum(len(rows) for rows in self.expected(state).values())


# ---- the server ------------------------------------------------------------------------------------


class Server:
    def __init__(self, arguments=()):
        ready = WORK / "ready.json"
        self.log = open(WORK / "server.log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [SLUICE, "serve", "--data-dir", DATA, "--admin-listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0",
             "--ready-file", ready, *arguments], stdout=self.log, stderr=self.log, start_new_session=True)
        deadline = time.monotonic() + 60
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"the server did not start; its log is {WORK / 'server.log'}")
            time.sleep(0.02)
        self.urls = json.loads(ready.read_text())

    def memory(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        return 0

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


def size(number):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024


def folder_size(path):
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def provision(admin):
    common = ["--url", admin, "--data-dir", DATA]
    sluice("org", "create", ORG, "--display-name", "The package index of this machine", *common)
    for kind, definitions in (("entity", SCHEMAS), ("role", ROLES), ("profile", {"packages": PROFILE})):
        for name, definition in definitions.items():
            path = WORK / f"{kind}-{name}.json"
            path.write_text(json.dumps(definition, indent=1))
            sluice(kind, "put", ORG, name, path, *common)


def ingest(admin, path):
    return json.loads(sluice("ingest", path, "--org", ORG, "--url", admin, "--data-dir", DATA, "--output", "json"))


def wait_applied(admin, position):
    deadline = time.monotonic() + 120
    while True:
        org = json.loads(sluice("org", "get", ORG, "--url", admin, "--data-dir", DATA, "--output", "json"))
        if "records" in org and int(org.get("applied", -1)) >= int(position):
            return org
        if time.monotonic() > deadline:
            raise Failed(f"position {position} was not applied within two minutes (applied: {org.get('applied')})")
        time.sleep(0.05)


def run(server, once):
    admin, sync = server.urls["admin"], server.urls["sync"]
    idle = server.memory()
    step("1. Reading this machine's package index")
    before, after, changed, kind = make_input()
    write_sets(WORK / "load.ndjson", difference({e: {} for e in SCHEMAS}, before), "load")
    write_sets(WORK / "change.ndjson", changed, "change")
    say(f"   {len(before['package']):,} packages, {len(before['maintainer']):,} maintainers")

    step("2. Provisioning the organisation, its schemas, a profile and two roles")
    provision(admin)
    say(f"   organisation {ORG} is ready")

    step("3. Appending every record to the log; the projector folds them into the organisation's store")
    start = time.monotonic()
    load = ingest(admin, WORK / "load.ndjson")
    org = wait_applied(admin, load["position"])
    folded = time.monotonic() - start
    records = len(before["package"]) + len(before["maintainer"])
    if int(org["records"]) != records:
        raise Failed(f"the store holds {org['records']} records, the input {records}")
    say(f"   {records:,} records in {load['sets']:,} change sets: durable in {load['seconds']:.1f} s, folded in {folded:.1f} s")

    step("4. Two callers with different rights pull their rows into SQLite")
    counts = collections.Counter(r["maintainer"] for r in before["package"].values())
    owner = counts.most_common(1)[0][0]
    anna = Caller("anna", owner, [], "packager", ["package", "maintainer"])
    bert = Caller("bert", "bert@example.org", TEAMS, "reader", ["package"])
    callers = [anna, bert]
    for caller in callers:
        result = caller.pull(sync)
        rows = caller.check(before)
        say(f"   {caller.label}: {rows:,} rows, {size(result['bytes_received'])} in {result['seconds']:.2f} s "
            f"- compared with the input: equal")

    step(f"5. A real change: {kind}")
    change = ingest(admin, WORK / "change.ndjson")
    wait_applied(admin, change["position"])
    say(f"   {len(changed):,} operations in {change['sets']} change sets")

    step("6. Only the difference travels")
    full = []
    for caller in callers:
        delta = caller.pull(sync)
        caller.check(after)
        scratch = WORK / f"{caller.label}-full.sqlite"
        full.append(caller.pull(sync, scratch))
        moved = delta["rows_put"] + delta["rows_removed"]
        say(f"   {caller.label}: {moved:,} rows, {size(delta['bytes_received'])} "
            f"(a full load: {full[-1]['rows_put']:,} rows, {size(full[-1]['bytes_received'])}) - equal to the input")
        if not 0 < delta["bytes_received"] < full[-1]["bytes_received"]:
            raise Failed(f"{caller.label}'s second pull was not smaller than a full load")
    report(server, idle, records, load, folded, callers, full, changed)


def report(server, idle, records, load, folded, callers, full, changed):
    step("What happened")
    lines = [
        ("appended", f"{records:,} records, {size(load['bytes'])}, {records / load['seconds']:,.0f} records/s durable"),
        ("folded", f"{records / folded:,.0f} records/s from the first append to the last applied"),
        ("log on disk", size(folder_size(DATA / "log"))),
        ("stores on disk", size(folder_size(DATA / "stores"))),
        ("memory", f"{size(idle)} idle, {size(server.memory())} now"),
    ]
    for caller, whole in zip(callers, full):
        first, second = caller.pulls
        lines.append((f"{caller.label}, first pull", f"{first['rows_put']:,} rows, {size(first['bytes_received'])}, "
                      f"{first['rows_put'] / max(first['seconds'], 1e-9):,.0f} rows/s into SQLite"))
        lines.append((f"{caller.label}, the change", f"{second['rows_put'] + second['rows_removed']:,} rows, "
                      f"{size(second['bytes_received'])}: {100 * second['bytes_received'] / whole['bytes_received']:.1f}% of a full load"))
    for name, value in lines:
        say(f"   {name:<18} {value}")


def next_steps(server, alive):
    db = (WORK / "anna.sqlite").relative_to(ROOT)
    step("Try next")
    if alive:
        say(f"   build/release/bin/sluice org get {ORG} --url {server.urls['admin']} --data-dir build/demo/data")
        say(f"   build/release/bin/sluice entity list {ORG} --url {server.urls['admin']} --data-dir build/demo/data")
    else:
        say("   build/release/bin/sluice store stat --data-dir build/demo/data")
        say("   build/release/bin/sluice log stat --data-dir build/demo/data")
    say(f"   sqlite3 {db} 'SELECT section, count(*) FROM package GROUP BY section ORDER BY 2 DESC LIMIT 5'")


def main():
    parser = argparse.ArgumentParser(prog="ops/demo")
    parser.add_argument("--once", action="store_true", help="end when the numbers are printed")
    once = parser.parse_args().once or not sys.stdin.isatty()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    server = None
    try:
        server = Server()
        run(server, once)
        next_steps(server, alive=not once)
        if not once:
            say(f"\nThe server is running (admin {server.urls['admin']}, sync {server.urls['sync']}). Ctrl-C ends it.")
            server.process.wait()
        return 0
    except Failed as problem:
        print(f"\nops/demo: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say()
        return 0
    finally:
        if server is not None and server.stop() != 0:
            print(f"ops/demo: the server ended with {server.process.returncode}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
