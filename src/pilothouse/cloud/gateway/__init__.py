"""The Gateway API and Ingress (gateway-api.sigs.k8s.io): from objects to what a data plane is to do, and back to their statuses."""
