"""kube-controller-manager: what makes the cluster become what its objects say.

Every controller is the same loop with another decision in it. It follows caches (`kit.Cache`), puts the keys of what changed into a
queue, and for each key looks at the whole present state and does what is missing. The decisions are pure functions in the modules named
`..._plan`, `..._status`, `..._graph`, `node_health`, `taints` and `pods`: tests, explanations and what-if questions call them without
a cluster. The modules named after controllers read caches, call the decision and carry it out. `registry` lists them under Kubernetes'
names, `manager` runs them.

Two rules keep this safe. A controller acts on state, never on events, so that missed, merged or repeated events do not matter; and it
writes only what differs, so that a cluster at rest is at rest.
"""
