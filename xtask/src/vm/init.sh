#!/bin/sh
# The first and only process of a guest: mounts what every node has, does its errand, ends the machine.
# The errand comes with the kernel's command line: ERRAND, FILTERS (separated by commas).
/bin/busybox --install -s /bin
export PATH=/usr/local/bin:/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
for module in /modules/*.ko; do insmod "$module" || echo "cannot load $module"; done
ifconfig lo up

refusal() {
    mkdir /sys/fs/cgroup/pods
    timeout 60 weir agent --node node --pods-cgroup /sys/fs/cgroup/pods --xds-address https://127.0.0.1:15012 \
        >/tmp/said 2>&1 && return 1
    cat /tmp/said
    grep -q 'Linux 5.15 or later is needed' /tmp/said
}

behaviours() {
    result=0
    IFS=,
    for filter in $FILTERS; do weir-netns-tests "$filter" 2>&1 || result=1; done
    return $result
}

$ERRAND
status=$?
echo "GUEST $(uname -r) $ERRAND ended with $status after $(cut -d. -f1 /proc/uptime) s"
poweroff -f
