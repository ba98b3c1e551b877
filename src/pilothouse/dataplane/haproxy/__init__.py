"""The engine that drives HAProxy: a configuration made from the model, hitless reloads, and its runtime API for what changes often."""
