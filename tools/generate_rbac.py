"""Turn a table of RBAC's bootstrap policy into `apiserver/bootstrap/_generated_rbac.json`.

The table is tab-separated: kind, namespace, name, labels, rule number, apiGroups, resources, resourceNames, nonResourceURLs, verbs.
Rows of bindings have "bind" as the rule number, the role in the column of apiGroups and the subjects in that of resources; a row
"agg" has the label by which a ClusterRole is aggregated. Usage: generate_rbac.py TABLE.tsv
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "src/pilothouse/apiserver/bootstrap/_generated_rbac.json"
Obj = dict[str, Any]
#: Subjects that a server was seen to have besides those of the table.
MORE_SUBJECTS = {"system::leader-locking-kube-controller-manager": [["ServiceAccount", "kube-system/leader-election-controller"]]}


def main() -> None:
    objects: dict[tuple[str, str, str], Obj] = {}
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            found = objects.setdefault((row["kind"], row["namespace"], row["name"]), start(row))
            fill(found, row)
    lines = ",\n".join(json.dumps(o, separators=(",", ":")) for o in objects.values())
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(objects)} objects in {OUT}")


def start(row: dict[str, str]) -> Obj:
    out: Obj = {"kind": row["kind"], "name": row["name"]}
    if row["namespace"]:
        out["namespace"] = row["namespace"]
    labels = dict(label.split("=", 1) for label in row["labels"].split(";") if label)
    labels.pop("kubernetes.io/bootstrapping")
    if labels:
        out["labels"] = labels
    if not row["kind"].endswith("Binding"):
        out["rules"] = []
    return out


def fill(found: Obj, row: dict[str, str]) -> None:
    if row["rule_no"] == "agg":
        key, _, value = row["apiGroups"].partition("=")
        found.setdefault("aggregate", []).append({key: value})
    elif row["rule_no"] == "bind":
        found["role"] = row["apiGroups"].split("/", 1)
        found["subjects"] = [s.split(":", 1) for s in row["resources"].split(",") if s] + MORE_SUBJECTS.get(row["name"], [])
    else:
        found["rules"].append(rule(row))


def rule(row: dict[str, str]) -> Obj:
    keys = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
    return {key: ["" if v == '""' else v for v in row[key].split(",")] for key in keys if row[key]}


if __name__ == "__main__":
    main()
