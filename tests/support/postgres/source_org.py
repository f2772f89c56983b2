"""An organisation whose rows come from a database by Debezium, and a caller who has all of them in a SQLite file."""

import contextlib
import json
import pathlib
import sqlite3
import time

from sluice_process import Http

SOURCE = "shop"
SETTLE_SECONDS = 240  # how long a hang may last, on a machine that is busy with other things


def settle(check, what, told=lambda: ""):
    """Polls what other processes bring about, until `check()` is true. `told()`: what to say where it never is."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"not after {SETTLE_SECONDS} s: {what}\n{told()}")
        time.sleep(0.1)


class SourceOrg:
    """One organisation `org` of `server`, a Sluice that may be killed and started again. `entities`: as the source's
    settings have them; `prefix`: of Debezium's topics."""

    def __init__(self, server, folder, org, prefix, entities):
        self.server, self.org, self.entities = server, org, entities
        self.db = pathlib.Path(folder) / f"{org}.sqlite"
        self.definition = pathlib.Path(folder) / f"{org}.json"
        self.definition.write_text(json.dumps(
            {"kind": "debezium", "transactions": f"{prefix}.transaction", "interval": "1s", "entities": entities}))
        self.pull_said = ""
        self.admin_token = server.token("sluice.admin")
        self.token = server.token("sluice.sync", sub="ann", org=org, roles=["reader"])
        self.ask("PUT", "?wait=30s", {})

    def ask(self, method, path, body=None, expect=(200,)):
        """The answer's JSON. A server on a busy machine may be behind for a moment (503), and is asked again."""
        answers = []

        def answered():
            admin = Http(self.server.urls["admin"], self.admin_token)
            answers[:] = admin.request(method, f"/v1/orgs/{self.org}{path}", body)
            return answers[0] != 503

        settle(answered, f"{method} {path} is answered", self.server.tail)
        if answers[0] not in expect:
            raise AssertionError(f"{method} {path}: {answers[0]} {answers[2][:500]!r}")
        return json.loads(answers[2])

    def source(self, command, *arguments):
        """`sluice source COMMAND ORG shop …`; returns what it prints."""
        done = []

        def answered():
            done[:] = [self.server.command("source", command, self.org, SOURCE, *arguments, "--url", self.server.urls["admin"],
                                           "--data-dir", self.server.data, check=False)]
            return "not_caught_up" not in done[0].stderr

        settle(answered, f"sluice source {command} is answered", self.server.tail)
        if done[0].returncode != 0:
            raise AssertionError(f"sluice source {command}: {done[0].stderr}")
        return done[0].stdout

    def state(self):
        return self.ask("GET", f"/sources/{SOURCE}")

    def told(self):
        said = [line for line in self.server.tail(2000).splitlines() if "_request " not in line][-40:]
        return "\n".join([json.dumps(self.state(), indent=1), "the last pull says:", self.pull_said,
                          "the server says:", *said])

    def begin(self):
        """Puts the source, waits until it has its entities defined, and lets the caller read them."""
        self.source("put", self.definition)
        for entity in self.entities:
            settle(lambda name=entity: "primary_key" in self.ask("GET", f"/entities/{name}", expect=(200, 404)),
                   f"{entity} is defined", self.told)
        self.ask("PUT", "/roles/reader?wait=30s", {"offline": True, "entities": {e: {"read": True} for e in self.entities}})
        self.ask("PUT", "/profiles/all?wait=30s",
                 {"entities": {e: [{"kind": "all"}] for e in self.entities}, "roles": ["reader"]})

    def pull(self):
        """One `sluice pull`; returns what it says of itself, or None where it failed, as it does while no server is there."""
        done = self.server.command("pull", "--url", self.server.urls["sync"], "--org", self.org, "--db", self.db,
                                   "--output", "json", env={"SLUICE_TOKEN": self.token}, check=False)
        self.pull_said = done.stderr
        return json.loads(done.stdout) if done.returncode == 0 else None

    def query(self, *statements):
        """The rows of each statement, all of one checkpoint."""
        with contextlib.closing(sqlite3.connect(f"file:{self.db}?mode=ro", uri=True, isolation_level=None)) as db:
            db.execute("BEGIN")
            return [db.execute(statement).fetchall() for statement in statements]
