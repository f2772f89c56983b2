#!/usr/bin/env python3
"""PostgreSQL and Kafka Connect with Debezium on 127.0.0.1, for tests and the demo. The Kafka is the caller's.

  postgres_chain.py start --brokers HOST:PORT [--owner PID]   prints the folder, PG… variables, and Connect's URL
  postgres_chain.py stop --dir D                              ends both, and removes the folder
  postgres_chain.py fetch                                     only downloads the jars (once, from Maven Central)

PostgreSQL runs as the user `postgres` where the caller is root, for it refuses root; as the caller otherwise. The folder
is a temporary one of its own, since that user may not pass the caller's. With --owner a watchdog ends both and removes
the folder when that process ends, however it ends. Needs what `ops/setup --postgres` installs.
"""

import argparse
import contextlib
import glob
import http.client
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import pwd
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
CACHE = os.environ.get("SLUICE_CONNECT_CACHE") or str(HERE.parents[2] / "build" / "connect")
READY_SECONDS = 180
START_TRIES = 3


def load_broker_script():
    """kafka_broker as a module: how processes are remembered and ended, ports found and jars fetched is the same."""
    loader = importlib.machinery.SourceFileLoader("kafka_broker", str(HERE.parent / "broker" / "kafka_broker"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("kafka_broker", loader))
    loader.exec_module(module)
    return module


broker = load_broker_script()
Failure = broker.Failure


def fetch_jars():
    return broker.fetch_jars(str(HERE / "pom.xml"), CACHE)


def postgres_program(name):
    """Of the newest version that is installed: Debian keeps them out of PATH."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: int(path.split("/")[4]))
    path = found[-1] if found else shutil.which(name)
    if not path:
        raise Failure(f"there is no {name}: run ops/setup --postgres")
    return path


def as_postgres():
    """Arguments of Popen() for a user who is not root."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise Failure("PostgreSQL refuses root, and there is no user postgres: run ops/setup --postgres") from None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class PostgresChain:
    """One database `shop`, which its owner `postgres` and Debezium's role `dbz` may use, and one worker of Connect."""

    def __init__(self, brokers, owner=None):
        """Starts both. `owner`: with whose end they end; by default this process."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-postgres-"))
        self.folder.chmod(0o711)  # passable for the user postgres, as mktemp's folders are not
        self.brokers, self.password, self.connectors = brokers, secrets.token_hex(12), {}
        self.postgres_port = self.connect_port = 0
        self.processes = {}
        try:
            jars = fetch_jars()
            self.classpath = os.path.join(jars, "*")
            self.start_watchdog(os.getpid() if owner is None else owner)
            self.make_database()
            self.start_connect()
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        end_all(self.folder)
        for process in self.processes.values():
            process.wait()

    def start_watchdog(self, owner):
        process = subprocess.Popen([sys.executable, __file__, "watch", "--dir", str(self.folder), "--owner", str(owner)],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        self.note("watchdog", process)

    def note(self, name, process):
        self.processes[name] = process
        broker.write_pid(str(self.folder / f"{name}.pid"), process.pid)

    def run(self, name, arguments, **more):
        """Starts a server, whose log and pid are files of its name."""
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                       cwd="/", **more)
        self.note(name, process)

    def await_ready(self, name, ready):
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            ended = not broker.live_pid(str(self.folder / f"{name}.pid"))
            if ended or time.monotonic() > deadline:
                state = "ended while starting" if ended else f"is not ready after {READY_SECONDS} s"
                raise Failure(f"{name} {state}:\n{self.tail(name)}")
            time.sleep(0.1)  # polls another process

    def tail(self, name, lines=40):
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def kill(self, name):
        """SIGKILL of `connect` or `postgres`, as a crash."""
        broker.end([str(self.folder / f"{name}.pid")], signal.SIGKILL, 5)
        self.processes[name].wait()

    # --- the database -------------------------------------------------------------------------------

    def make_database(self):
        home = self.folder / "postgres"
        home.mkdir(mode=0o700)
        password = home / "password"
        password.write_text(self.password + "\n")
        if as_postgres():
            for path in (home, password):
                shutil.chown(path, "postgres")
        done = subprocess.run([postgres_program("initdb"), "-D", home / "data", "-A", "scram-sha-256", "-U", "postgres",
                               f"--pwfile={password}", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", check=False,
                              **as_postgres())
        if done.returncode != 0:
            raise Failure("initdb failed:\n" + done.stdout[-4000:])
        self.start_postgres()
        self.sql(f"create role dbz login replication password '{self.password}'; grant pg_read_all_data to dbz")
        self.sql("create database shop")
        self.sql("create publication dbz for all tables", "shop")

    def start_postgres(self):
        """Starts the server; again after a kill, on its port."""
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "wal_level": "logical",
                    "fsync": "off",  # what is killed here are processes, not the machine
                    # A slot that nobody reads any more must not fill the disk.
                    "max_slot_wal_keep_size": "1GB", "shared_buffers": "64MB", "timezone": "UTC"}
        for attempt in range(START_TRIES):
            port = self.postgres_port or broker.free_ports(1)[0]
            options = [f"--{name}={value}" for name, value in {**settings, "port": port}.items()]
            self.run("postgres", [postgres_program("postgres"), "-D", str(self.folder / "postgres" / "data"), *options],
                     **as_postgres())
            try:
                self.await_ready("postgres", lambda: subprocess.run(
                    [postgres_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode == 0)
                self.postgres_port = port
                return
            except Failure as failure:
                # Another process may have taken the port since it was found free.
                if "in use" not in str(failure) or self.postgres_port or attempt + 1 == START_TRIES:
                    raise

    def environment(self, database="shop"):
        """For psql, pgbench and other programs of PostgreSQL."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.postgres_port), "PGUSER": "postgres",
                "PGPASSWORD": self.password, "PGDATABASE": database}

    def sql(self, text, database=None):
        """Runs statements, each a transaction of its own unless they say otherwise; returns what is shown, unaligned."""
        done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"], input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False,
                              env={**os.environ, **self.environment(database or "postgres")})
        if done.returncode != 0:
            raise Failure(f"psql: {done.stderr.strip()}\nof: {text[:500]}")
        return done.stdout

    def shop(self, text):
        return self.sql(text, "shop")

    # --- Connect ------------------------------------------------------------------------------------

    def start_connect(self):
        """Starts the worker, and what connectors it had: a worker of its own keeps their offsets, but not their settings."""
        for attempt in range(START_TRIES):
            port = self.connect_port or broker.free_ports(1)[0]
            properties = {
                "bootstrap.servers": self.brokers,
                "key.converter": "org.apache.kafka.connect.json.JsonConverter",
                "value.converter": "org.apache.kafka.connect.json.JsonConverter",
                "offset.storage.file.filename": self.folder / "offsets",
                "offset.flush.interval.ms": 1000,
                "listeners": f"http://127.0.0.1:{port}",
                # The default looks through the whole class path: three times as slow and as large.
                "plugin.discovery": "service_load",
                "topic.creation.enable": "true",
            }
            with open(self.folder / "worker.properties", "w", encoding="utf-8") as file:
                file.writelines(f"{key}={value}\n" for key, value in properties.items())
            self.run("connect", ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                                 "-Djava.net.preferIPv4Stack=true", "-Dorg.slf4j.simpleLogger.showDateTime=true",
                                 "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS", "-cp", self.classpath,
                                 "org.apache.kafka.connect.cli.ConnectStandalone",
                                 str(self.folder / "worker.properties")])
            self.connect_url = f"http://127.0.0.1:{port}"
            try:
                self.await_ready("connect", lambda: self.ask("GET", "/connectors")[0] == 200)
                self.connect_port = port
                break
            except Failure as failure:
                if "in use" not in str(failure) or self.connect_port or attempt + 1 == START_TRIES:
                    raise
        for name, config in self.connectors.items():
            self.put_connector(name, config)

    def ask(self, method, path, body=None):
        """(status, JSON) of Connect's REST interface; (0, None): it does not answer."""
        request = urllib.request.Request(self.connect_url + path, method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return 0, None

    def connector_config(self, prefix, tables, schemas=True, **more):
        """Of a connector whose topics begin with `prefix`; `tables`: "public.customer", …

        Without schemas decimals are text, as a message does not tell their scale then."""
        converter = "org.apache.kafka.connect.json.JsonConverter"
        enabled = "true" if schemas else "false"
        return {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1",
            "database.hostname": "127.0.0.1", "database.port": str(self.postgres_port), "database.user": "dbz",
            "database.password": self.password, "database.dbname": "shop", "topic.prefix": prefix,
            "plugin.name": "pgoutput", "publication.name": "dbz", "publication.autocreate.mode": "disabled",
            "slot.name": prefix, "table.include.list": ",".join(tables), "provide.transaction.metadata": "true",
            "skipped.operations": "none",  # the default passes over TRUNCATE
            "decimal.handling.mode": "precise" if schemas else "string",
            "key.converter": converter, "key.converter.schemas.enable": enabled,
            "value.converter": converter, "value.converter.schemas.enable": enabled,
            "topic.creation.default.replication.factor": "1", "topic.creation.default.partitions": "1",
            "heartbeat.interval.ms": "1000", "poll.interval.ms": "50", **more,
        }

    def put_connector(self, name, config):
        """Defines or changes a connector and waits until its task runs."""
        self.connectors[name] = config
        deadline = time.monotonic() + READY_SECONDS
        status, answer = self.ask("PUT", f"/connectors/{name}/config", config)
        while status not in (200, 201):
            if status == 400 or time.monotonic() > deadline:
                raise Failure(f"Connect refuses {name}: {status} {answer}\n{self.tail('connect')}")
            time.sleep(0.2)  # polls another process
            status, answer = self.ask("PUT", f"/connectors/{name}/config", config)

        def running():
            told = self.ask("GET", f"/connectors/{name}/status")[1]
            tasks = told["tasks"] if isinstance(told, dict) else []
            if tasks and tasks[0]["state"] == "FAILED":
                raise Failure(f"{name} has failed: {tasks[0].get('trace', '')[:4000]}")
            return tasks and tasks[0]["state"] == "RUNNING"

        self.await_ready("connect", running)

    def delete_connector(self, name):
        """Takes a connector out; its slot and its offsets stay."""
        del self.connectors[name]
        status, answer = self.ask("DELETE", f"/connectors/{name}")
        if status != 204:
            raise Failure(f"Connect does not delete {name}: {status} {answer}")

    def drop_slot(self, name):
        """What is committed from now on is not kept for the connector that read it."""
        deadline = time.monotonic() + READY_SECONDS
        while self.shop(f"select active from pg_replication_slots where slot_name = '{name}'").strip() == "t":
            if time.monotonic() > deadline:
                raise Failure(f"the slot {name} is still read")
            time.sleep(0.1)  # polls another process
        self.shop(f"select pg_drop_replication_slot('{name}')")


def end_all(folder, from_watchdog=False):
    pid = {name: str(pathlib.Path(folder) / f"{name}.pid") for name in ("watchdog", "connect", "postgres")}
    if not from_watchdog:
        broker.end([pid["watchdog"]], signal.SIGTERM, 2)
    broker.end([pid["connect"]], signal.SIGKILL, 5)
    # PostgreSQL ends at once by SIGQUIT, and takes its shared memory with it, as after a SIGKILL it would not.
    broker.end([pid["postgres"]], signal.SIGQUIT, 10)
    shutil.rmtree(folder, ignore_errors=True)


def watch(folder, owner):
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(owner)], [], [])
    end_all(folder, from_watchdog=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["start", "stop", "fetch", "watch"])
    parser.add_argument("--brokers", help="where Connect writes: HOST:PORT")
    parser.add_argument("--dir", help="the folder that `start` printed")
    parser.add_argument("--owner", type=int, help="end everything when this process ends; by default nobody's end does")
    options = parser.parse_args()
    if options.command == "fetch":
        print(fetch_jars())
    elif options.command == "start":
        if not options.brokers:
            parser.error("--brokers is missing")
        # Process 1 never ends.
        chain = PostgresChain(options.brokers, options.owner or 1)
        print(json.dumps({"dir": str(chain.folder), "connect": chain.connect_url, **chain.environment()}), flush=True)
    elif not options.dir:
        parser.error("--dir is missing")
    elif options.command == "stop":
        end_all(options.dir)
    else:
        watch(options.dir, options.owner)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure_:
        print(failure_, file=sys.stderr)
        sys.exit(1)
