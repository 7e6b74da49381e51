"""Ctrl-C, and the SIGTERM with which Slurm takes a node back, wait for the end of a step."""

import signal
import threading


class Interrupts:
    """Inside `with Interrupts() as interrupts:` a first signal is only noted; a second Ctrl-C stops at once."""

    def __init__(self):
        self.received: int | None = None
        self._before: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers nowhere else
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _note(self, number, _frame):
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def stop(self) -> None:
        """Raise what the noted signal would have raised."""
        raise KeyboardInterrupt if self.received == signal.SIGINT else SystemExit(128 + self.received)
