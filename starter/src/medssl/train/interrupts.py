"""Ctrl-C, and the SIGTERM or SIGUSR2 with which Slurm takes a node back, wait for the end of a step."""

import signal
import threading

NOTED = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name)]  # USR2: Unix


class Interrupts:
    """Inside `with Interrupts() as interrupts:` a first signal is only noted; a second Ctrl-C stops at once.

    A second SIGTERM does not: Slurm sends one to every process of a job, and the job's script passes its own on.
    """

    def __init__(self):
        self.received: int | None = None
        self._before: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers nowhere else
            self._before = {s: signal.signal(s, self._note) for s in NOTED}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _note(self, number, _frame):
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number

    def stop(self) -> None:
        """Raise what the noted signal would have raised."""
        raise KeyboardInterrupt if self.received == signal.SIGINT else SystemExit(128 + self.received)
