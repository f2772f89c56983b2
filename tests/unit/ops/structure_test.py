"""The tree's rules that a compiler does not check: which way includes point, where headers may appear, that no two files
define a type of one qualified name, and that each error code that may be answered has its row in gateways/problem.cc and
its HTTP status in gateways/docs/api.md.

An include may only point down the list of folders in the README; a client may include only schemas.
`--self-test` shows that each rule can fail.
"""

import pathlib
import re
import sys
import tempfile

LAYERS = ["ops", "gateways", "projectors", "eventlog", "schemas"]
# Header prefix: folders and files that may include it (tests may include all). Those of other projects, ...
THIRD_PARTY = {
    "rocksdb/": ["projectors/store/", "eventlog/embedded/"],
    "librdkafka/": ["eventlog/kafka/"],
    "p11-kit/": ["gateways/secrets/pkcs11_key"],
    "boost/": ["gateways/http/", "gateways/admin/", "gateways/sync/", "gateways/outbound/http_exchange"],
    "expat.h": ["gateways/odata/csdl_xml"],
    "httplib.h": ["gateways/auth/", "gateways/ingest/set_relay", "ops/program/"],
    "curl/": ["clients/cpp/http_client"],
    "sqlite3.h": ["clients/cpp/", "ops/program/"],
}
# ... and those with which stores are written: gateways read them, by store_reader.h.
WRITERS = {
    "projectors/store/apart_writer.h": ["projectors/store/", "projectors/staging/"],
    "projectors/store/store_writer.h": ["projectors/store/", "projectors/staging/"],
    "projectors/store/store_manager.h": ["projectors/store/", "ops/program/"],
    "projectors/staging/": ["projectors/staging/", "ops/program/"],
}
# Inside a folder: which of its other modules one may include; "" are the files of the folder itself, which all may
# include. A module that is not named may include all of them.
INNER = {
    "schemas": {"": ["base", "sluice"], "base": []},
    "eventlog": {"": [], "embedded": [], "kafka": []},
    "projectors": {
        "rules": [],
        "model": ["rules"],
        "fold": ["model", "rules"],
        "store": ["fold", "model", "rules"],
        "nodes": ["store", "fold", "model", "rules"],
        "work": [],
        "staging": ["nodes", "store", "fold", "model", "rules"],
        "provisioning": ["nodes", "fold", "model", "rules"],
    },
    "gateways": {
        "": [],
        "auth": [],
        "debezium": ["sources", "secrets"],
        "secrets": [],
        "events": ["sources", "http"],
        "sources": ["ingest", "http", "auth", "outbound", "secrets"],
        "http": ["auth"],
        "ingest": ["http", "auth"],
        "admin": ["ingest", "http", "auth", "events", "sources"],
        "sync": ["http", "auth"],
        "outbound": ["http", "secrets"],
        "odata": ["sources", "outbound", "secrets"],
    },
    "ops": {"config": [], "program": ["config"]},
}
# Modules that include nothing of the tree but themselves and these folders.
NARROW = {"projectors/rules/": ("projectors/rules/", "schemas/"), "schemas/base/": ("schemas/base/",)}
BASE_HEADERS_MAX = 25
# Error codes of below the commands that no answer has, and so no row in gateways/problem.cc: those of a process that
# does not start, of what /readyz tells by its name alone, and of what a fold, or a reader of it, does something about.
UNSENT_CODES = {
    "address_in_use", "file_unwritable", "log_foreign", "log_format", "log_locked", "log_open_failed", "log_read_only",
    "no_log", "partition_count_mismatch", "partitions_differ",
    "group_fenced", "staging_catching_up", "staging_not_assigned",
    "apart_changed", "client_gone", "large_event", "wrong_partition",
    # Their kind decides: of events 400 or 409, in a dead letter, of what a store holds 500.
    "malformed_event", "malformed_row", "org_not_open", "other_incarnation",
}
# What talks with sources, whose codes stand in the state of a source and in dead letters; no route has it yet.
UNANSWERED = ("gateways/debezium/", "gateways/odata/", "gateways/outbound/", "gateways/sources/")
# Nobody's: they look like codes beside some.
NO_CODES = {"log_id", "read_committed", "test_fatal_error"}
ERROR = re.compile(r"\bError\(\s*(?:(?:absl::)?StatusCode::(?P<kind>\w+)|[\w.]+(?:\(\))?)\s*,\s*(?P<code>[^,;]+),")
INVALID = re.compile(r'\bInvalid\(\s*"([a-z]+(?:_[a-z]+)*)"')
CODE = re.compile(r'"([a-z]+(?:_[a-z]+)*)"')
CODE_PASSED = re.compile(r'[(,?:{=]\s*"([a-z]+(?:_[a-z]+)+)"')
CODE_NAMED = re.compile(r'\bconstexpr (?:char|std::string_view) k\w+(?:\[\])?\s*(?:= |\(|\{)"([a-z]+(?:_[a-z]+)+)"[;)}]')
CODE_ROW = re.compile(r'^    \{"(\w+)", (\d+), "', re.M)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

# What a scan for type definitions looks at: literals and comments (passed over), namespaces, types, braces.
TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^\s()]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Fa-f])\'(?:\\.|[^\'\\\n])+\''
    r"|\bnamespace\b(?P<space>[\w:\s]*)\{"
    r"|\b(?:class|struct|union|enum(?:\s+(?:class|struct))?)\s+(?:[A-Z][A-Z_]+\([^)]*\)\s*|\[\[[^\]]*\]\]\s*)*"
    r"(?P<type>\w[\w:]*(?:<[^;{}()]*>)?)(?:\s+final)?\s*(?::(?!:)[^;{}()=]*)?\{"
    r"|(?P<brace>[{}])", re.S)


def types(text):
    """The qualified names of the types that a file defines; those of unnamed namespaces and functions are its own."""
    scopes = []
    for token in TOKEN.finditer(text):
        if token["type"] is not None:
            scopes.append(token["type"])
            if None not in scopes:
                yield "::".join(scopes)
        elif token["space"] is not None:
            scopes.append(token["space"].strip() or None)
        elif token["brace"] == "{":
            scopes.append(None)
        elif token["brace"] == "}" and scopes:
            scopes.pop()


def codes(text):
    """The error codes that a source gives: in Error(), by a name, or to what gives them to Error()."""
    text = re.sub(r"//[^\n]*", "", text)
    passes = False
    for call in ERROR.finditer(text):
        # A defect of ours is answered as `internal`, whatever it is called.
        if call["kind"] not in ("kInternal", "kDataLoss", "kUnknown"):
            yield from CODE.findall(call["code"])
        passes = passes or ('"' not in call["code"] and "ErrorCode" not in call["code"])
    yield from INVALID.findall(text)
    yield from CODE_NAMED.findall(text)
    if passes:
        yield from CODE_PASSED.findall(text)


def code_problems(root, unsent):
    found = []
    table = root / "gateways" / "problem.cc"
    rows = dict(CODE_ROW.findall(table.read_text(encoding="utf-8"))) if table.exists() else {}
    given = {}  # code: a file that gives it
    for folder in ("schemas", "eventlog", "projectors", "gateways"):
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix in (".h", ".cc") and not name.startswith(UNANSWERED):
                for code in codes(path.read_text(encoding="utf-8")):
                    given.setdefault(code, path.relative_to(root).as_posix())
    for code in sorted(given.keys() - rows.keys() - unsent - NO_CODES):
        if not code.startswith("sluice_"):  # a metric
            found.append(f"{given[code]}: the error code {code} has no row in gateways/problem.cc")
    for code in sorted(unsent & rows.keys()):
        found.append(f"gateways/problem.cc: has a row for {code}, which structure_test.py says is never answered")
    for code in sorted(unsent - given.keys()):
        found.append(f"structure_test.py: nothing gives the error code {code}")
    statuses = {}
    page = root / "gateways" / "docs" / "api.md"
    for cells in re.findall(r"^\| (`.*?) \| (\d.*?) \|", page.read_text(encoding="utf-8") if page.exists() else "", re.M):
        statuses.update((code, cells[1]) for code in re.findall(r"`(\w+)`", cells[0]))
    for code, status in sorted(rows.items()):
        if status not in re.findall(r"\d+", statuses.get(code, "")):
            found.append(f"gateways/docs/api.md: section 7 does not have {code} with {status}, as problem.cc has")
    return found


def allowed(folder):
    if folder == "tests":
        return set(LAYERS) | {"clients", "tests"}
    if folder == "clients":
        return {"clients", "schemas"}
    below = set(LAYERS[LAYERS.index(folder):])
    return below | {"clients"} if folder == "ops" else below


def problems(root, unsent=frozenset(UNSENT_CODES)):
    found = code_problems(root, unsent)
    defined = {}  # qualified name of a type: the file that defines it
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        folder = name.split("/")[0]
        if path.suffix not in (".h", ".cc", ".c") or folder not in LAYERS + ["clients", "tests"]:
            continue
        text = path.read_text(encoding="utf-8")
        for type_name in types(text):
            first = defined.setdefault(type_name, name)
            if first != name:
                found.append(f"{name}: defines {type_name}, and so does {first}")
        for bracket, header in INCLUDE.findall(text):
            top = header.split("/")[0]
            if bracket == '"' and top in LAYERS + ["clients", "tests"] and top not in allowed(folder):
                found.append(f"{name}: includes {header}, which is above {folder}/")
            inner = name.split("/")[1] if name.count("/") > 1 else ""
            if top == folder and header.count("/") > 1 and inner in INNER.get(folder, {}):
                other = header.split("/")[1]
                if other != inner and other not in INNER[folder][inner]:
                    module = f"{folder}/{inner}".rstrip("/")
                    found.append(f"{name}: includes {header}, which is not below {module}/")
            for module, below in NARROW.items():
                if name.startswith(module) and top in LAYERS and not header.startswith(below):
                    found.append(f"{name}: includes {header}, and {module} only {', '.join(below)}")
            for prefix, places in {**THIRD_PARTY, **WRITERS}.items():
                if header.startswith(prefix) and folder != "tests" and not any(map(name.startswith, places)):
                    found.append(f"{name}: includes {header}, which belongs only in {', '.join(places)}")
    headers = list((root / "schemas" / "base").glob("*.h"))
    if len(headers) > BASE_HEADERS_MAX:
        found.append(f"schemas/base has {len(headers)} headers, more than {BASE_HEADERS_MAX}")
    lists = "\n".join(p.read_text(encoding="utf-8") for p in root.rglob("CMakeLists.txt")
                      if "build" not in p.relative_to(root).parts)
    for path in sorted((root / "tests").rglob("*_test.*")):
        if path.suffix in (".cc", ".c", ".py") and path.name not in lists:
            found.append(f"{path.relative_to(root)}: belongs to no CMake target")
    return found


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in {
            "schemas/a.h": '#include "eventlog/log.h"\n',
            "clients/cpp/a.cc": '#include "projectors/x.h"\n',
            "gateways/admin/a.cc": "#include <rocksdb/db.h>\n",
            "projectors/rules/a.cc": '#include "eventlog/x.h"\n',
            "projectors/fold/a.cc": '#include "projectors/store/x.h"\n',
            "tests/unit/lost_test.cc": "",
            "schemas/x.h": "namespace sluice { struct Row; class A { enum class Row : int { kOne }; }; }\n",
            "schemas/y.h": "namespace sluice { namespace { struct Row { int x = 1'000; }; } struct A::Other {}; }\n",
            "schemas/z.h": "// struct Row {\nnamespace sluice::a { struct Row final : B<int> { Row() {} }; }\n",
            "clients/cpp/z.h": "namespace sluice { namespace a {\ntemplate <class T>\nclass Row\n    : public T {};\n}}\n",
            "gateways/problem.cc": '    {"told", 404, "Told"},\n    {"not_told", 404, "Not told"},\n',
            "gateways/docs/api.md": "| `told`, `also` | 404 | asks |\n| `not_told` | 400 | asks |\n",
            "gateways/b.cc": 'return Error(absl::StatusCode::kNotFound, ok ? "told" : "no_row", "x");\n',
            "eventlog/b.cc": "return Error(kind, code, what);\n" 'Refuse("no_row_either", what); // "nor_this"\n',
            "schemas/b.h": 'constexpr std::string_view kCode = "unsent_code";\n',
            "schemas/b.cc": 'return Invalid("no_row_for_it", "{} is wrong", x);\n',
            "gateways/sync/c.cc": '#include "projectors/store/store_manager.h"\n',
            "projectors/nodes/c.cc": '#include "projectors/store/store_writer.h"\n',
            "eventlog/c.cc": '#include "eventlog/kafka/log.h"\n#include "eventlog/log.h"\n',
            "eventlog/kafka/c.cc": '#include "eventlog/embedded/log.h"\n#include "eventlog/log.h"\n',
            "ops/config/c.cc": '#include "ops/program/process.h"\n',
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        found = problems(root, {"unsent_code", "given_by_nobody"})
        wanted = {
            "schemas/z.h: defines sluice::a::Row, and so does clients/cpp/z.h",
            "gateways/b.cc: the error code no_row has no row in gateways/problem.cc",
            "eventlog/b.cc: the error code no_row_either has no row in gateways/problem.cc",
            "schemas/b.cc: the error code no_row_for_it has no row in gateways/problem.cc",
            "structure_test.py: nothing gives the error code given_by_nobody",
            "gateways/docs/api.md: section 7 does not have not_told with 404, as problem.cc has",
            "gateways/sync/c.cc: includes projectors/store/store_manager.h, which belongs only in projectors/store/, "
            "ops/program/",
            "projectors/nodes/c.cc: includes projectors/store/store_writer.h, which belongs only in projectors/store/, "
            "projectors/staging/",
            "eventlog/c.cc: includes eventlog/kafka/log.h, which is not below eventlog/",
            "eventlog/kafka/c.cc: includes eventlog/embedded/log.h, which is not below eventlog/kafka/",
            "ops/config/c.cc: includes ops/program/process.h, which is not below ops/config/",
        }
        if len(found) != 17 or not wanted <= set(found):
            sys.exit(f"the self-test found {found}, and should have found seventeen problems")


if __name__ == "__main__":
    self_test()
    found = problems(pathlib.Path(sys.argv[1]))
    print("\n".join(found) or "the tree keeps its rules")
    sys.exit(1 if found else 0)
