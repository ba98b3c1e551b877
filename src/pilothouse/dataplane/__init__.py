"""What carries traffic: a description of fronts and pools in, sockets out. It knows addresses and bytes, and nothing of Kubernetes."""
