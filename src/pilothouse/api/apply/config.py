"""Reading the body of an apply request: a configuration in YAML (of which JSON is a part)."""

from __future__ import annotations

import orjson

from pilothouse.api.errors import Obj, bad_request
from pilothouse.api.patch.text import kind_name
from pilothouse.api.yamltext import YamlError, load


def decode_configuration(body: bytes, field_validation: str = "Warn") -> tuple[Obj, list[str]]:
    """The configuration, and texts for Warning headers. Keys given twice are refused when validation is Strict.

    An empty body is an empty configuration. Unknown fields are not looked for here: apply refuses them, however fields are validated.
    """
    repeated: list[str] = []
    try:
        config = orjson.loads(body)
        if body.count(b'"') != orjson.dumps(config).count(b'"'):
            config, repeated = load(body)
    except orjson.JSONDecodeError:
        try:
            config, repeated = load(body)
        except YamlError as error:
            raise bad_request(f"error decoding YAML: error converting YAML to JSON: {error}") from None
    except YamlError:
        repeated = []  # JSON that is not quite YAML
    if config is None:
        return {}, []
    if not isinstance(config, dict):
        problem = f"json: cannot unmarshal {kind_name(config)} into an object"
        raise bad_request(f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {problem}")
    if repeated and field_validation == "Strict":
        listed = "".join(f"\n  {text}" for text in repeated)
        raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:{listed}")
    return config, [] if field_validation == "Ignore" else repeated
