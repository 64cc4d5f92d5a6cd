#!/bin/sh
# Boots systemd over a throw-away copy of this machine: machine_boot.sh FOLDER
#
# Run as root in new namespaces (see machine.py). All writes go to memory; /run and /tmp start empty;
# processes, mounts, host name, network and cgroups are separate from the machine's own.
set -eu
top=$1
root=$top/root

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$top"
mkdir "$top/upper" "$top/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" overlay "$root"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

mount -t proc proc "$root/proc"
# Kernel settings affect the whole machine, so systemd must not change them.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"

mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

# The same hierarchies as outside: one (version 2), or one per controller (version 1).
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    while IFS=: read -r _ controllers _; do
        name=${controllers#name=}
        folder=$root/sys/fs/cgroup/${name:-unified}
        mkdir "$folder"
        if [ -n "$controllers" ]; then
            mount -t cgroup -o "$controllers" cgroup "$folder"
        else
            mount -t cgroup2 cgroup2 "$folder"
        fi
    done </proc/self/cgroup
fi

# Not chroot: inside one, the kernel refuses user namespaces, which units need.
cd "$root"
pivot_root . .
umount -l .
# As units expect: mounts made for them (credentials) must propagate.
mount --make-rshared /
cd /
exec /usr/bin/env -i container=test \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target
