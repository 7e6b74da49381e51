"""Jobs on the Slurm of the tests: sent with `medssl launch`, waited for, and what they leave."""

import re
import shutil
import tempfile
import time
from pathlib import Path

import pytest
import slurm_one_machine as slurm

from medssl.course import cluster

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
needs_slurm = pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not() or "-")


@pytest.fixture(scope="module", name="running")
def one_slurm():
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # sockets lie in it, and their paths must be short
    try:
        with slurm.one_machine(folder):
            yield folder
    finally:
        shutil.rmtree(folder)


class Cluster:
    """Submits with `medssl launch`, in a folder of its own, and reads what the job left."""

    def __init__(self, folder: Path):
        self.out, self.scratch, self.logs = folder / "out", folder / "scratch", folder / "logs"
        self.config = folder / "prism.toml"
        self.logs.mkdir()
        (folder / "catalog.csv").touch()
        self.config.write_text(f'[data]\ncatalog_path = "{folder}/catalog.csv"\n')

    def launch(self, *words: str, **options) -> str:
        log = f"--output={self.logs}/%j_%a.out"
        if words[0].startswith("prism"):
            options |= {"config": self.config}
        out = None if "settings" in options else self.out
        told = cluster.launch(list(words), out=out, sbatch_args=[log], **options)
        return re.match(r"job (\d+): ", told)[1]

    def wait(self, true, seconds: float = 180) -> None:
        give_up = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < give_up, self.said()
            time.sleep(0.2)

    def end(self, job: str, seconds: float = 300) -> str:
        """Wait for the end of a job (or of each task), and its state.

        After a requeue Slurm lets a job wait for two minutes; here one second is enough, but it is needed: the node
        refuses a start that its clock, in whole seconds, cannot tell from the one it has just ended, and the job fails.
        """

        def over():
            if slurm.state(job) == "PENDING" and "Restarts=0" not in slurm.said("scontrol", "show", "job", job):
                time.sleep(1.1)
                slurm.said("scontrol", "update", f"jobid={job}", "StartTime=now")
            return set(slurm.state(job).split()) <= set(ENDED)

        self.wait(over, seconds)
        return slurm.state(job)

    def said(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.logs.iterdir()))


@pytest.fixture(name="here")
def one_cluster(running, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "NOT_KEPT", ())  # the tests' own folder lies in /tmp
    monkeypatch.setenv("MEDSSL_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    return Cluster(tmp_path)


def stand_in(monkeypatch, path: Path, shell: str) -> None:
    """A shell script in place of `medssl`: `prism train …`, or `prism ablate --run N …`."""
    path.write_text(f"#!/bin/bash\n{shell}\n")
    path.chmod(0o755)
    monkeypatch.setenv("MEDSSL", str(path))
