"""Custom resources: what a CustomResourceDefinition says, and the rules of the objects that it defines.

`definition` reads a definition, `structural` makes a `Schema` of its OpenAPI schema (decoding, pruning, field ownership), `defaults`
fills in, `validation` checks values, `strategy` is the kind's rules as the hub asks for them; `rules` are those of the definition
itself. Everything is compiled when an object of the kind first comes by, so that a definition nobody uses costs next to nothing.
"""
