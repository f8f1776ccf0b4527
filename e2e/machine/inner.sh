# Prepares the machine, runs the command, reports its exit status.
#   inner.sh FOLDER machine    as the only program of a test kernel
#   inner.sh FOLDER native     in new namespaces of the host's kernel
# FOLDER holds `command` (a script), `shares` (folders of the host to write to, one a line) and has a random name,
# which marks the report's line.
folder=$1 mode=$2 out=/dev/stdout
if [ "$mode" = machine ]; then
  mount -n -t proc proc /proc
  mount -n -t sysfs sys /sys
  mount -n -t cgroup2 cgroup /sys/fs/cgroup
  mount -n -t debugfs debug /sys/kernel/debug
  mkdir -p /dev/pts /dev/shm
  mount -n -t devpts pts /dev/pts
  mount -n -t tmpfs shm /dev/shm
  ln -sf /proc/self/fd /dev/fd
  ln -sf /proc/self/fd/0 /dev/stdin
  ln -sf /proc/self/fd/1 /dev/stdout
  ln -sf /proc/self/fd/2 /dev/stderr
  # The second console is the command's, so that no kernel message gets between its lines; raw, so that bytes pass
  # as they are.
  out=/dev/tty1
  stty -F $out raw -echo
else
  # The control groups below it would be gone, without which no node's container starts.
  mount -n -t tmpfs groups /mnt && mkdir /mnt/groups && mount -n --rbind /sys/fs/cgroup /mnt/groups
  mount -n -t sysfs sys /sys
  mount -n --rbind /mnt/groups /sys/fs/cgroup
fi
# Names of network namespaces live here, and must not be the host's.
mount -n -t tmpfs run /run
mkdir -p /run/netns /run/lock
if [ "$mode" = machine ]; then
  # An apiserver's leases fail without a name; a kubelet reads a clock speed, which this processor does not state.
  echo testmachine >/proc/sys/kernel/hostname
  { cat /proc/cpuinfo; printf 'cpu MHz\t\t: 2500.000\n'; } >/run/cpuinfo
  mount -n --bind /run/cpuinfo /proc/cpuinfo
  mount -n --make-rshared /
  while IFS= read -r share; do
    mkdir -p "$share"
    mount -n -t hostfs -o "$share" share "$share" || exit 1
  done <"$folder/shares"
fi
# An uplink that leads nowhere, with a default route: an apiserver wants an address that is not loopback.
ip link set lo up
ip link add uplink0 type dummy || ip link add uplink0 type veth peer name uplink1
ip addr add 10.255.0.2/24 dev uplink0 && ip link set uplink0 up && ip route add default via 10.255.0.1
# A crowd of clients is a crowd of programs, each with pipes.
ulimit -n "$(ulimit -Hn)"
/bin/sh "$folder/command" </dev/null >$out 2>&1
status=$?
if [ "$mode" = machine ]; then
  while IFS= read -r share; do umount "$share"; done <"$folder/shares"
  sync
fi
printf '\n%s exit %s\n' "${folder##*/}" "$status" >$out
if [ "$mode" = machine ]; then
  # Whoever starts a program now may leave half of it behind on the host, which holds the machine's output open.
  mkfifo /run/end
  echo o >/proc/sysrq-trigger
  read -r _ <>/run/end
fi
