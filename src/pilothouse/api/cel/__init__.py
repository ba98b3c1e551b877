"""The Common Expression Language as Kubernetes speaks it: parse, check types, compile to closures, count what evaluation costs.

The language is that of the CEL specification (cel.dev); the functions are those of "Common Expression Language in Kubernetes" in the
Kubernetes documentation, one library a file under `lib/`. `program.compile_expression` is the door.
"""
