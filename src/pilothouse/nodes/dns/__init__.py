"""Cluster DNS: the names of Services and pods, answered from informers as the "Kubernetes DNS-Based Service Discovery" specification 1.1.0 says."""
