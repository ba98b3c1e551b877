"""What the scheduler can tell: why a pod is where it is or still waits, and where pods would go.

`journal` keeps the last decisions, `explain` words one, `nearest` says what stands between a pod and its nodes, `picture` draws;
`sandbox` and `whatif` try things out without a trace, and `attend` answers what the hub is asked.
"""
