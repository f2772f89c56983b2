"""The tree's rules that a compiler does not check: which way includes point, where headers may appear, and that no
two files define a type of one qualified name.

An include may only point down the list of folders in the README; a client may include only schemas.
`--self-test` shows that each rule can fail.
"""

import pathlib
import re
import sys
import tempfile

LAYERS = ["ops", "gateways", "projectors", "eventlog", "schemas"]
THIRD_PARTY = {
    # header prefix: folders and files that may include it (tests may include all)
    "rocksdb/": ["projectors/store/", "eventlog/embedded/"],
    "librdkafka/": ["eventlog/kafka/"],
    "p11-kit/": ["gateways/secrets/pkcs11_key"],
    "boost/": ["gateways/http/", "gateways/admin/", "gateways/sync/", "gateways/outbound/http_exchange"],
    "expat.h": ["gateways/odata/csdl_xml"],
    "httplib.h": ["gateways/auth/", "gateways/ingest/set_relay", "clients/cpp/", "ops/program/"],
    "sqlite3.h": ["clients/cpp/", "ops/program/"],
}
# Inside a folder: which of its other modules one may include. A module that is not named may include all of them.
INNER = {
    "schemas": {"base": []},
    "projectors": {
        "rules": [],
        "model": ["rules"],
        "fold": ["model", "rules"],
        "store": ["fold", "model", "rules"],
        "nodes": ["store", "fold", "model", "rules"],
        "staging": ["nodes", "store", "fold", "model", "rules"],
        "provisioning": ["nodes", "fold", "model", "rules"],
    },
    "gateways": {
        "auth": [],
        "debezium": [],
        "secrets": [],
        "http": ["auth"],
        "ingest": ["http", "auth"],
        "admin": ["ingest", "http", "auth"],
        "sync": ["http", "auth"],
        "outbound": ["http", "secrets"],
        "odata": ["outbound"],
    },
}
# Modules that include nothing of the tree but themselves and these folders.
NARROW = {"projectors/rules/": ("projectors/rules/", "schemas/"), "schemas/base/": ("schemas/base/",)}
BASE_HEADERS_MAX = 24
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


def allowed(folder):
    if folder == "tests":
        return set(LAYERS) | {"clients", "tests"}
    if folder == "clients":
        return {"clients", "schemas"}
    below = set(LAYERS[LAYERS.index(folder):])
    return below | {"clients"} if folder == "ops" else below


def problems(root):
    found = []
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
            inner = name.split("/")[1]
            if top == folder and header.count("/") > 1 and inner in INNER.get(folder, {}):
                other = header.split("/")[1]
                if other != inner and other not in INNER[folder][inner]:
                    found.append(f"{name}: includes {header}, which is not below {folder}/{inner}/")
            for module, below in NARROW.items():
                if name.startswith(module) and top in LAYERS and not header.startswith(below):
                    found.append(f"{name}: includes {header}, and {module} only {', '.join(below)}")
            for prefix, places in THIRD_PARTY.items():
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
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        found = problems(root)
        if len(found) != 7 or "schemas/z.h: defines sluice::a::Row, and so does clients/cpp/z.h" not in found:
            sys.exit(f"the self-test found {found}, and should have found seven problems")


if __name__ == "__main__":
    self_test()
    found = problems(pathlib.Path(sys.argv[1]))
    print("\n".join(found) or "the tree keeps its rules")
    sys.exit(1 if found else 0)
