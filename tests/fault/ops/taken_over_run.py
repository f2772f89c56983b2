"""Two machines die at once: the leader of `changes`, which alone has the newest definition, and the node that folds it.
The log goes on without that definition, with what others write and define; whoever takes the partition over had it
before. No row goes out by the rights of before, and nothing hides that a definition is lost.

    taken_over_run.py --binary build/release/bin/sluice --broker-script tests/support/broker/kafka_broker
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lost_history_run import ORG, Broker, Place, await_true, keys, role  # noqa: E402

DEFINITIONS, LEADER, FOLLOWER = "1", "2", "3"  # brokers
PREFIX = "over."
TOPIC_COMMAND = "org.apache.kafka.tools.TopicCommand"


def make_topics(broker):
    """`provisioning` on one broker, `changes` on the two others, of which a late one may come to lead."""
    kept = ("--config", "retention.ms=-1", "--config", "retention.bytes=-1", "--config", "cleanup.policy=delete")
    broker.tool(TOPIC_COMMAND, "--create", "--topic", f"{PREFIX}provisioning", "--replica-assignment", DEFINITIONS, *kept,
                "--config", "min.insync.replicas=1")
    broker.tool(TOPIC_COMMAND, "--create", "--topic", f"{PREFIX}changes", "--replica-assignment", f"{LEADER}:{FOLLOWER}", *kept,
                "--config", "min.insync.replicas=1", "--config", "unclean.leader.election.enable=true")


def in_sync(broker):
    words = broker.tool(TOPIC_COMMAND, "--describe", "--topic", f"{PREFIX}changes").split()
    return words[words.index("Isr:") + 1]


def start_two(binary, folder, broker):
    """The first has the partition and gives it to the second, while it goes on to live."""
    arguments = ["--log", "kafka", "--brokers", broker.address, "--set", f"log.topic_prefix={PREFIX}",
                 "--set", "log.replication_factor=3"]
    first = Place(binary, folder / "first", [*arguments, "--set", "staging.node_id=first"])
    first.provision()
    first.ingest(keys("kept", 3))
    assert "anna" in first.rows_text()
    data = folder / "second" / "server" / "data"
    data.mkdir(parents=True, mode=0o700)
    for file in first.sluice.data.iterdir():  # its keys: tokens are good for both
        if file.is_file() and file.name != "node-id":
            shutil.copy(file, data / file.name)
    second = Place(binary, folder / "second", [*arguments, "--set", "staging.node_id=second"])
    first.sluice.process.send_signal(signal.SIGSTOP)
    await_true("the second takes the partition over", lambda: second.delta()[0] == 200)
    first.sluice.process.send_signal(signal.SIGCONT)
    await_true("the first sends callers on", lambda: first.delta()[0] == 307)
    return first, second


def ask(place, what):
    """An answer of a server that may be without a log: None where there is none."""
    try:
        return what(place)
    except (OSError, AssertionError):
        return None


def write_on(first):
    """Sets, and a definition of something else, as long as they are taken: what lies beyond the loss."""
    body = "".join(json.dumps({"id": f"filling{i}", "ops": [{"op": "upsert", "entity": "item", "row": {"id": f"new{i}", "owner": "bert"}}]}) +
                   "\n" for i in range(5)).encode()
    taken = ask(first, lambda p: p.ask("POST", f"/v1/orgs/{ORG}/changes", body, content_type="application/x-ndjson"))
    other = ask(first, lambda p: p.ask("PUT", f"/v1/orgs/{ORG}/roles/other", {"offline": False, "entities": {}}))
    return taken, other


def taken_over(binary, folder, script):
    broker = Broker(script, folder / "broker", "--nodes", "3")
    make_topics(broker)
    first, second = start_two(binary, folder, broker)
    broker.run("kill", "--node", FOLLOWER)
    await_true("the leader is alone", lambda: in_sync(broker) == LEADER, 120)
    await_true("the column is denied, by the leader alone",
               lambda: second.ask("PUT", f"/v1/orgs/{ORG}/roles/r?wait=30s", role("owner"))[0] == 200, 120)
    assert "anna" not in second.rows_text(), "the column is denied"
    second.sluice.kill()
    broker.run("kill", "--node", LEADER)
    broker.run("restart", "--node", FOLLOWER)
    deadline = time.monotonic() + 120
    refused = 0
    while refused < 20:
        assert time.monotonic() < deadline, f"nobody tells that a definition is lost: {first.ready()}"
        taken, other = write_on(first)
        assert other is None or other[0] != 200, f"a definition is told on top of a history that lacks one: {taken} {other}"
        shown = ask(first, lambda p: p.ask("GET", f"/v1/orgs/{ORG}/delta", side="sync"))
        assert shown is None or shown[0] != 200, f"rows by rights that were taken away: {shown}"
        lost = shown is not None and shown[0] == 503 and shown[2].get("code") in ("log_truncated", "log_diverged")
        refused = refused + 1 if lost else 0
    assert first.ready()[0] == 503 and "log_" in first.ready()[1], first.ready()
    print(f"  refused with {shown[2]['code']}; sets were answered {taken and taken[0]}")
    first.sluice.kill()
    verify = first.sluice.command("store", "verify", "--data-dir", first.sluice.data, "--brokers", broker.address, "--topic-prefix", PREFIX,
                                  check=False)
    assert verify.returncode != 0 and "log_" in verify.stdout, f"`store verify` finds nothing: {verify}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--broker-script", required=True)
    options = parser.parse_args()
    started = []
    made = Place.__init__

    def remember(place, *arguments, **more):
        started.append(place)
        made(place, *arguments, **more)

    Place.__init__ = remember
    with tempfile.TemporaryDirectory(prefix="sluice-over-") as folder:
        try:
            taken_over(os.path.abspath(options.binary), pathlib.Path(folder), options.broker_script)
        except BaseException:
            for place in started:
                print(place.sluice.tail(), file=sys.stderr)
            raise
        finally:
            for place in started:
                if place.sluice.process is not None and place.sluice.process.poll() is None:
                    place.sluice.process.send_signal(signal.SIGCONT)
                place.sluice.kill()
    print("  as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
