"""Fault injection against real processes: the parts of jepsen/run. See docs/testing.md."""
