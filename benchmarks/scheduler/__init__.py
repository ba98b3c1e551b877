"""The workloads by which Kubernetes measures its scheduler (scheduler_perf), at the same counts, on ours."""
