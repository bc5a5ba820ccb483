#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Process 1 of a test cluster's node: makes the node's mounts, then keeps containerd, kubelet and kube-proxy running.
# Begun by testbed.py in network, mount, process, UTS, IPC and cgroup namespaces of the node's own, with
#   NAME ADDRESS            of the node
#   RANGES ROUTES           of its pods, as host-local wants them
#   ALL_PODS EVERYTHING     the ranges of all nodes' pods; what to listen on
#   GATES                   features of Kubernetes to switch
#   HERE BIN IMAGES PKI     where this folder, Kubernetes' programs, the images and the certificates are
#   DISK LOGS               a folder that outlives the node's processes; one for its logs
#   CNI                     "early": with a network configuration from the start; "late": somebody will write one;
#                           "anew": written at every boot over what is there, as some networks do
set -uo pipefail

mount_cgroups() { # as seen from the node's own cgroup, which is the root of its namespace
  local kinds controller
  kinds=$(stat -fc %T /sys/fs/cgroup)
  local controllers
  controllers=$(ls /sys/fs/cgroup)
  mount -t sysfs sysfs /sys
  if [ "$kinds" = cgroup2fs ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    enter_leaf /sys/fs/cgroup
    local all
    read -r all </sys/fs/cgroup/cgroup.controllers
    for controller in $all; do echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control; done
    return
  fi
  mount -t tmpfs tmpfs /sys/fs/cgroup
  for controller in $controllers; do
    mkdir "/sys/fs/cgroup/$controller"
    case $controller in
      unified) mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified && enter_leaf /sys/fs/cgroup/unified ;;
      systemd) mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd ;;
      *) mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" ;;
    esac
  done
}

enter_leaf() { # a cgroup with children that use controllers has no processes itself
  mkdir -p "$1/system"
  echo $$ >"$1/system/cgroup.procs"
}

mount_files() {
  mount -t bpf bpf /sys/fs/bpf
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/netns /run/lock "$DISK"/{opt/cni/bin,net.d,log,lib,lib.work} /opt /etc/cni/net.d
  cp -f /usr/lib/cni/* "$HERE/cni_recorder.py" "$DISK/opt/cni/bin/"
  mount --bind "$DISK/opt" /opt
  mount --bind "$DISK/net.d" /etc/cni/net.d
  mount --bind "$DISK/log" /var/log
  mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$DISK/lib,workdir=$DISK/lib.work" /var/lib
  # containerd's snapshots are overlays themselves, which cannot lie on another.
  local folder
  for folder in containerd kubelet cni; do
    mkdir -p "$DISK/$folder" "/var/lib/$folder"
    mount --bind "$DISK/$folder" "/var/lib/$folder"
  done
  keep_sysctls
  mount --make-rshared /
}

# kubelet writes these, which belong to the whole machine: files of the node take it instead.
keep_sysctls() {
  local setting file
  for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
    file=/run/sysctl-$(basename "${setting%=*}")
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
  done
}

write_containerd_config() {
  cat >/run/containerd.toml <<TEXT
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "heddle.test/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
TEXT
}

write_kubelet_config() {
  cat >/run/kubelet.yaml <<TEXT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: "$EVERYTHING"
featureGates: {${GATES/=/: }}
cgroupDriver: cgroupfs
failSwapOn: false
enforceNodeAllocatable: [pods]
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/$NAME.crt
tlsPrivateKeyFile: $PKI/$NAME.key
clusterDomain: cluster.local
resolvConf: ""
nodeStatusUpdateFrequency: 2s
evictionHard: {memory.available: 100Mi, nodefs.available: 2%, imagefs.available: 2%}
imageGCHighThresholdPercent: 99
imageGCLowThresholdPercent: 98
TEXT
}

write_kube_proxy_config() {
  cat >/run/kube-proxy.yaml <<TEXT
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
featureGates: {${GATES/=/: }}
clusterCIDR: $ALL_PODS
bindAddress: "$ADDRESS"
hostnameOverride: $NAME
clientConnection: {kubeconfig: $PKI/kube-proxy.kubeconfig}
conntrack: {maxPerCore: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}
TEXT
}

write_network() {
  cat >"$DISK/net.d/.new" <<TEXT
{
  "cniVersion": "0.4.0",
  "name": "testnet",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "ranges": $RANGES, "routes": $ROUTES}},
    {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
    {"type": "cni_recorder.py", "capabilities": {"io.kubernetes.cri.pod-annotations": true}}
  ]
}
TEXT
  mv "$DISK/net.d/.new" "$DISK/net.d/10-testnet.conflist" # written in place: containerd does not notice moves between folders
}

keep_running() { # as systemd would
  local log=$LOGS/$NAME-$1.log
  shift
  while [ ! -e /run/stopping ]; do
    "$@" >>"$log" 2>&1
    sleep 0.3
  done
}

stop() {
  touch /run/stopping
  kill -TERM -1 # everything of this process namespace
  exit 0
}

mount_cgroups
mount_files
hostname "$NAME"
write_containerd_config
write_kubelet_config
write_kube_proxy_config
case $CNI in
  early) [ -e "$DISK/net.d/10-testnet.conflist" ] || write_network ;;
  anew) write_network ;;
esac
trap stop TERM INT

keep_running containerd containerd --config /run/containerd.toml &
for _ in $(seq 200); do
  ctr version >/dev/null 2>&1 && break
  sleep 0.1
done
for image in "$IMAGES"/*.tar; do
  ctr -n k8s.io images import "$image" >>"$LOGS/$NAME-containerd.log" 2>&1 || echo "cannot import $image"
done
keep_running kubelet "$BIN/kubelet" --config=/run/kubelet.yaml --kubeconfig="$PKI/$NAME.kubeconfig" --node-ip="$ADDRESS" \
  --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock \
  --hostname-override="$NAME" --pod-infra-container-image=heddle.test/pause:1 --v=2 &
keep_running kube-proxy "$BIN/kube-proxy" --config=/run/kube-proxy.yaml --v=1 &
while :; do
  wait
  sleep 0.2
done
