"""Field ownership: who set which field of an object, and server-side apply, which merges by it.

Reference: "Server-Side Apply" (KEP-555) in the Kubernetes documentation.

`fieldset` is the algebra of sets of fields in their FieldsV1 form; `typed` finds fields in objects by the schema (what an object
sets, what two objects differ in), merges and removes; `managed` reads and writes `metadata.managedFields` and tracks updates;
`serverside` is apply itself; `scale` carries ownership between an object and its scale subresource.
"""

from pilothouse.api.apply.managed import keep_times_if_unchanged, track_update
from pilothouse.api.apply.serverside import apply

__all__ = ["apply", "keep_times_if_unchanged", "track_update"]
