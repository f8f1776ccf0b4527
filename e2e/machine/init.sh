#!/bin/sh
# The first program of the test machine. The host's files are its root, read-only; this puts a layer in memory over
# them and goes on there with inner.sh. FOLDER is replaced when the file is written.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -n -t tmpfs -o size=90% layer /mnt && mkdir /mnt/upper /mnt/work /mnt/root &&
  mount -n -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root /mnt/root &&
  mount -n --move /dev /mnt/root/dev &&
  exec chroot /mnt/root /bin/sh FOLDER/inner.sh FOLDER machine
echo "machine: the root file system could not be set up"
echo o >/proc/sysrq-trigger
