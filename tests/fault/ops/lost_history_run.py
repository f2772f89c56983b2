"""A log that lost its tail, came back from a backup, or was made anew: nobody takes another history for the one that
was read. Real files are cut and real topics deleted; the clients are those of the API page, and `sluice pull`.

    lost_history_run.py --binary build/release/bin/sluice [--broker-script tests/support/broker/kafka_broker] [NAME...]
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import Http, Sluice  # noqa: E402

ORG = "acme"
SCHEMA = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}, {"name": "owner", "type": "string"}],
          "ownership": {"user": "owner"}}


class Place:
    """One server and one caller, with everything that is asked of them."""

    def __init__(self, binary, folder, arguments=(), keys_of=None):
        """`keys_of`: another place, whose callers are this one's too."""
        self.folder = folder
        self.sluice = Sluice(binary, folder / "server", ["--set", "log.partitions=1", *arguments])
        if keys_of is not None:
            copy_keys(keys_of, self.sluice)
        self.sluice.start()
        self.admin_token = self.sluice.token("sluice.admin sluice.ingest")
        self.tokens = {}

    def token(self, org=ORG):
        if org not in self.tokens:
            self.tokens[org] = self.sluice.token("sluice.sync", "anna", org, ["r"])
        return self.tokens[org]

    def ask(self, method, path, body=None, side="admin", content_type="application/json", org=ORG):
        token = self.admin_token if side == "admin" else self.token(org)
        status, headers, answer = Http(self.sluice.urls[side], token).request(method, path, body, content_type=content_type)
        try:
            return status, headers, json.loads(answer)
        except ValueError:
            return status, headers, answer.decode(errors="replace")

    def provision(self, org=ORG):
        for path, body in (("", {}), ("/entities/item", SCHEMA), ("/roles/r", {"offline": True, "entities": {"item": {"read": True}}}),
                           ("/profiles/p", {"entities": {"item": [{"kind": "user"}]}, "roles": ["r"]})):
            status, _, answer = self.ask("PUT", f"/v1/orgs/{org}{path}?wait=30s", body)
            assert status == 200, (path, status, answer)

    def ingest(self, keys, org=ORG, wait="30s", expect=(200,)):
        body = "".join(json.dumps({"ops": [{"op": "upsert", "entity": "item", "row": {"id": key, "owner": "anna"}}]}) + "\n"
                       for key in keys).encode()
        status, _, answer = self.ask("POST", f"/v1/orgs/{org}/changes?wait={wait}", body, content_type="application/x-ndjson")
        assert status in expect, (status, answer)
        return answer

    def delta(self, cursor=None, org=ORG):
        """(status, code or keys, cursor, headers) of all pages."""
        keys = set()
        while True:
            status, headers, page = self.ask("GET", f"/v1/orgs/{org}/delta" + (f"?cursor={cursor}" if cursor else ""), side="sync", org=org)
            if status != 200:
                return status, page.get("code"), None, headers
            for op in page["ops"]:
                (keys.add if op["op"] == "put" else keys.discard)(op["key"])
            cursor = page["cursor"]
            if not page["more"]:
                return status, keys, cursor, headers

    def rows_text(self):
        """What one complete delta shows, as text."""
        text, cursor = "", None
        while True:
            status, _, page = self.ask("GET", f"/v1/orgs/{ORG}/delta" + (f"?cursor={cursor}" if cursor else ""), side="sync")
            assert status == 200, page
            text += json.dumps(page["ops"])
            cursor = page["cursor"]
            if not page["more"]:
                return text

    def stream(self, body):
        status, _, answer = self.ask("POST", f"/v1/orgs/{ORG}/stream", body, side="sync")
        assert status == 200, (status, answer)
        frames = [answer] if isinstance(answer, dict) else [json.loads(line) for line in answer.splitlines()]
        return frames

    def pull(self, check=True):
        return self.sluice.command("pull", "--url", self.sluice.urls["sync"], "--org", ORG, "--db", self.folder / "anna.sqlite",
                                   env={"SLUICE_TOKEN": self.token()}, check=check)

    def pulled(self):
        return {row[0] for row in sqlite3.connect(self.folder / "anna.sqlite").execute("SELECT id FROM item")}

    def ready(self):
        status, _, answer = self.ask("GET", "/readyz")
        return status, json.dumps(answer)

    def refused(self):
        """Whether the history is told to be lost: `log_unavailable` is said of a broker that is away."""
        status, answer = self.ready()
        return status == 503 and ("log_truncated" in answer or "log_diverged" in answer)

    def restart(self):
        code = self.sluice.stop()
        assert code in (0, None), f"a graceful stop ended with {code}"
        self.sluice.start()


def copy_keys(place, sluice):
    sluice.data.mkdir(mode=0o700)
    for file in place.sluice.data.iterdir():
        if file.is_file() and file.name != "node-id":
            shutil.copy(file, sluice.data)


def keys(prefix, count):
    return [f"{prefix}{i}" for i in range(count)]


def held_of(frames):
    """What a stream client holds after one complete answer: the next request's `have`, and the history."""
    last = [f["checkpoint"] for f in frames if "checkpoint" in f][-1]
    return {"have": [{"bucket": b["bucket"], "after": last["position"]} for b in last["buckets"]],
            **({"history": last["history"]} if "history" in last else {})}


def await_true(what, condition, wait_s=60):
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {wait_s} s: {what}"
        time.sleep(0.05)  # polls another process


# ---- one machine ----

def restored_data_folder(binary, folder, _):
    """Log and stores come back from one consistent backup: positions are given a second time."""
    place = Place(binary, folder)
    place.provision()
    place.ingest(keys("kept", 3))
    place.sluice.stop()
    shutil.copytree(place.sluice.data, folder / "backup")
    place.sluice.start()
    place.ingest(keys("lost", 10))
    _, rows, cursor, _ = place.delta()
    assert rows == set(keys("kept", 3) + keys("lost", 10))
    held = held_of(place.stream({}))
    place.pull()
    place.sluice.stop()
    shutil.rmtree(place.sluice.data)
    shutil.copytree(folder / "backup", place.sluice.data)
    place.sluice.start()
    status, code, _, headers = place.delta(cursor)
    assert (status, code) == (410, "cursor_other_log") and headers["Location"], f"while the log is shorter: {status} {code}"
    place.ingest(keys("new", 14))
    status, code, _, headers = place.delta(cursor)
    assert (status, code) == (410, "cursor_other_log") and headers["Location"], f"once it has grown past: {status} {code}"
    frames = place.stream(held)
    assert any("reset" in f for f in frames), f"the stream goes on from a history that is lost: {frames}"
    place.pull()
    assert place.pulled() == set(keys("kept", 3) + keys("new", 14)), place.pulled()


def store_ahead_of_log(binary, folder, _):
    """The log alone comes back from a backup: a store has more than it."""
    place = Place(binary, folder, ["--set", "staging.open_stores=1", "--set", "staging.checkpoint_interval=10m"])
    place.provision()
    place.provision("other")
    place.ingest(keys("kept", 5))
    place.sluice.stop()
    shutil.copytree(place.sluice.data / "log", folder / "log-backup")
    place.sluice.start()
    place.ingest(keys("lost", 10))
    _, _, cursor, _ = place.delta()
    place.ingest(["x"], "other")  # opens the other store: the first is flushed and closed
    place.ingest(["y"], "other")
    place.sluice.kill()
    shutil.rmtree(place.sluice.data / "log")
    shutil.copytree(folder / "log-backup", place.sluice.data / "log")
    refused_until_new_epoch(place, cursor, set(keys("kept", 5)))


def cut_wal(binary, folder, _):
    """The newest write-ahead file of the log loses its end, while the stores are further behind than that."""
    place = Place(binary, folder, ["--set", "staging.checkpoint_interval=10m"])
    place.provision()
    place.ingest(keys("kept", 3))
    place.sluice.stop()
    place.sluice.start()
    _, _, cursor, _ = place.delta()
    place.ingest(keys("lost", 20))
    place.sluice.kill()
    newest = max((place.sluice.data / "log").glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    os.truncate(newest, newest.stat().st_size // 2)
    refused_until_new_epoch(place, cursor, None)


def closed_in_a_lost_time(binary, folder, _):
    """An organisation was deleted in the time that the log lost: no store tells of it, but the mark of its end does."""
    place = Place(binary, folder, ["--set", "staging.checkpoint_interval=10m"])
    place.provision()
    place.provision("other")
    place.ingest(["x"], "other")
    place.sluice.stop()
    shutil.copytree(place.sluice.data / "log", folder / "log-backup")
    place.sluice.start()
    assert place.ask("DELETE", "/v1/orgs/other?wait=30s")[0] in (200, 202, 204)
    await_true("its store is gone", lambda: place.delta(org="other")[0] == 404)
    place.sluice.kill()
    shutil.rmtree(place.sluice.data / "log")
    shutil.copytree(folder / "log-backup", place.sluice.data / "log")
    place.sluice.start(wait_s=60)
    await_true("it is told", lambda: place.ready()[0] == 503 and "log_truncated" in place.ready()[1], 30)
    assert place.delta(org="other")[0] == 503, "a last word by a history that is lost"
    answer = place.ingest(["y"], "other", wait="0s", expect=(200, 503))
    assert "log_truncated" in json.dumps(answer), f"a set for the dead letters was taken: {answer}"
    told = place.ask("GET", "/v1/orgs/other")
    assert told[0] == 503, f"an organisation that was deleted, by what is left of its definitions: {told}"
    place.sluice.stop()
    verify = place.sluice.command("store", "verify", "--data-dir", place.sluice.data, check=False)
    assert verify.returncode != 0 and "log_truncated" in verify.stdout, f"`store verify` finds nothing: {verify}"
    place.sluice.command("log", "new-epoch", "--data-dir", place.sluice.data)
    place.sluice.start()
    await_true("ready after the new epoch", lambda: place.ready()[0] == 200)
    place.ingest(["z"], "other")
    assert place.delta(org="other")[1] == {"x", "z"}, place.delta(org="other")


def refused_until_new_epoch(place, cursor, expected):
    """The server does not serve from what does not fit; a new epoch is the way on."""
    try:
        place.sluice.start(wait_s=60)
        place.delta()  # opens the store, which is compared then
        await_true("a partition that is refused", place.refused, 30)
        status, code, _, _ = place.delta(cursor)
        assert status in (410, 503), f"rows of a history that the log does not have: {status} {code}"
        answer = place.ingest(["after"], wait="2s", expect=(200, 503))
        assert "log_" in json.dumps(answer), f"a set was taken onto another history: {answer}"
        place.sluice.stop()
    except AssertionError as refusal:
        if "sluice ended with" not in str(refusal):
            raise
        assert "sluice log new-epoch" in place.sluice.tail(), place.sluice.tail()
    verify = place.sluice.command("store", "verify", "--data-dir", place.sluice.data, check=False)
    assert verify.returncode != 0 or expected is None, f"`store verify` finds nothing: {verify.stdout}"
    done = place.sluice.command("log", "new-epoch", "--data-dir", place.sluice.data)
    print("   ", (done.stdout + done.stderr).strip().replace("\n", "\n    "))
    place.sluice.start()
    await_true("ready after the new epoch", lambda: place.ready()[0] == 200)
    status, code, _, headers = place.delta(cursor)
    assert (status, code) == (410, "cursor_other_log") and headers["Location"], f"an old cursor after the new epoch: {status} {code}"
    place.ingest(keys("new", 3))
    _, rows, _, _ = place.delta()
    assert set(keys("new", 3)) <= rows, rows
    assert expected is None or expected <= rows, f"what the log has is missing: {expected - rows}"
    assert not any(key.startswith("lost") for key in rows) or expected is None, f"rows that the log does not have: {rows}"


# ---- Kafka ----

class Broker:
    def __init__(self, script, folder, *arguments):
        self.script, self.folder = script, folder
        self.address = self.run("start", "--owner", str(os.getpid()), *arguments).split()[-1]

    def run(self, verb, *arguments):
        return subprocess.run([self.script, verb, "--dir", str(self.folder), *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout

    def tool(self, name, *arguments):
        return subprocess.run([self.script, "tool", name, "--bootstrap-server", self.address, *arguments], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout

    def delete_topics(self, prefix):
        for topic in self.tool("org.apache.kafka.tools.TopicCommand", "--list").split():
            if topic.startswith(prefix):
                self.tool("org.apache.kafka.tools.TopicCommand", "--delete", "--topic", topic)
        await_true("the topics are gone", lambda: prefix not in self.tool("org.apache.kafka.tools.TopicCommand", "--list"))

    def segment(self, partition):
        segments = list(self.folder.glob(f"**/{partition}/00000000000000000000.log"))
        assert len(segments) == 1, segments
        return segments[0]

    def lose_end(self, *ends):
        """The broker dies, and comes back without what each segment of `ends`, (segment, size), had after `size` bytes."""
        self.run("kill", "--node", "1")
        for segment, size in ends:
            # A file of its own: brokers send with sendfile(2), so what waits in a socket of this machine for a process that
            # sleeps are the pages of the old one, and cutting that would make zeros of them, at which librdkafka aborts.
            cut = segment.with_suffix(".cut")
            cut.write_bytes(segment.read_bytes()[:size])
            os.replace(cut, segment)
            for name in ("*.index", "*.timeindex", "*.snapshot"):
                for stale in segment.parent.glob(name):
                    stale.unlink()
        for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint"):
            for checkpoint in self.folder.glob(f"**/{name}"):
                checkpoint.unlink()
        self.run("restart", "--node", "1")

    def stop(self):
        self.run("stop")


def kafka_place(binary, folder, broker, prefix):
    return Place(binary, folder, ["--log", "kafka", "--brokers", broker.address, "--set", f"log.topic_prefix={prefix}",
                                  "--set", "staging.checkpoint_interval=500ms"])


def topics_made_anew(binary, folder, script):
    """All topics are deleted and made again under their names, and grow past the old positions."""
    broker = Broker(script, folder / "broker")
    try:
        place = kafka_place(binary, folder, broker, "anew.")
        place.provision()
        place.ingest(keys("lost", 10))
        _, _, cursor, _ = place.delta()
        place.sluice.stop()
        broker.delete_topics("anew.")
        try:
            place.sluice.start(wait_s=60)
            place.sluice.stop()
        except AssertionError as refusal:
            if "sluice ended with" not in str(refusal):
                raise
        assert "use the other log" in place.sluice.tail(), place.sluice.tail()
        shutil.rmtree(place.sluice.data / "stores")  # what the refusal says to do
        place.sluice.start()
        place.provision()
        place.ingest(keys("new", 20))
        status, code, _, headers = place.delta(cursor)
        assert (status, code) == (410, "cursor_other_log") and headers["Location"], f"a cursor of the old topics: {status} {code}"
        assert place.delta()[1] == set(keys("new", 20))
        place.sluice.stop()
    finally:
        broker.stop()


def cut_segment(binary, folder, script):
    """The broker comes back with the end of `changes` cut off, while the server runs; then the log grows past it."""
    broker = Broker(script, folder / "broker")
    try:
        place = kafka_place(binary, folder, broker, "cut.")
        place.provision()
        place.ingest(keys("kept", 5))
        _, _, cursor, _ = place.delta()
        segment = broker.segment("cut.changes-0")
        place.ingest(keys("mark", 1))
        size = segment.stat().st_size
        place.ingest(keys("lost", 10))
        await_true("all of it is applied", lambda: len(place.delta()[1]) == 16)
        _, _, late, _ = place.delta()
        place.restart()  # all of it is in the checkpoint, or a crash would leave nothing that is ahead
        broker.lose_end((segment, size))
        await_true("the running server notices", place.refused, 90)
        status, code, _, _ = place.delta(late)
        assert status in (410, 503), f"rows of a history that the log does not have: {status} {code}"
        place.sluice.kill()
        place.sluice.start(wait_s=90)
        await_true("it notices after a restart too", place.refused, 60)
        place.sluice.stop()
        source = ["--log", "kafka", "--brokers", broker.address, "--topic-prefix", "cut."]
        done = place.sluice.command("log", "new-epoch", *source)
        print("   ", (done.stdout + done.stderr).strip().replace("\n", "\n    "))
        try:
            place.sluice.start(wait_s=60)
            place.sluice.stop()
        except AssertionError as refusal:
            if "sluice ended with" not in str(refusal):
                raise
        shutil.rmtree(place.sluice.data / "stores", ignore_errors=True)
        place.sluice.start()
        place.ingest(keys("new", 20))
        for old in (cursor, late):
            status, code, _, headers = place.delta(old)
            assert (status, code) == (410, "cursor_other_log") and headers["Location"], f"an old cursor: {status} {code}"
        rows = place.delta()[1]
        assert set(keys("kept", 5) + keys("new", 20)) <= rows and not any(k.startswith("lost") for k in rows), rows
        place.sluice.stop()
    finally:
        broker.stop()


def paused_while_the_end_is_lost(binary, folder, script):
    """A process is paused, and has no checkpoint of what the broker then loses; another process writes beyond that. When it
    wakes, its group has put it out: it gives the partition back, takes it again, and all that is left of it is in memory.
    What it told the others of its place is lost with it, or the other process would rightly write nothing."""
    broker = Broker(script, folder / "broker")
    writer = None
    try:
        arguments = ["--log", "kafka", "--brokers", broker.address, "--set", "log.topic_prefix=pw."]
        place = Place(binary, folder, [*arguments, "--set", "staging.checkpoint_interval=10m"])
        place.provision()
        place.ingest(keys("kept", 3))
        ends = [(segment, segment.stat().st_size) for segment in map(broker.segment, ("pw.changes-0", "pw.nodes-0"))]
        place.ingest(keys("lost", 3))
        await_true("all of it is applied", lambda: len(place.delta()[1]) == 6)
        place.sluice.process.send_signal(signal.SIGSTOP)
        broker.lose_end(*ends)
        writer = Sluice(binary, folder / "writer", ["--set", "log.partitions=1", "--roles", "admin", *arguments])
        copy_keys(place, writer)
        writer.start()
        body = "".join(json.dumps({"ops": [{"op": "upsert", "entity": "item", "row": {"id": key, "owner": "anna"}}]}) + "\n"
                       for key in keys("new", 8)).encode()

        def written():
            status, _, answer = Http(writer.urls["admin"], place.admin_token).request(
                "POST", f"/v1/orgs/{ORG}/changes", body, content_type="application/x-ndjson")
            return status == 200 and b"position" in answer

        await_true("another process writes on", written)
        place.sluice.process.send_signal(signal.SIGCONT)
        await_true("it is noticed", place.refused, 90)
        status, code, _, _ = place.delta()
        assert status == 503, f"rows of two histories: {status} {code}"
        place.restart()
        await_true("and after a restart too", place.refused, 60)
        assert place.delta()[0] == 503, place.delta()
        place.sluice.stop()
    finally:
        if writer is not None:
            writer.kill()
        broker.stop()


def node_goes_with_its_disk(binary, folder, script):
    """Of the two nodes with stores only one has applied what the broker then loses, and it is gone, with its disk: it has
    told the other one of it, whatever becomes of that."""
    broker = Broker(script, folder / "broker")
    try:
        arguments = ["--log", "kafka", "--brokers", broker.address, "--set", "log.topic_prefix=gone.",
                     "--set", "staging.checkpoint_interval=500ms"]
        named = [*arguments, "--set", "staging.node_id=a"]
        gone = Place(binary, folder / "gone", named)
        gone.provision()
        gone.ingest(keys("kept", 3))
        left = Place(binary, folder / "left", [*arguments, "--set", "staging.replica_set=second"], keys_of=gone)
        await_true("the other one serves", lambda: left.delta()[1] == set(keys("kept", 3)))
        segment = broker.segment("gone.changes-0")
        size = segment.stat().st_size
        left.sluice.process.send_signal(signal.SIGSTOP)
        gone.ingest(keys("lost", 3))
        assert len(gone.delta()[1]) == 6, gone.delta()
        assert gone.sluice.stop() == 0  # it tells that it leaves, and how far it had come
        shutil.rmtree(gone.sluice.data / "stores")
        broker.lose_end((segment, size))
        left.sluice.process.send_signal(signal.SIGCONT)
        await_true("the other one tells of it", left.refused)
        assert left.delta()[:2] == (503, "log_truncated"), left.delta()
        answer = left.ingest(["new"], wait="0s", expect=(200, 503))
        assert "log_truncated" in json.dumps(answer), f"a set in the place of a lost one: {answer}"
        left.restart()
        await_true("and after a restart", left.refused)
        left.sluice.stop()
        shutil.rmtree(left.sluice.data / "stores")
        for name, more in (("a new one in its place", named), ("one that folds nothing", [*arguments, "--roles", "admin"])):
            new = Place(binary, folder / name.replace(" ", "-"), more, keys_of=gone)
            await_true(f"{name} tells of it", new.refused)
            answer = new.ingest(["new"], wait="0s", expect=(200, 503))
            assert "log_truncated" in json.dumps(answer), f"a set in the place of a lost one: {answer}"
            new.sluice.stop()
        done = left.sluice.command("log", "new-epoch", "--log", "kafka", "--brokers", broker.address, "--topic-prefix", "gone.")
        print("   ", (done.stdout + done.stderr).strip().replace("\n", "\n    "))
        left.sluice.start()
        await_true("ready after the new epoch", lambda: left.ready()[0] == 200)
        left.ingest(["new"])
        assert left.delta()[1] == set(keys("kept", 3) + ["new"]), left.delta()
        left.sluice.stop()
    finally:
        broker.stop()


def role(*denied):
    return {"offline": True, "entities": {"item": {"read": True, "deny_columns": list(denied)}}}


def one_topic_alone(binary, folder, script, topic, prefix):
    """Only one of the two topics loses its end, with a definition in it that takes a column away: the other one tells of
    it. Nothing is served or taken until a person has decided; then the definition is there in both."""
    broker = Broker(script, folder / "broker")
    try:
        place = kafka_place(binary, folder, broker, prefix)
        place.provision()
        place.ingest(keys("kept", 3))
        segment = broker.segment(f"{prefix}{topic}-0")
        size = segment.stat().st_size
        status, _, answer = place.ask("PUT", f"/v1/orgs/{ORG}/roles/r?wait=30s", role("owner"))
        assert status == 200, answer
        status, _, answer = place.ask("PUT", f"/v1/orgs/{ORG}/entities/later?wait=30s", SCHEMA)
        assert status == 200, answer
        assert "anna" not in place.rows_text(), "the column is denied"
        if topic == "changes":
            place.sluice.stop()
            shutil.rmtree(place.sluice.data / "stores")  # no store is ahead: only the other topic can tell
        broker.lose_end((segment, size))
        if topic == "provisioning":
            await_true("the running server notices", place.refused, 60)
            place.sluice.kill()
        place.sluice.start(wait_s=90)
        await_true("it is told at start", lambda: place.ready()[0] == 503 and "log_truncated" in place.ready()[1], 60)
        status, code, _, _ = place.delta()
        assert (status, code) == (503, "log_truncated"), f"rows by rights that nobody can see: {status} {code}"
        for method, path, body in (("PUT", f"/v1/orgs/{ORG}/roles/r", role("owner")), ("PUT", "/v1/orgs/another", {}),
                                   ("DELETE", f"/v1/orgs/{ORG}/entities/later", None)):
            status, _, answer = place.ask(method, path, body)
            assert (status, answer["code"]) == (503, "log_truncated"), f"decided on a history that is lost: {status} {answer}"
        answer = place.ingest(["early"], wait="0s", expect=(200, 207, 503))
        assert "log_truncated" in json.dumps(answer), f"a set was taken onto a history that is lost: {answer}"
        place.sluice.stop()
        done = place.sluice.command("log", "new-epoch", "--log", "kafka", "--brokers", broker.address, "--topic-prefix", prefix)
        print("   ", (done.stdout + done.stderr).strip().replace("\n", "\n    "))
        place.sluice.start(wait_s=90)
        await_true("ready after the new epoch", lambda: place.ready()[0] == 200)
        status, _, shown = place.ask("GET", f"/v1/orgs/{ORG}/roles/r")
        assert status == 200 and shown["entities"]["item"]["deny_columns"] == ["owner"], shown
        assert place.ask("GET", f"/v1/orgs/{ORG}/entities/later")[0] == 200, "an accepted definition is lost"
        place.ingest(["new"])
        assert "anna" not in place.rows_text(), "rows by the rights of before"
        status, _, answer = place.ask("PUT", f"/v1/orgs/{ORG}/roles/r?wait=30s", role())
        assert status == 200, answer
        assert "anna" in place.rows_text(), "what is defined next is passed over"
        assert place.ask("PUT", "/v1/orgs/another?wait=30s", {})[0] == 200
        place.restart()
        await_true("ready after a restart", lambda: place.ready()[0] == 200)
        assert "anna" in place.rows_text()
        place.sluice.stop()
    finally:
        broker.stop()


def changes_alone(binary, folder, script):
    """Only `changes` loses its end: rights would be those of before, whatever GET says."""
    one_topic_alone(binary, folder, script, "changes", "ca.")


def provisioning_alone(binary, folder, script):
    """Only `provisioning` loses its end: definitions would be passed over until it has grown past it."""
    one_topic_alone(binary, folder, script, "provisioning", "pa.")


# The longest first.
KAFKA = [node_goes_with_its_disk, cut_segment, provisioning_alone, changes_alone, paused_while_the_end_is_lost, topics_made_anew]
EMBEDDED = [closed_in_a_lost_time, store_ahead_of_log, restored_data_folder, cut_wal]


# Cases mostly wait: for what a log says of itself to be believed, for brokers to come back.
CASES_AT_ONCE = 4


def run(case, binary, script):
    with tempfile.TemporaryDirectory(prefix="sluice-lost-") as folder:
        started = []
        made = Place.__init__

        def remember(place, *arguments, **more):
            started.append(place)
            made(place, *arguments, **more)

        Place.__init__ = remember
        try:
            case(os.path.abspath(binary), pathlib.Path(folder), script)
        except BaseException:
            for place in started:
                print(place.sluice.tail(), file=sys.stderr)
            raise
        finally:
            Place.__init__ = made
            for place in started:
                place.sluice.kill()


def run_alone(case):
    """One case in a process of its own; what it printed is printed at its end."""
    begun = time.monotonic()
    done = subprocess.run([sys.executable, *sys.argv, case.__name__], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(done.stdout)
    print(f"{case.__name__}: {'failed' if done.returncode else 'as it should be'} in {time.monotonic() - begun:.0f} s", flush=True)
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--broker-script", default="")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    cases = (KAFKA if options.broker_script else []) + EMBEDDED
    if options.names:
        for case in [c for c in cases if c.__name__ in options.names]:
            run(case, options.binary, options.broker_script)
        return 0
    with concurrent.futures.ThreadPoolExecutor(CASES_AT_ONCE) as pool:
        return 0 if all(list(pool.map(run_alone, cases))) else 1


if __name__ == "__main__":
    sys.exit(main())
