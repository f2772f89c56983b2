"""Three processes over one real broker: admin, projectors and sync; a client pulls through.

    roles_test.py BINARY BROKER_SCRIPT
"""

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
from sluice_process import Http, Sluice, start_broker  # noqa: E402

SCHEMA = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}, {"name": "team", "type": "string"}],
          "ownership": {"team": "team"}}


def start(binary, folder, brokers, role, shared_jwks):
    arguments = ["--log", "kafka", "--brokers", brokers, "--set", "log.topic_prefix=roles.", "--roles", role]
    if shared_jwks:
        arguments += ["--auth-jwks", shared_jwks]
    return Sluice(binary, folder / role, arguments).start()


def run(binary, folder, brokers):
    servers = []
    try:
        # The admin process makes the development key; the others trust its public half.
        admin_node = start(binary, folder, brokers, "admin", "")
        servers.append(admin_node)
        jwks = str(admin_node.data / "dev-jwks.json")
        servers += [start(binary, folder, brokers, role, jwks) for role in ("projectors", "sync")]
        sync_node = servers[2]
        admin = Http(admin_node.urls["admin"], admin_node.token("sluice.admin sluice.ingest"))
        for path, body in (("", {"display_name": "Acme"}), ("/entities/item", SCHEMA),
                           ("/roles/field", {"offline": True, "entities": {"item": {"read": True}}}),
                           ("/profiles/field", {"entities": {"item": [{"kind": "team"}]}, "roles": ["field"]})):
            status, _, answer = admin.request("PUT", f"/v1/orgs/acme{path}?wait=30s", body)
            assert status == 200, f"{path}: {status} {answer!r}: was it not seen to be applied?"
        rows = {f"k{i}": "north" if i % 3 else "south" for i in range(3000)}
        body = "".join(json.dumps({"id": key, "source": "t", "ops": [{"op": "upsert", "entity": "item",
                                                                     "row": {"id": key, "team": team}}]}) + "\n"
                       for key, team in rows.items())
        status, _, answer = admin.request("POST", "/v1/orgs/acme/changes", body.encode(), content_type="application/x-ndjson")
        assert status == 200 and b"error" not in answer, answer[:300]
        position = max(int(json.loads(line)["position"]) for line in answer.splitlines())
        token = admin_node.token("sluice.sync", "anna", "acme", ["field"], ["north"])
        client = Http(sync_node.urls["sync"], token)
        status, _, page = client.request("GET", f"/v1/orgs/acme/delta?limit=1&wait=30s&min_position={position}")
        assert status == 200, page
        database = folder / "anna.sqlite"
        admin_node.command("pull", "--org", "acme", "--db", database, "--url", sync_node.urls["sync"],
                           env={"SLUICE_TOKEN": token})
        found = {row[0] for row in sqlite3.connect(database).execute("SELECT id FROM item")}
        assert found == {key for key, team in rows.items() if team == "north"}, f"{len(found)} rows came"
        misfits(admin_node, admin, folder)
        for server in servers:
            status, _, metrics = Http(server.urls["admin"], admin_node.token("sluice.admin")).request("GET", "/metrics")
            assert status == 200 and b"sluice_" in metrics
        elsewhere = Http(sync_node.urls["admin"], admin_node.token("sluice.admin"))
        status, _, answer = elsewhere.request("GET", "/v1/orgs/acme")
        assert status == 503 and json.loads(answer)["code"] == "not_served_here", answer
        codes = [server.stop() for server in reversed(servers)]
        assert codes == [0, 0, 0], codes
        print(f"admin, projectors and sync as three processes: {len(found)} of {len(rows)} rows pulled, all equal")
    except BaseException:
        for server in servers:
            print(f"--- {server.folder.name}\n{server.tail()}", file=sys.stderr)
        raise
    finally:
        for server in servers:
            server.kill()


def misfits(admin_node, admin, folder):
    """What does not fit has its last word from a process that keeps a store, where none with the role admin does."""
    def send(set_id, row):
        body = json.dumps({"id": set_id, "source": "t", "ops": [{"op": "upsert", "entity": "item", "row": row}]}) + "\n"
        status, _, answer = admin.request("POST", "/v1/orgs/acme/changes?wait=30s", body.encode(),
                                          content_type="application/x-ndjson")
        assert status == 200, (status, answer)
        return json.loads(answer)
    never = send("never", {"id": "kx", "tem": "north"})["error"]
    assert (never["status"], never["code"]) == (400, "unknown_attribute"), never
    path, rejects = folder / "items.ndjson", folder / "rejects.ndjson"
    lines = [json.dumps({"id": f"f{i}", "tem" if i == 150 else "team": "east"}) for i in range(301)]
    path.write_text("\n".join(lines) + "\n")
    done = admin_node.command("ingest", path, "--org", "acme", "--entity", "item", "--rejects", rejects, "--url",
                              admin_node.urls["admin"], check=False,
                              env={"SLUICE_TOKEN": admin_node.token("sluice.ingest")})
    assert done.returncode == 1 and "unknown_attribute" in done.stderr, done
    assert rejects.read_text() == lines[150] + "\n", rejects.read_text()
    assert admin.json("GET", "/v1/orgs/acme").get("served_at") is None, "nobody with the role admin serves it"
    # What was taken before its attribute went is known by its id to the stores alone.
    def define(attributes):
        status, _, answer = admin.request("PUT", "/v1/orgs/acme/entities/item?wait=30s", {**SCHEMA, "attributes": attributes})
        assert status == 200, (status, answer)
    define([*SCHEMA["attributes"], {"name": "gone", "type": "string"}])
    taken = send("s1", {"id": "k0", "team": "south", "gone": "x"})["position"]
    define(SCHEMA["attributes"])
    again = send("s1", {"id": "k0", "team": "south", "gone": "x"})
    assert again.get("position") == taken, (again, taken)
    print("sets that do not fit: refused, or known, although no process with the role admin keeps a store")


def new_epoch(binary, folder, brokers):
    """No epoch is declared while a server decides requests; one that was paused then ends by itself when it wakes."""
    source = ["--brokers", brokers, "--topic-prefix", "epoch."]
    server = Sluice(binary, folder / "epoch", ["--log", "kafka", "--brokers", brokers, "--set", "log.topic_prefix=epoch."])
    try:
        server.start()
        before = json.loads(server.command("--output", "json", "log", "stat", *source).stdout)["log"]
        refused = server.command("log", "new-epoch", *source, check=False)
        assert refused.returncode == 1 and server.urls["admin"] in refused.stderr, refused.stderr
        assert "stop every server" in refused.stderr and "looking for servers" in refused.stderr, refused.stderr
        assert json.loads(server.command("--output", "json", "log", "stat", *source).stdout)["log"] == before
        server.process.send_signal(signal.SIGSTOP)
        declared = json.loads(server.command("--output", "json", "log", "new-epoch", *source).stdout)
        assert declared["log_before"] == before and declared["log"] != before, declared
        server.process.send_signal(signal.SIGCONT)
        assert server.process.wait(timeout=60) == 1 and "log_epoch_changed" in server.tail(), server.tail()
        server.start()
        assert server.stop() == 0
        server.command("log", "new-epoch", *source)  # it left in good order
        print("a new epoch: refused while a server runs, and one that slept through it ended by itself")
    finally:
        server.kill()


def broker_comes_late(binary, folder, script, port):
    """A broker that is not there yet: alive, not ready, and then ready without a restart."""
    admin_listen = free_port()
    late = folder / "late"
    process = subprocess.Popen([binary, "serve", "--data-dir", str(late), "--log", "kafka", "--brokers", f"127.0.0.1:{port}",
                                "--set", "log.topic_prefix=late.", "--admin-listen", f"127.0.0.1:{admin_listen}",
                                "--sync-listen", "127.0.0.1:0", "--ready-file", str(folder / "late.json")],
                               stderr=open(folder / "late.log", "w", encoding="utf-8"))
    try:
        http = None
        deadline = time.monotonic() + 60
        while True:
            try:
                http = Http(f"http://127.0.0.1:{admin_listen}", "none", timeout=5)
                status, headers, body = http.request("GET", "/readyz")
                break
            except OSError:
                assert time.monotonic() < deadline, "the waiting process does not answer"
                time.sleep(0.05)  # polls for the listener
        assert status == 503 and headers["Retry-After"], (status, body)
        assert http.request("GET", "/healthz")[0] == 200
        start_broker(script, folder / "late-broker", "--port", str(port))
        deadline = time.monotonic() + 90
        while not (folder / "late.json").exists():
            assert process.poll() is None and time.monotonic() < deadline, (folder / "late.log").read_text()[-3000:]
            time.sleep(0.05)  # polls for the ready file
        process.terminate()
        assert process.wait(timeout=60) == 0
        print("a broker that came late: 503 with the reason before, ready without a restart after")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        subprocess.run([script, "stop", "--dir", str(folder / "late-broker")], check=False)


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    binary, script = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-roles-"))
    broker = folder / "broker"
    try:
        brokers = start_broker(script, broker)
        try:
            run(binary, folder, brokers)
            new_epoch(binary, folder, brokers)
        finally:
            subprocess.run([script, "stop", "--dir", str(broker)], check=False)
        broker_comes_late(binary, folder, script, free_port())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
