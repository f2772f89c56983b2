"""An OData service of other people's making, for tests: Service.java on Apache Olingo, in a JVM of its own.

The jars are fetched from Maven Central once, into build/olingo or $SLUICE_OLINGO_CACHE.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("SLUICE_OLINGO_CACHE") or HERE.parents[2] / "build" / "olingo")


def fetch_jars():
    """Copies the jars into the cache, unless the present pom.xml's are there. Returns their folder."""
    lib = CACHE / "lib"
    stamp = lib / ".pom.xml"
    pom = (HERE / "pom.xml").read_text(encoding="utf-8")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text(encoding="utf-8") == pom:
            return lib
        shutil.rmtree(lib, ignore_errors=True)
        done = subprocess.run(["mvn", "-q", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies",
                               f"-DoutputDirectory={lib}"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError("cannot fetch Olingo's jars:\n" + (done.stdout + done.stderr)[-4000:])
        stamp.write_text(pom, encoding="utf-8")
    return lib


class OlingoService:
    """Runs from the start of a `with` to its end. `url` is the service's root. With a `journal`, a file, it may be killed
    and started again between: its rows and links outlive that."""

    def __init__(self, rows, journal=None):
        self.rows_at_first, self.journal = rows, journal
        self.process = None
        self.port = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        kept = [str(self.port), str(self.journal)] if self.journal else []
        self.process = subprocess.Popen(
            ["java", "-Xmx768m", "-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true", "-cp", f"{fetch_jars()}/*",
             str(HERE / "Service.java"), str(self.rows_at_first), *kept],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RuntimeError(f"the service ended with {self.process.returncode}")
        self.port = int(line)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/shop/"

    def control(self, *command):
        """A command of Service.java; returns its answer."""
        text = ",".join(map(str, command))
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/control?{text}", timeout=60) as answer:
            return answer.read().decode()

    def rows(self):
        """{key: "NAME BALANCE"}"""
        return dict(line.split(" ", 1) for line in self.control("rows").splitlines())
