"""Requests to the programs of jepsen/faults: see control.h there."""

import os
import socket
import subprocess
import threading
import time

START_SECONDS = 10


class Control:
    """One of those programs, started and answering."""

    def __init__(self, words, path, log, namespace=None):
        self.path = path
        enter = ["nsenter", f"--net={namespace}", "--"] if namespace else []
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [*enter, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self._lock = threading.Lock()
        self._socket = self._connect(words[0], log)

    def _connect(self, program, log):
        deadline = time.monotonic() + START_SECONDS
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                connection.connect(self.path)
                return connection
            except OSError:
                connection.close()
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(log, encoding="utf-8", errors="replace") as handle:
                    raise RuntimeError(f"{program} did not start: {handle.read()[-500:]}")
            time.sleep(0.01)

    def ask(self, word, **fields):
        """Sends a request, returns the words of the answer after `ok`."""
        request = " ".join([word, *(f"{key}={value}" for key, value in fields.items())])
        with self._lock:
            self._socket.send(request.encode())
            answer = self._socket.recv(1 << 16).decode()
        status, _, rest = answer.partition(" ")
        if status != "ok":
            raise RuntimeError(f"{request}: {answer or 'the program has ended'}")
        return rest.split()

    def numbers(self, word, **fields):
        """The same, for answers of `key=number` words."""
        pairs = (item.split("=") for item in self.ask(word, **fields))
        return {key: int(value) for key, value in pairs}

    def close(self):
        self._socket.close()
        self.process.terminate()
        self.process.wait()
        if os.path.exists(self.path):
            os.unlink(self.path)
