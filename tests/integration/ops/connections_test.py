"""Silent connections against the real program: they cost no thread and never stop the fold.

    connections_test.py BINARY
"""

import json
import pathlib
import resource
import shutil
import socket
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from sluice_process import Http, Sluice  # noqa: E402

SCHEMA = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}]}


def connect(url, count):
    """`count` connections that say nothing; those that the server turned away are closed by it."""
    parts = urllib.parse.urlsplit(url)
    return [socket.create_connection((parts.hostname, parts.port), timeout=30) for _ in range(count)]


def threads_and_rss(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    value = lambda name: int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])  # noqa: E731
    return value("Threads"), value("VmRSS")


def get(url, path, token="x"):
    return Http(url, token).request("GET", path)[0]


def answered(url, path):
    """The status, asked again while the connection is turned away: those before it make room when they are a second old."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            status = get(url, path)
            if status != 503:
                return status
        except OSError:
            pass
        time.sleep(0.05)  # polls for what gets older
    return None


def few_descriptors(binary, folder):
    """With 1,024 descriptors, 1,000 silent connections on each listener: the fold goes on."""
    script = folder / "limited"
    script.write_text(f"#!/bin/sh\nulimit -n 1024\nexec {binary} \"$@\"\n")
    script.chmod(0o755)
    server = Sluice(script, folder).start()
    try:
        http = Http(server.urls["admin"], server.token("sluice.admin sluice.ingest"))
        http.json("PUT", "/v1/orgs/acme?wait=30s", {"display_name": "A"}, expect=(200,))
        http.json("PUT", "/v1/orgs/acme/entities/item?wait=30s", SCHEMA, expect=(200,))
        before = threads_and_rss(json.loads((folder / "ready.json").read_text())["pid"])
        silent = connect(server.urls["admin"], 1000) + connect(server.urls["sync"], 1000)
        for i in range(20):
            body = json.dumps({"ops": [{"op": "upsert", "entity": "item", "row": {"id": str(i)}}]}).encode()
            status, _, answer = http.request("POST", "/v1/orgs/acme/changes?wait=30s", body, "application/x-ndjson")
            assert status == 200 and b'"position"' in answer, (status, answer)
        # New organisations open new stores: files, while connections hold all that they may.
        for i in range(20):
            http.json("PUT", f"/v1/orgs/more-{i}?wait=30s", {"display_name": "A"}, expect=(200,))
        assert answered(server.urls["admin"], "/healthz") == 200
        assert answered(server.urls["sync"], "/healthz") == 200
        after = threads_and_rss(json.loads((folder / "ready.json").read_text())["pid"])
        assert after[0] - before[0] < 20, (before, after)
        for connection in silent:
            connection.close()
        print(f"1,024 descriptors, 2,000 silent connections: the fold goes on; threads {before[0]} -> {after[0]}")
    finally:
        server.stop()


def ten_thousand(binary, folder):
    """10,000 silent connections to the admin listener: health is answered."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Sluice(binary, folder).start()
    try:
        pid = json.loads((folder / "ready.json").read_text())["pid"]
        before = threads_and_rss(pid)
        silent = connect(server.urls["admin"], count)
        for path in ("/healthz", "/readyz"):
            assert answered(server.urls["admin"], path) == 200, path
        after = threads_and_rss(pid)
        kept = min(count, 4096)
        assert (after[1] - before[1]) / kept < 16, f"KiB a connection: {(after[1] - before[1]) / kept}"
        assert after[0] - before[0] < 20, (before, after)
        for connection in silent:
            connection.close()
        print(f"{count} silent connections: health is answered; {(after[1] - before[1]) / kept:.1f} KiB for each that is kept")
    finally:
        server.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def main():
    binary = sys.argv[1]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-connections-"))
    try:
        (folder / "few").mkdir()
        few_descriptors(binary, folder / "few")
        ten_thousand(binary, folder / "many")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
