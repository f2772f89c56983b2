"""The OData connector and a service that nobody here wrote: Apache Olingo.

    odata_olingo_test.py ODATA_READ
"""

import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support" / "olingo"))
from olingo_service import OlingoService  # noqa: E402

PROGRAM = ""
MANY = 200_000


class Reader:
    """odata_read, and its commands."""

    def __init__(self, service, version="", modified=""):
        self.process = subprocess.Popen([PROGRAM, service.url, version, modified], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line == ".\n":
                return lines
            lines.append(line.rstrip("\n"))
        raise RuntimeError("odata_read has ended")

    def run(self):
        """"ok", or the error's code."""
        return self.ask("run")[0].split()[0]

    def rows(self):
        # A decimal is written without needless zeros.
        return dict(line.split(" ", 1) for line in self.ask("rows"))

    def changed(self):
        return int(self.ask("counts")[0].split()[0])


def canonical(rows):
    """As the connector has them: "1.50" is "1.5"."""
    def number(text):
        return text.rstrip("0").rstrip(".") if "." in text else text
    return {key: "{} {}".format(*(lambda p: (p[0], number(p[1])))(row.split(" "))) for key, row in rows.items()}


class OlingoTest(unittest.TestCase):
    def equal(self, reader, service):
        # Not assertEqual: a difference of large maps takes minutes to be written.
        have, want = reader.rows(), canonical(service.rows())
        wrong = {key: (have.get(key), want.get(key)) for key in have.keys() | want.keys()
                 if have.get(key) != want.get(key)}
        self.assertEqual(dict(list(wrong.items())[:5]), {}, f"{len(wrong)} rows differ")

    def test_both_versions_follow_edits(self):
        with OlingoService(1000) as service:
            service.control("page", 70)
            for version in ("", "4.01"):
                with Reader(service, version) as reader:
                    self.assertRegex(reader.ask("check")[0], r"^customer 4 attributes \d+ rows tracked$")
                    self.assertEqual(reader.run(), "ok")
                    self.equal(reader, service)
                    for seed in range(3):
                        service.control("edit", seed, 300)
                        self.assertEqual(reader.run(), "ok")
                        self.equal(reader, service)
                    before = reader.changed()
                    self.assertEqual(reader.run(), "ok")
                    self.assertEqual(reader.changed(), before)

    def test_an_expired_token_changes_only_the_difference(self):
        with OlingoService(1000) as service, Reader(service) as reader:
            self.assertEqual(reader.run(), "ok")
            before = reader.changed()
            service.control("put", 5, "Changed", "1.25")
            service.control("remove", 6)
            service.control("expire")
            self.assertEqual(reader.run(), "ok")
            self.equal(reader, service)
            self.assertEqual(reader.changed(), before + 2)

    def test_a_busy_service_is_waited_for(self):
        with OlingoService(100) as service, Reader(service) as reader:
            service.control("busy", 2)
            self.assertEqual(reader.run(), "ok")
            self.equal(reader, service)
            service.control("busy", 100)
            self.assertEqual(reader.run(), "source_resting")
            service.control("busy", 0)

    def test_a_service_that_ignores_track_changes(self):
        with OlingoService(500) as service:
            service.control("tracks", "false")
            with Reader(service) as reader:
                self.assertEqual(reader.ask("check")[0], "customer 4 attributes 500 rows untracked")
                for seed in range(3):
                    # That a row has gone takes two loads which have not seen it, and the one before them.
                    for _ in range(3):
                        self.assertEqual(reader.run(), "ok")
                    self.equal(reader, service)
                    service.control("edit", seed, 100)
            with Reader(service, "", "Changed") as reader:
                self.assertEqual(reader.run(), "ok")
                for seed in range(2):
                    service.control("edit", seed, 100)
                    # Keys are compared once a second has passed since the last time.
                    for _ in range(30):
                        self.assertEqual(reader.run(), "ok")
                        if reader.rows() == canonical(service.rows()):
                            break
                        subprocess.run(["sleep", "0.2"], check=True)
                    self.equal(reader, service)

    def test_a_large_load_then_many_changes(self):
        with OlingoService(MANY) as service, Reader(service) as reader:
            outcome, seconds, rate = reader.ask("run")[0].split()
            self.assertEqual(outcome, "ok")
            print(f"loaded {MANY} rows in {seconds} s: {rate} rows/s, the service's own time included", file=sys.stderr)
            self.equal(reader, service)
            service.control("edit", 7, 20_000)
            self.assertEqual(reader.run(), "ok")
            self.equal(reader, service)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
