"""Two nodes that share a set over one real Kafka, paused (SIGSTOP), killed and restarted at random, while many
organisations live through random histories and their clients pull through either node.

Each organisation's history is definitions and change sets, appended through either node. At the end the log itself is
folded here in a few lines, by a plain model, and every complete pull must equal it:
- a delta client's and a stream client's rows are exactly the caller's at the position that it was told, whichever nodes
  answered its pages;
- nobody sees rows by rights of an earlier position than one that was already shown to somebody;
- an organisation that exists is never answered with 404, and every refusal has a code;
- every acknowledged set is in the log, and in effect once.

    two_nodes_run.py --binary build/release/bin/sluice --histories 2000 [--brokers HOST:PORT] [--seed N]
"""

import argparse
import collections
import http.client
import json
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import Http, Sluice, brokers, ending  # noqa: E402
from xxh64 import xxh64  # noqa: E402

STRING = "string"
ITEM = {"primary_key": "id", "attributes": [
    {"name": "id", "type": STRING}, {"name": "owner", "type": STRING}, {"name": "team", "type": STRING},
    {"name": "secret", "type": STRING}, {"name": "n", "type": STRING}], "ownership": {"user": "owner", "team": "team"}}
LINE = {"primary_key": "id", "attributes": [{"name": "id", "type": STRING},
                                            {"name": "itemid", "type": STRING, "references": "item"}]}
SCHEMAS = {"item": ITEM, "line": LINE}
COLUMNS = {entity: {a["name"] for a in schema["attributes"]} for entity, schema in SCHEMAS.items()}
USERS = {"anna": ["north"], "bert": ["south"]}
GONE = (ConnectionError, http.client.HTTPException, TimeoutError, OSError)
PARTITIONS = 3


class Refused(Exception):
    """An answer with a code that ends what was tried."""

    def __init__(self, status, code, body):
        super().__init__(f"{status} {code}: {body[:300]!r}")
        self.status, self.code = status, code


class Nodes:
    """Both nodes, and requests that find one which answers: over 307, 503, broken connections and pauses."""

    def __init__(self, nodes, seed):
        self.nodes = nodes
        self.random = random.Random(seed)
        self.counters = collections.Counter()
        self.stopped = threading.Event()

    def once(self, url, method, path, token, body, content_type, timeout):
        connection = Http(url, token, timeout=timeout)
        return connection.request(method, path, body, content_type=content_type)

    def call(self, side, method, path, token, body=None, content_type="application/json", accept=(200, 201, 202), wait_s=90):
        """(status, body) of the first answer in `accept`; Refused for one that trying again cannot mend."""
        deadline = time.monotonic() + wait_s
        last = "no answer"
        while time.monotonic() < deadline:
            url = self.random.choice(self.nodes).urls.get(side)
            try:
                for _ in range(4):
                    status, headers, answer = self.once(url, method, path, token, body, content_type, timeout=4)
                    if status != 307:
                        break
                    self.counters["redirects"] += 1
                    target = urllib.parse.urlsplit(headers["Location"])
                    url, path = f"{target.scheme}://{target.netloc}", target.path + (f"?{target.query}" if target.query else "")
            except GONE as gone:
                self.counters["no answer"] += 1
                last = repr(gone)
                time.sleep(0.05)
                continue
            if status in accept:
                return status, answer
            code = problem_code(answer)
            self.counters[f"{status} {code}"] += 1
            if not code:
                raise AssertionError(f"{method} {path}: {status} without a code: {answer[:300]!r}")
            if status not in (307, 429, 503):
                raise Refused(status, code, answer)
            last = f"{status} {code}"
            time.sleep(self.random.uniform(0.02, 0.2))
        raise AssertionError(f"{method} {path}: not answered within {wait_s} s, last: {last}")


def problem_code(answer):
    try:
        return json.loads(answer).get("code", "")
    except ValueError:
        return ""


class Disturber(threading.Thread):
    """Pauses, kills and restarts one node at a time; the other goes on."""

    def __init__(self, nodes, seed):
        super().__init__(daemon=True)
        self.nodes, self.random = nodes, random.Random(seed)
        self.stopping = threading.Event()
        self.counters = collections.Counter()
        self.failure = None

    def run(self):
        try:
            while not self.stopping.wait(self.random.uniform(0.5, 4.0)):
                self.disturb(self.random.choice(self.nodes))
        except Exception as failure:  # reported by the main thread
            self.failure = failure

    def disturb(self, node):
        kind = self.random.random()
        if kind < 0.5:
            # Up to more than the group's session time-out: the partitions go to the other node meanwhile.
            node.process.send_signal(signal.SIGSTOP)
            self.stopping.wait(self.random.choice([0.2, 1.0, 4.0, 13.0]))
            node.process.send_signal(signal.SIGCONT)
            self.counters["pauses"] += 1
        elif kind < 0.75:
            node.kill()
            self.stopping.wait(self.random.uniform(0, 3))
            node.start()
            self.counters["kills"] += 1
        else:
            node.stop()
            self.stopping.wait(self.random.uniform(0, 1))
            node.start()
            self.counters["restarts"] += 1


class StreamClient:
    """A client of gateways/docs/api.md, section 3.2, written from that page: rows by bucket, each with its position."""

    def __init__(self):
        self.buckets = {}  # id -> {"after": text, "rows": {(entity, key): (position, row)}}
        self.position = -1

    def body(self):
        return {"have": [{"bucket": b, "after": one["after"]} for b, one in self.buckets.items()], "live": False}

    def take(self, text):
        """One answer, to its checkpoint_complete; False where it ended before."""
        work = {b: {"after": one["after"], "rows": dict(one["rows"])} for b, one in self.buckets.items()}
        summaries, complete = {}, None
        for line in text.decode().splitlines():
            (kind, frame), = json.loads(line).items()
            if kind == "checkpoint":
                summaries = {s["bucket"]: s for s in frame["buckets"]}
                for gone in frame["removed"]:
                    work.pop(gone, None)
            elif kind == "reset":
                work[frame["bucket"]] = {"after": "0", "rows": {}}
            elif kind == "ops":
                bucket = work.setdefault(frame["bucket"], {"after": "0", "rows": {}})
                for op in frame["ops"]:
                    key = op["entity"], op["key"]
                    if op["op"] == "put":
                        bucket["rows"][key] = op["position"], op["row"]
                    else:
                        bucket["rows"].pop(key, None)
                bucket["after"] = frame["to"]
            elif kind == "checkpoint_complete":
                complete = int(frame["position"])
        if complete is None:
            return False
        for identity, summary in summaries.items():
            bucket = work.setdefault(identity, {"after": "0", "rows": {}})
            bucket["after"] = str(complete)
            total = sum(xxh64(e.encode() + b"\0" + k.encode() + b"\0" + p.encode()) for (e, k), (p, _) in bucket["rows"].items())
            if len(bucket["rows"]) != int(summary["count"]) or f"{total % 2**64:016x}" != summary["checksum"]:
                raise AssertionError(f"bucket {identity} at {complete}: {len(bucket['rows'])} rows, the checkpoint says {summary}")
        extra = set(work) - set(summaries)
        if extra:
            raise AssertionError(f"the checkpoint at {complete} neither lists nor removes {sorted(extra)}")
        self.buckets, self.position = work, complete
        return True

    def rows(self):
        newest = {}
        for bucket in self.buckets.values():
            for key, (position, row) in bucket["rows"].items():
                order = tuple(int(part) for part in position.split("."))
                if key not in newest or newest[key][0] < order:
                    newest[key] = order, row
        return {key: row for key, (_, row) in newest.items()}


class DeltaClient:
    """A client of gateways/docs/api.md, section 3.1, written from that page."""

    def __init__(self):
        self.rows, self.cursor, self.position = {}, None, -1


class History:
    """One organisation's life, and what its clients were shown."""

    def __init__(self, run, org, seed):
        self.run, self.org, self.random = run, org, random.Random(seed)
        self.sent, self.acked, self.made = {}, {}, 0
        self.shown = []  # (began, ended, user, incarnation hint, position, rows)
        self.clients = {user: (DeltaClient(), StreamClient()) for user in USERS}

    def admin(self, method, path, body=None, accept=(200, 201, 202)):
        wait = self.random.choice(["", "?wait=2s"])
        return self.run.nodes.call("admin", method, f"/v1/orgs/{self.org}{path}{wait}", self.run.admin_token, body, accept=accept)

    def provision(self):
        self.admin("PUT", "", {"display_name": self.org})
        for entity, schema in SCHEMAS.items():
            self.admin("PUT", f"/entities/{entity}", schema)
        self.put_role()
        self.put_profile()

    def put_role(self):
        deny = self.random.choice([[], [], ["secret"]])
        self.admin("PUT", "/roles/r", {"offline": self.random.random() < 0.9, "entities": {
            "item": {"read": True, "deny_columns": deny}, "line": {"read": self.random.random() < 0.8}}})

    def put_profile(self):
        rules = self.random.choice([[{"kind": "user"}], [{"kind": "user"}, {"kind": "team"}], [{"kind": "team"}], [{"kind": "all"}]])
        self.admin("PUT", "/profiles/p", {"roles": ["r"], "entities": {
            "item": rules, "line": [{"kind": "related", "through": "line.itemid"}]}})

    def ingest(self):
        sets = []
        for _ in range(self.random.randint(1, 5)):
            self.made += 1
            sets.append({"id": f"s{self.made}", "source": "two-nodes", "ops": [self.make_op() for _ in range(self.random.randint(1, 3))]})
        self.sent.update((one["id"], one["ops"]) for one in sets)
        left = sets
        while left:
            body = "".join(json.dumps(one) + "\n" for one in left).encode()
            _, answer = self.run.nodes.call("admin", "POST", f"/v1/orgs/{self.org}/changes", self.run.admin_token, body,
                                            content_type="application/x-ndjson", accept=(200,))
            for line in answer.decode().splitlines():
                one = json.loads(line)
                if "position" in one:
                    self.acked[one["id"]] = int(one["position"])
                elif one["error"]["status"] < 500:
                    raise AssertionError(f"{self.org}: refused: {line}")
            left = [one for one in left if one["id"] not in self.acked]

    def make_op(self):
        key = f"i{self.random.randint(0, 9)}"
        if self.random.random() < 0.3:
            return {"op": "upsert", "entity": "line", "row": {"id": f"l{self.random.randint(0, 9)}", "itemid": key}}
        if self.random.random() < 0.2:
            return {"op": "delete", "entity": "item", "key": key}
        return {"op": "upsert", "entity": "item", "row": {
            "id": key, "owner": self.random.choice(list(USERS)), "team": self.random.choice(["north", "south"]),
            "secret": f"secret {self.made}", "n": str(self.made)}}

    def pull_delta(self, user):
        client, _ = self.clients[user]
        began = time.monotonic()
        while True:
            query = {"limit": self.random.choice([2, 5, 1000])}
            if client.cursor:
                query["cursor"] = client.cursor
            path = f"/v1/orgs/{self.org}/delta?{urllib.parse.urlencode(query)}"
            try:
                _, answer = self.run.nodes.call("sync", "GET", path, self.run.tokens[self.org, user], accept=(200,))
            except Refused as refused:
                if refused.status == 410:
                    client.cursor, client.rows = None, {}
                    continue
                return self.refused(refused)
            page = json.loads(answer)
            for op in page["ops"]:
                if op["op"] == "put":
                    client.rows[op["entity"], op["key"]] = op["row"]
                else:
                    client.rows.pop((op["entity"], op["key"]), None)
            client.cursor = page["cursor"]
            if not page["more"]:
                client.position = int(page["position"])
                self.shown.append((began, time.monotonic(), user, "delta", client.position, {k: dict(r) for k, r in client.rows.items()}))
                return None

    def pull_stream(self, user):
        _, client = self.clients[user]
        for _ in range(20):
            began = time.monotonic()
            try:
                _, answer = self.run.nodes.call("sync", "POST", f"/v1/orgs/{self.org}/stream", self.run.tokens[self.org, user],
                                                client.body(), accept=(200,))
            except Refused as refused:
                return self.refused(refused)
            if client.take(answer):
                self.shown.append((began, time.monotonic(), user, "stream", client.position, client.rows()))
                return None
        raise AssertionError(f"{self.org}: twenty streams ended before their checkpoint was complete")

    def refused(self, refused):
        if refused.code != "offline_not_allowed":
            raise AssertionError(f"{self.org}: {refused}")

    def live(self):
        self.provision()
        for _ in range(self.random.randint(6, 14)):
            step = self.random.random()
            user = self.random.choice(list(USERS))
            if step < 0.4:
                self.ingest()
            elif step < 0.5:
                self.put_role()
            elif step < 0.6:
                self.put_profile()
            elif step < 0.8:
                self.pull_delta(user)
            else:
                self.pull_stream(user)
        for user in USERS:
            self.pull_delta(user)
            self.pull_stream(user)


class Model:
    """The organisation after the events so far."""

    def __init__(self):
        self.rows, self.rules, self.role, self.seen = {}, [], {}, set()

    def apply(self, event, sent):
        payload, kind = event["payload"], event["type"].removeprefix("sluice.v1.")
        if kind == "ProfileDefined":
            of_item = [e for e in payload["profile"].get("entities", []) if e["entity"] == "item"]
            self.rules = [rule["kind"].removeprefix("RULE_KIND_").lower() for e in of_item for rule in e.get("rules", [])]
        elif kind == "RoleDefined":
            self.role = payload["role"]
        elif kind == "ChangeSet" and payload["id"] not in self.seen:
            self.seen.add(payload["id"])
            for op in sent[payload["id"]]:
                key = op["entity"], op.get("key") or op["row"]["id"]
                if op["op"] == "upsert":
                    self.rows[key] = op["row"]
                else:
                    self.rows.pop(key, None)

    def rights(self, user):
        """What the caller may see of each entity: a set of columns; None where no role allows offline use."""
        if not self.role.get("offline"):
            return None
        return {grant["entity"]: COLUMNS[grant["entity"]] - set(grant.get("denyColumns", []))
                for grant in self.role.get("entities", []) if grant.get("read")}

    def visible(self, user):
        rights = self.rights(user)
        if rights is None:
            return None
        mine = {"user": lambda r: r["owner"] == user, "team": lambda r: r["team"] in USERS[user], "all": lambda r: True}
        items = {k for k, r in self.rows.items() if k[0] == "item" and any(mine[rule](r) for rule in self.rules)}
        lines = {k for k, r in self.rows.items() if k[0] == "line" and ("item", r["itemid"]) in items and "item" in rights}
        return {k: {c: v for c, v in self.rows[k].items() if c in rights[k[0]]} for k in items | lines if k[0] in rights}


def check(history, events):
    """Every pull against the model at its position; returns how many."""
    first = {}
    for event in events:
        if event["type"] == "sluice.v1.ChangeSet":
            first.setdefault(event["payload"]["id"], int(event["offset"]))
    for identity, position in history.acked.items():
        assert identity in first, f"{history.org}: the acknowledged set {identity} is not in the log"
        assert position >= first[identity], f"{history.org}: {identity} was acknowledged at {position}, before its place"
    model, at = Model(), 0
    answered, fenced = -1, 0
    definitions = []
    for pull in sorted(history.shown, key=lambda one: one[4]):
        _, _, user, kind, position, found = pull
        while at < len(events) and int(events[at]["offset"]) <= position:
            event = events[at]
            answers = int(event.get("answers", -1))
            if answers < 0 or answers > answered:  # what a paused sequencer appended late has no effect
                answered = max(answered, answers)
                model.apply(event, history.sent)
                if event["type"] != "sluice.v1.ChangeSet":
                    definitions.append(int(event["offset"]))
            else:
                fenced += 1
            at += 1
        wanted = model.visible(user)
        assert wanted is not None, f"{history.org}: {kind} gave {user} rows at {position}, where no role allows it"
        wrong = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
        assert not wrong, (f"{history.org}: {kind} of {user} at {position} differs from the log in {len(wrong)} rows: "
                           f"{wrong[0]} is {found.get(wrong[0])}, should be {wanted.get(wrong[0])}")
    definitions += [int(e["offset"]) for e in events[at:] if e["type"] != "sluice.v1.ChangeSet"]
    for later in history.shown:
        for earlier in history.shown:
            if earlier[1] < later[0] and later[4] < earlier[4]:
                between = [d for d in definitions if later[4] < d <= earlier[4]]
                assert not between, (f"{history.org}: rows by the rights of {later[4]} were shown {later[0] - earlier[1]:.2f} s "
                                     f"after rows of {earlier[4]}; what was defined at {between} lies between")
    return len(history.shown), fenced


class Run:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.random = random.Random(options.seed)
        self.prefix = f"two{options.seed}-{int(time.time())}."
        self.tokens, self.done, self.failures = {}, [], []
        self.lock = threading.Lock()
        self.servers = []
        self.next_history = 0

    def start(self):
        common = ["--log", "kafka", "--brokers", self.options.brokers, "--set", f"log.topic_prefix={self.prefix}",
                  "--set", f"log.partitions={PARTITIONS}", "--set", "staging.checkpoint_interval=500ms"]
        one = Sluice(self.options.binary, self.folder / "a", common + ["--set", "staging.node_id=a"]).start()
        self.servers.append(one)
        jwks = str(one.data / "dev-jwks.json")
        self.servers.append(Sluice(self.options.binary, self.folder / "b",
                                   common + ["--set", "staging.node_id=b", "--auth-jwks", jwks]).start())
        self.admin_token = one.token("sluice.admin sluice.ingest")
        self.nodes = Nodes(self.servers, self.random.random())

    def worker(self):
        while not self.failures:
            with self.lock:
                number = self.next_history
                self.next_history += 1
            if number >= self.options.histories:
                return
            org = f"o{number}"
            history = History(self, org, f"{self.options.seed}/{number}")
            try:
                for user, teams in USERS.items():
                    self.tokens[org, user] = self.servers[0].token("sluice.sync", user, org, ["r"], teams)
                history.live()
            except BaseException as failure:
                with self.lock:
                    self.failures.append(f"{org}: {failure!r}")
                return
            with self.lock:
                self.done.append(history)
                if len(self.done) % 100 == 0:
                    print(f"{len(self.done)} histories", flush=True)

    def run(self):
        self.start()
        disturber = Disturber(self.servers, self.random.random())
        disturber.start()
        workers = [threading.Thread(target=self.worker, daemon=True) for _ in range(self.options.workers)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        disturber.stopping.set()
        disturber.join()
        if disturber.failure:
            raise disturber.failure
        assert not self.failures, self.failures[0]
        for server in self.servers:
            code = server.stop()
            assert code == 0, f"a graceful stop of {server.folder.name} ended with {code}"
        self.check(disturber)

    def check(self, disturber):
        dump = self.servers[0].command("log", "dump", "changes", "--brokers", self.options.brokers, "--topic-prefix", self.prefix,
                                       "--limit", 100_000_000).stdout
        events = collections.defaultdict(list)
        for line in dump.splitlines():
            event = json.loads(line)
            events[event["key"]].append(event)
        pulls = fenced = 0
        for history in self.done:
            of_org = sorted(events[history.org], key=lambda one: int(one["offset"]))
            shown, late = check(history, of_org)
            pulls, fenced = pulls + shown, fenced + late
        print(f"{len(self.done)} histories on two nodes ({dict(disturber.counters)}): {pulls} complete pulls equal to the log at "
              f"their positions, no old right; {fenced} control events that answer what was answered had no effect; answers other "
              f"than rows: {dict(self.nodes.counters)}; seed {self.options.seed}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--histories", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--brokers", default="")
    parser.add_argument("--broker-script", default="", help="SLUICE_TEST_BROKERS, or a broker started with this")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randint(1, 1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sluice-two-") as folder:
        if options.broker_script:
            options.brokers = brokers(options.broker_script, folder)
        run = Run(options, pathlib.Path(folder))
        with ending(run.servers):
            run.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
