# A pod on a node without kubelet, from its sandbox to the end of it: what a container runtime does, in small. A network
# namespace on the node's bridge, the CNI plugin before the first process, the process, and all of it taken back.
set -eu
name=$1 link=$2 address=$3 mac=$4 gateway=$5 uid=$6 namespace=$7 configuration=$8 program=$9
shift 9
to=$1 stays=$2 cgroup=$3/kubepods/pod$uid

plugin() {
    echo "$configuration" | env CNI_COMMAND="$1" CNI_CONTAINERID="$name" CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin \
        CNI_NETNS="/var/run/netns/$name" \
        CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAMESPACE=$namespace;K8S_POD_NAME=$name;K8S_POD_INFRA_CONTAINER_ID=$name;K8S_POD_UID=$uid" \
        /opt/cni/bin/weir-cni >"/tmp/$name.cni" || { cat "/tmp/$name.cni" >&2; exit 1; }
    rm "/tmp/$name.cni"
}

ip netns add "$name"
ip link add "$link" type veth peer name eth0 address "$mac" netns "$name"
ip link set "$link" master cni0 up
ip -netns "$name" -batch - <<END
link set lo up
addr add $address/24 dev eth0
link set eth0 up
route add default via $gateway
END
plugin ADD
mkdir -p "$cgroup/app"
sh -c 'echo 0 >"$1/cgroup.procs" && exec nsenter --net="$2" "$3" dial "$4"' - "$cgroup/app" "/run/netns/$name" "$program" "$to"
sleep "$stays"
plugin DEL
ip netns delete "$name"
rmdir "$cgroup/app" "$cgroup"
