#!/usr/bin/env bash
# One-node Slurm on loopback, run from a private directory; nothing under /etc is touched.
#
#   apt-get install -y --no-install-recommends slurm-wlm munge   # slurmctld, slurmd, clients, munged
#   slurm_one_node.sh start  [DIR]      # default DIR: /tmp/slurm1; returns once the node is idle
#   eval "$(slurm_one_node.sh env [DIR])"     # SLURM_CONF for sbatch, squeue, scancel, nipype ...
#   slurm_one_node.sh status [DIR]
#   slurm_one_node.sh stop   [DIR]      # ends, by process id, only what start began; removes DIR
#
# Settings (environment): SLURM1_CPUS (default: nproc), SLURM1_MEM_MB (default: 4000),
# SLURM1_GRES (e.g. gpu:1 = one pretend GPU slot, counted but with no device behind it),
# SLURM1_CTLD_PORT / SLURM1_D_PORT (default 16817/16818), KEEP=1 (stop keeps DIR and its logs).
set -euo pipefail

cmd=${1:?usage: $0 start|env|status|stop [DIR]}
dir=${2:-${SLURM1_DIR:-/tmp/slurm1}}
cpus=${SLURM1_CPUS:-$(nproc --all)}
mem=${SLURM1_MEM_MB:-4000}
gres=${SLURM1_GRES:-}
ctld_port=${SLURM1_CTLD_PORT:-16817}
d_port=${SLURM1_D_PORT:-16818}
export SLURM_CONF=$dir/slurm.conf

write_conf() {
    local gres_types="" gres_node=""
    if [ -n "$gres" ]; then
        gres_types="GresTypes=${gres%%:*}"
        gres_node="Gres=$gres"
        # Pretend devices: slurmd drops GPUs that have no device file, so give it copies of
        # /dev/null. Jobs queue for the slots and get CUDA_VISIBLE_DEVICES=0..; there is no GPU.
        local i
        : >"$dir/gres.conf"
        for ((i = 0; i < ${gres##*:}; i++)); do
            mknod "$dir/fake$i" c 1 3
            echo "NodeName=localhost Name=${gres%%:*} File=$dir/fake$i Flags=nvidia_gpu_env" >>"$dir/gres.conf"
        done
    fi
    cat >"$dir/slurm.conf" <<CONF
ClusterName=onenode
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CredType=cred/munge
SlurmctldPort=$ctld_port
SlurmdPort=$d_port
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/jobcomp.txt
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
SlurmdParameters=config_overrides
MinJobAge=300
KillWait=3
PropagateResourceLimits=NONE
$gres_types
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname=localhost CPUs=$cpus RealMemory=$mem $gres_node State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=100
CONF
}

start() {
    [ -e "$dir" ] && { echo "$dir exists: run '$0 stop $dir' first" >&2; exit 1; }
    mkdir -p "$dir/state" "$dir/spool"
    chmod 755 "$dir"
    ( umask 077; head -c 128 /dev/urandom >"$dir/munge.key" )
    write_conf
    # munged: own key, socket and pid file (no system munge needed); --force for the /tmp parent.
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
        --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/munged.seed" \
        --num-threads=2
    slurmctld -f "$SLURM_CONF" -c -i
    slurmd -f "$SLURM_CONF" -N localhost
    for _ in $(seq 1 150); do
        state=$(sinfo -h -n localhost -o '%T' 2>/dev/null || true)
        [ "$state" = idle ] && { echo "slurm: idle ($dir, $cpus CPUs, $mem MB)"; return 0; }
        case $state in down*|drain*) scontrol update NodeName=localhost State=RESUME 2>/dev/null || true ;; esac
        sleep 0.2
    done
    echo "slurm: the node did not become idle" >&2
    tail -n 20 "$dir"/slurmctld.log "$dir"/slurmd.log >&2 || true
    exit 1
}

stop_pid() {  # stop_pid PIDFILE NAME: TERM, then KILL, only where the process is still NAME
    local pid
    [ -s "$1" ] || return 0
    pid=$(cat "$1")
    [ "$(ps -o comm= -p "$pid" 2>/dev/null || true)" = "$2" ] || return 0
    kill -TERM "$pid" 2>/dev/null || true
    for _ in $(seq 1 100); do  # gone, or a zombie that process 1 has not collected yet
        case $(ps -o stat= -p "$pid" 2>/dev/null || true) in ''|Z*) return 0 ;; esac
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

stop() {
    [ -d "$dir" ] || return 0
    if sinfo -h >/dev/null 2>&1; then
        mapfile -t ids < <(squeue -h -o '%A')
        if [ "${#ids[@]}" -gt 0 ]; then scancel "${ids[@]}" 2>/dev/null || true; sleep 1; fi
    fi
    stop_pid "$dir/slurmd.pid" slurmd
    stop_pid "$dir/slurmctld.pid" slurmctld
    stop_pid "$dir/munged.pid" munged
    [ "${KEEP:-0}" = 1 ] || rm -rf "$dir"
}

case $cmd in
    start) start ;;
    env) echo "export SLURM_CONF=$dir/slurm.conf LOGNAME=\${LOGNAME:-\$(id -un)}" ;;
    status) sinfo; squeue ;;
    stop) stop ;;
    *) echo "unknown: $cmd" >&2; exit 2 ;;
esac
