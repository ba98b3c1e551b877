"""The pytest plugin: fixtures for people who test against a cluster."""
