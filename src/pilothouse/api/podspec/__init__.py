"""What a pod is: defaults, rules and warnings of PodSpec, shared by Pod and by every kind that carries a pod template.

One idea is one module: `defaults`, `validation` (the order in which a spec is checked) with its parts (`containers`, `env`, `probes`,
`resources`, `security`, `volumes`, ...), `template` (specs inside owners), `update` and its siblings (what may change later), `warnings`
and `cells` (what `kubectl get pods` shows). All are functions over plain dicts. Checks add to a list of errors that they are given, in
the order in which a Kubernetes API server reports them; they look for a field before they walk it, so that what is not there costs nothing.
"""
