"""The tree's rules that a compiler does not check: which way includes point, where headers may appear, and that a
type is defined once.

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
    "boost/": ["gateways/http/", "gateways/admin/", "gateways/sync/"],
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
        "http": ["auth"],
        "ingest": ["http", "auth"],
        "admin": ["ingest", "http", "auth"],
        "sync": ["http", "auth"],
    },
}
# Modules that include nothing of the tree but themselves and these folders.
NARROW = {"projectors/rules/": ("projectors/rules/", "schemas/"), "schemas/base/": ("schemas/base/",)}
BASE_HEADERS_MAX = 24
# A type that a header defines, or where a namespace begins or ends, as clang-format lays it out.
DEFINITION = re.compile(
    r"^(?:(?:inline )?namespace (?P<begin>[\w:]+) \{|(?P<end>\})  // namespace"
    r"|(?:class|struct|union|enum(?: class| struct)?)(?: \[\[\w+\]\]| alignas\([^)]*\))* (?P<type>\w+(?:::\w+)*)"
    r"(?: final)?(?: ?:(?!:)[^;{]*)? ?\{)", re.M)
SHORT_NAMESPACE = re.compile(r"^namespace [\w:]+ \{\n[^\n]*\n\}$", re.M)  # has no comment at its end
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def allowed(folder):
    if folder == "tests":
        return set(LAYERS) | {"clients", "tests"}
    if folder == "clients":
        return {"clients", "schemas"}
    below = set(LAYERS[LAYERS.index(folder):])
    return below | {"clients"} if folder == "ops" else below


def problems(root):
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        folder = name.split("/")[0]
        if path.suffix not in (".h", ".cc", ".c") or folder not in LAYERS + ["clients", "tests"]:
            continue
        for bracket, header in INCLUDE.findall(path.read_text(encoding="utf-8")):
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
    found += defined_twice(root)
    lists = "\n".join(p.read_text(encoding="utf-8") for p in root.rglob("CMakeLists.txt")
                      if "build" not in p.relative_to(root).parts)
    for path in sorted((root / "tests").rglob("*_test.*")):
        if path.suffix in (".cc", ".c", ".py") and path.name not in lists:
            found.append(f"{path.relative_to(root)}: belongs to no CMake target")
    return found


def types(text):
    """The qualified names of the types that a header defines, but for those within others."""
    namespaces = []
    for match in DEFINITION.finditer(SHORT_NAMESPACE.sub("", text)):
        if match["begin"]:
            namespaces.append(match["begin"])
        elif match["end"]:
            namespaces.pop()
        else:
            yield "::".join(namespaces + [match["type"]])


def defined_twice(root):
    # Sources that include one each of two definitions are undefined behaviour that no linker reports.
    headers = {}
    for folder in LAYERS + ["clients", "tests"]:
        for path in sorted((root / folder).rglob("*.h")):
            for name in types(path.read_text(encoding="utf-8")):
                headers.setdefault(name, []).append(path.relative_to(root).as_posix())
    return [f"{name} is defined in {' and in '.join(paths)}"
            for name, paths in sorted(headers.items()) if len(paths) > 1]


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
            "schemas/x.h": "namespace sluice {\nclass X final : public Y {\n};\n}  // namespace sluice\n",
            "eventlog/x.h": "namespace sluice {\nstruct X;\nenum class X : int {};\n}  // namespace sluice\n",
            "projectors/x.h": "namespace sluice::other {\nclass X {\n};\n}  // namespace sluice::other\n",
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        found = problems(root)
        if len(found) != 7:
            sys.exit(f"the self-test found {found}, and should have found seven")


if __name__ == "__main__":
    self_test()
    found = problems(pathlib.Path(sys.argv[1]))
    print("\n".join(found) or "the tree keeps its rules")
    sys.exit(1 if found else 0)
