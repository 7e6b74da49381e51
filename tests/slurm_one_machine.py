"""A real Slurm on this machine for the tests: controller, node and munge of its own, in one folder, for some seconds.

Nothing of an installed Slurm or munge is touched: own ports, own key, own socket. The node claims more processors,
memory and GPUs than there are, so that the job scripts run as they are.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "squeue", "scancel", "sinfo")
GPUS = 8
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=30
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=256 RealMemory=4000000 Gres=gpu:b200:{gpus} State=UNKNOWN
PartitionName=dgx-b200 Nodes={host} Default=YES MaxTime=2-00:00:00 PriorityTier=1
PartitionName=graced Nodes={host} MaxTime=2-00:00:00 PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes={host} MaxTime=2-00:00:00 PriorityTier=9 PreemptMode=OFF
"""


def why_not() -> str:
    """Why there can be no Slurm here, or ""."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=path)]:
        return f"no real Slurm here: {', '.join(missing)} not found (Debian: apt-get install slurm-wlm munge, as root)"
    return "" if os.geteuid() == 0 else "a Slurm of the tests' own needs root"


@contextmanager
def one_machine(folder: Path):
    """Bring Slurm up in `folder` (a short path: sockets lie there); sets SLURM_CONF inside, stops everything after."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool", "log"):
        (folder / name).mkdir(parents=True)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    for number in range(GPUS):  # a GPU has to be a device file; these are /dev/null
        os.mknod(folder / f"gpu{number}", 0o20666, os.makedev(1, 3))
    conf = CONF.format(folder=folder, host=host, ports=_free_ports(2), gpus=GPUS)
    (folder / "slurm.conf").write_text(conf)
    files = f"{folder}/gpu[0-{GPUS - 1}]"
    (folder / "gres.conf").write_text(f"AutoDetect=off\nNodeName={host} Name=gpu Type=b200 File={files}\n")
    before = {key: os.environ.get(key) for key in ("SLURM_CONF", "PATH")}
    at_term = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or jobs would outlive tests that are stopped
    os.environ |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    try:
        with ExitStack() as daemons:
            own = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "key-file", "pid-file",
                                                                                "log-file", "seed-file")]
            daemons.enter_context(_daemon(folder, ["munged", "--foreground", "--force", *own]))
            _until(lambda: (folder / "munge.socket").exists(), "munged did not come up", 10)
            daemons.enter_context(_daemon(folder, ["slurmctld", "-D"]))
            daemons.enter_context(_daemon(folder, ["slurmd", "-D"]))
            daemons.callback(_end_jobs)
            _until(lambda: said("sinfo", "-h", "-p", "dgx-b200", "-o", "%t") == "idle", "no idle node", 20)
            yield folder
    except TimeoutError as error:
        logs = [path.read_text(errors="replace")[-1000:] for path in (folder / "log").iterdir()]
        raise TimeoutError("\n".join([str(error), *logs])) from error
    finally:
        signal.signal(signal.SIGTERM, at_term)
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def said(*words: str) -> str:
    """What a Slurm command prints."""
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def state(job: str) -> str:
    """RUNNING, PENDING, COMPLETED, …; of an array, each task's state once."""
    return " ".join(sorted(set(said("squeue", "-h", "-t", "all", "-j", job, "-r", "-o", "%T").split())))


def wait_for(job: str, *states: str, seconds: float = 60) -> str:
    """Wait until a job is in one of these states; its state."""
    found = lambda: state(job) in states  # noqa: E731
    _until(found, f"job {job} did not become {' or '.join(states)}", seconds)
    return state(job)


def _end_jobs() -> None:
    subprocess.run(["scancel", "--full", "--signal=KILL", "-u", "root"], capture_output=True)
    subprocess.run(["scancel", "-u", "root"], capture_output=True)
    _until(lambda: not said("squeue", "-h", "-o", "%i"), "jobs did not end", 20)


@contextmanager
def _daemon(folder: Path, words: list[str]):
    """A daemon in the foreground, that ends with us even where we are killed."""
    with open(folder / "log" / words[0], "wb") as log:
        process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *words], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(true, otherwise: str, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{otherwise} within {seconds:g} s")
        time.sleep(0.1)


def _free_ports(n: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
