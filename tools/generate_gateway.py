"""Make `cloud/gateway/_generated_crds.json.gz`: the CustomResourceDefinitions of the Gateway API's standard channel.

The shapes (fields, types, patterns, lengths, numbers, enumerations) are read from the validators of the npm package
`@kubernetes-models/gateway-api`; what it does not tell (defaults, kinds of lists, rules, columns, versions) is in `gateway_facts.py` and
`gateway_rules.py`, as the reference (gateway-api.sigs.k8s.io) has it. Its descriptions are left out; ours are in `gateway_words.py`.

Usage, after `npm pack @kubernetes-models/gateway-api@2.0.0` and unpacking it: generate_gateway.py PACKAGE_FOLDER
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import gateway_facts as facts
from gateway_rules import RULES
from gateway_words import DESCRIPTIONS

OUT = Path(__file__).parents[1] / "src/pilothouse/cloud/gateway/_generated_crds.json.gz"
PREFIX = "IoK8sSigsGatewayApiApisV1"
Schema = dict[str, Any]

_IMPORT = re.compile(r'import\{validate as (validate\d+)\}from"([^"]+)"')
_ENTRY = re.compile(r"export const validate=(validate\d+)")
_FUNCTION = re.compile(r"function (validate\d+)\(data,")
_ENUM = re.compile(r"let (schema\d+_enum)=(\[.*?\]);")
_KEYWORD = re.compile(r'schemaPath:"#/(\w+)",keyword:"\w+",params:\{(.*?)\}\}')
_PROPERTY = re.compile(r"(validate\d+)\(data\.(\w+),")
_ITEMS = re.compile(r"(validate\d+)\(data\[i0\],")
_VALUES = re.compile(r"(validate\d+)\(data\[key0\],")
_SAME = re.compile(r"(validate\d+)\(data,\{instancePath,")
_LIMITS = ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties", "maximum", "minimum")


class Package:
    """The package's validators, read as schemas."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "_schemas"

    def schema(self, name: str) -> Schema:
        """The schema of a type such as `HTTPRouteSpec`, with all that it refers to put in, and what we add to it."""
        if name in facts.TYPES:
            return json.loads(json.dumps(facts.TYPES[name]))
        text = (self.folder / f"{PREFIX}{name}.js").read_text(encoding="utf-8")
        module = Module(self, text)
        return annotated(name, module.of(_ENTRY.findall(text)[0]))


class Module:
    """One file of the package: functions that check one schema each."""

    def __init__(self, package: Package, text: str) -> None:
        self.package = package
        self.imports = dict(_IMPORT.findall(text))
        self.enums = {name: json.loads(values) for name, values in _ENUM.findall(text)}
        starts = [(m.group(1), m.start()) for m in _FUNCTION.finditer(text)]
        ends = [start for _, start in starts[1:]] + [len(text)]
        self.bodies = {name: text[start:end] for (name, start), end in zip(starts, ends, strict=True)}

    def of(self, function: str) -> Schema:
        if function in self.imports:
            return self.package.schema(self.imports[function].rpartition("/")[2].removesuffix(".js").removeprefix(PREFIX))
        body = self.bodies[function]
        out: Schema = {}
        for same in _SAME.findall(body):
            out |= self.of(same)
        properties = out.get("properties", {})
        if " in data)" in body or "data[key0]" in body:
            out["additionalProperties"] = self.of(_VALUES.findall(body)[0])
        if items := _ITEMS.findall(body):
            out["items"] = self.of(items[0])
        if named := _PROPERTY.findall(body):
            out["properties"] = properties | {name: self.of(inner) for inner, name in named}
        for keyword, params in _KEYWORD.findall(body):
            self._add(out, keyword, params)
        return out

    def _add(self, out: Schema, keyword: str, params: str) -> None:
        value = params.partition(":")[2]
        if keyword in _LIMITS:
            out[keyword] = int(float(re.findall(r"limit:([-\de.]+)", params)[0]))
        elif keyword == "enum":
            out["enum"] = self.enums[value]
        elif keyword == "required":
            out.setdefault("required", []).append(json.loads(value))
        elif keyword in ("type", "pattern", "format"):
            out[keyword] = json.loads(value)
        else:
            raise ValueError(f"unknown keyword {keyword}: {params}")


def annotated(name: str, schema: Schema) -> Schema:
    """The schema with the defaults, kinds of lists and rules of the type and of its fields; without what is not in the standard channel."""
    if name in facts.LOST:
        schema["properties"] |= facts.LOST[name]
    for field in facts.EXPERIMENTAL.get(name, ()):
        schema["properties"].pop(field)
        if field in schema.get("required", ()):
            schema["required"].remove(field)
    for field, extra in facts.FIELDS.get(name, {}).items():
        schema["properties"][field] = schema["properties"][field] | extra
    for field, text in DESCRIPTIONS.get(name, {}).items():
        schema["properties"][field] = schema["properties"][field] | {"description": text}
    schema |= facts.WHOLE.get(name, {})
    if name in RULES:
        schema["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in RULES[name]]
    if "required" in schema:
        schema["required"] = sorted(schema["required"])
    return schema


def definition(package: Package, kind: facts.Kind) -> Schema:
    """One CustomResourceDefinition. A version that differs from the first one in nothing but its name says so by `like`."""
    names = {
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "singular": kind.name.lower(),
        "categories": ["gateway-api"],
    }
    if kind.short:
        names["shortNames"] = [kind.short]
    top = package.schema(kind.name)
    for field in ("apiVersion", "kind"):
        top["properties"][field] = {"type": "string"}
    top["properties"]["metadata"] = {"type": "object"}
    top["required"] = [f for f in top["required"] if f not in ("apiVersion", "kind")]
    if not top["required"]:
        top.pop("required")
    top["description"] = kind.description
    versions = [
        {
            "name": version,
            "served": True,
            "storage": version == kind.storage,
            "additionalPrinterColumns": [column(*each) for each in kind.columns],
            **({"subresources": {"status": {}}} if "status" in top["properties"] else {"subresources": {}}),
            **({"schema": {"openAPIV3Schema": top}} if index == 0 else {"like": kind.versions[0]}),
        }
        for index, version in enumerate(kind.versions)
    ]
    metadata = {"name": f"{kind.plural}.{facts.GROUP}", "annotations": facts.annotations(kind)}
    if kind.labels:
        metadata["labels"] = kind.labels
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {"group": facts.GROUP, "names": names, "scope": kind.scope, "versions": versions},
    }


def column(name: str, kind: str, path: str, priority: int = 0) -> Schema:
    return {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}


def main() -> None:
    package = Package(Path(sys.argv[1]))
    made = [definition(package, kind) for kind in facts.KINDS]
    text = json.dumps(made, separators=(",", ":"), sort_keys=True)
    OUT.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(made)} definitions, {len(text)} bytes, {OUT.stat().st_size} compressed, in {OUT}")


if __name__ == "__main__":
    main()
