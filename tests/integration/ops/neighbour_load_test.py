"""While an organisation's rows are loaded from a source, the other organisations of its partition are served on.

There is one partition. An organisation commits one change after the other, and its client waits for each: before and
while the load of another one runs. How long that takes is printed; what is held is that changes come amid the load, and
that each comes.

    neighbour_load_test.py BINARY [ROWS]
"""

import json
import pathlib
import sys
import tempfile
import time
import unittest

SUPPORT = pathlib.Path(__file__).resolve().parents[2] / "support"
sys.path[:0] = [str(SUPPORT), str(SUPPORT / "olingo")]
from olingo_service import OlingoService  # noqa: E402
from sluice_process import DeltaClient, Http, Sluice  # noqa: E402

BINARY = None
ROWS = 300_000
ITEM = {"primary_key": "id", "attributes": [{"name": "id", "type": "string"}, {"name": "n", "type": "int64"}]}


class Neighbour:
    """One organisation with one row, its writer and its client."""

    def __init__(self, server, org):
        self.org, self.written = org, 0
        self.admin = Http(server.urls["admin"], server.token("sluice.admin sluice.ingest"))
        self.admin.json("PUT", f"/v1/orgs/{org}?wait=30s", {})
        self.admin.json("PUT", f"/v1/orgs/{org}/entities/item?wait=30s", ITEM)
        self.admin.json("PUT", f"/v1/orgs/{org}/roles/r?wait=30s", {"offline": True, "entities": {"item": {"read": True}}})
        self.admin.json("PUT", f"/v1/orgs/{org}/profiles/p?wait=30s", {"entities": {"item": [{"kind": "all"}]}, "roles": ["r"]})
        self.sync = Http(server.urls["sync"], server.token("sluice.sync", "ann", org, ["r"]))
        self.client = DeltaClient(org)
        self.client.pull(self.sync)

    def commit(self):
        """Writes the row anew; milliseconds until the client has it."""
        self.written += 1
        change = {"id": f"n{self.written}", "ops": [{"op": "upsert", "entity": "item", "row": {"id": "one", "n": self.written}}]}
        began = time.monotonic()
        status, _, answer = self.admin.request("POST", f"/v1/orgs/{self.org}/changes", json.dumps(change).encode() + b"\n",
                                               content_type="application/x-ndjson")
        if status != 200 or b"position" not in answer:
            raise AssertionError(f"{status} {answer!r}")
        while self.row() != self.written:
            self.client.pull(self.sync, wait="20s")
        return (time.monotonic() - began) * 1000

    def row(self):
        return int(self.client.rows.get(("item", "one"), {}).get("n", 0))


def shown(times):
    ordered = sorted(times)
    return f"p50 {ordered[len(ordered) // 2]:.1f} ms, p99 {ordered[len(ordered) * 99 // 100]:.1f} ms, {len(ordered)} commits"


class NeighbourLoadTest(unittest.TestCase):
    def test_changes_of_a_neighbour_come_amid_a_load(self):
        with tempfile.TemporaryDirectory() as folder, OlingoService(ROWS) as service:
            server = Sluice(BINARY, pathlib.Path(folder) / "one",
                            ["--set", "log.partitions=1", "--set", "sources.interval_min=1s",
                             "--set", "sources.allow_hosts=127.0.0.1", "--set", "sources.allow_private=127.0.0.1"]).start()
            self.addCleanup(server.kill)
            neighbour = Neighbour(server, "small")
            alone = [neighbour.commit() for _ in range(200)]
            admin = Http(server.urls["admin"], server.token("sluice.admin"))
            admin.json("PUT", "/v1/orgs/large?wait=30s", {})
            admin.json("PUT", "/v1/orgs/large/sources/shop?wait=30s",
                       {"kind": "odata", "url": service.url, "interval": "1s", "entities": {"customer": {"set": "Customers"}}})

            metrics = Http(server.urls["admin"], server.token("sluice.metrics"))

            def loaded():
                text = metrics.request("GET", "/metrics")[2].decode()
                return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("sluice_source_rows_total"))

            amid, began = [], time.monotonic()
            while loaded() < ROWS:
                took = neighbour.commit()
                if 0 < loaded() < ROWS:
                    amid.append(took)
                self.assertLess(time.monotonic() - began, 600, f"the load hangs:\n{server.tail()}")
            seconds = time.monotonic() - began
            self.assertGreater(len(amid), 0, "no change came before the load had ended")
            print(f"alone: {shown(alone)}; amid a load of {ROWS} rows, {seconds:.0f} s: {shown(amid)}", file=sys.stderr)


if __name__ == "__main__":
    BINARY = sys.argv.pop(1)
    if len(sys.argv) > 1:
        ROWS = int(sys.argv.pop(1))
    unittest.main()
