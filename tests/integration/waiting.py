"""Waiting for something to become true, with a limit."""

import time


def wait_for(what, condition, seconds=10.0, pause=0.02):
    """Polls until `condition()` is true, which it returns; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)
