"""Conversations with a real API server 1.36, and what replays them against this one."""
