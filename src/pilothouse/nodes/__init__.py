"""The worker side: simulated nodes."""
