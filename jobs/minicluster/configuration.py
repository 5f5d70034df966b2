"""slurm.conf, slurmdbd.conf and their kin as text."""

from __future__ import annotations

import getpass
import socket
from typing import Final

from jobs.minicluster import database
from jobs.minicluster.layout import LOW, NORMAL, SCAVENGE, Layout, Ports, Shape, node_name

CLUSTER: Final = "mini"
GPU_TYPE: Final = "toy"
FEATURE: Final = "rack"
"""Each node has one of its own: rack1, rack2, …"""

_SLURM: Final = """\
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports.controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# Credentials live 5 s instead of 120: a requeued job waits for the old one to expire.
AuthInfo=socket={layout.munge_socket},cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={spool}
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
# Ids that were used before an earlier state was removed would give submitit old results.
FirstJobId={first_job_id}
MaxArraySize={shape.max_array_size}
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
# No cgroups: works in containers and for plain users.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Gives each node a TMPDIR of its own, as clusters do that have local disks.
TaskProlog={layout.task_prolog}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
# More CPUs and memory than the machine has.
SlurmdParameters=config_overrides
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
{preempt_signal}
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SlurmctldTimeout=30
SlurmdTimeout=20
# Where all nodes are one machine that has much to do, answers take long.
MessageTimeout=60
KillWait=5
MinJobAge=600
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports.database_daemon}
AccountingStoragePass={layout.munge_socket}
AccountingStorageTRES=gres/gpu
{nodes}
PartitionName={normal} Nodes=ALL Default=YES PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
PartitionName={low} Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 MaxTime=INFINITE
PartitionName={scavenge} Nodes=ALL PriorityTier=1 PreemptMode=CANCEL GraceTime=30 MaxTime=INFINITE
"""

_PREEMPT_SIGNAL: Final = """\
# Tells a job that is pre-empted what a time limit tells it: save now.
SlurmctldParameters=preempt_send_user_signal"""

_SLURMDBD: Final = """\
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports.database_daemon}
SlurmUser={user}
PidFile={root}/run/slurmdbd.pid
LogFile={root}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports.database}
StorageUser={database}
StoragePass={password}
StorageLoc={database}
"""


def slurm_conf(layout: Layout, shape: Shape, ports: Ports, first_job_id: int) -> str:
    nodes = "\n".join(
        f"NodeName={node_name(k)} NodeAddr={node_name(k)} Port={port} CPUs={shape.cpus} "
        f"RealMemory={shape.memory_mb} Gres=gpu:{GPU_TYPE}:{shape.gpus} "
        f"Feature={FEATURE}{k + 1} State=UNKNOWN"
        for k, port in enumerate(ports.nodes)
    )
    return _SLURM.format(
        cluster=CLUSTER,
        host=_host(),
        ports=ports,
        layout=layout,
        root=layout.root,
        spool=layout.spool("%n"),
        user=getpass.getuser(),
        shape=shape,
        first_job_id=first_job_id,
        nodes=nodes,
        normal=NORMAL,
        low=LOW,
        scavenge=SCAVENGE,
        preempt_signal=_PREEMPT_SIGNAL if shape.preempt_signal else "",
    )


def slurmdbd_conf(layout: Layout, ports: Ports, password: str) -> str:
    return _SLURMDBD.format(
        host=_host(),
        layout=layout,
        ports=ports,
        root=layout.root,
        user=getpass.getuser(),
        password=password,
        database=database.NAME,
    )


def task_prolog(layout: Layout) -> str:
    return f'#!/bin/sh\necho "export TMPDIR={layout.scratch}/$SLURMD_NODENAME"\n'


def gres_conf(shape: Shape) -> str:
    """GPUs need device files; which ones doesn't matter to Slurm."""
    devices = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
    return f"Name=gpu Type={GPU_TYPE} File={','.join(devices[: shape.gpus])}\n"


def cgroup_conf() -> str:
    return "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n"


def _host() -> str:
    """This machine by the name that the daemons know it by."""
    return socket.gethostname().partition(".")[0]
