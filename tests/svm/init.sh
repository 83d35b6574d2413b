#!/bin/sh
# The first process of the machine. What is said on the second serial line is the command's; the first is the kernel's.
export PATH=/bin:/sbin
if [ "$1" != again ]; then
    /bin/busybox --install -s /bin
    # An ordinary mount in place of the first file system, which pivot_root and others do not take for a root folder.
    mkdir -p /whole /proc /sys /dev /run /home
    mount --bind / /whole && cd /whole && mount --move . / && exec chroot . /bin/sh /machine/init again
    exec poweroff -f
fi

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t devpts pts /dev/pts
ln -s /proc/self/fd /dev/fd
chmod 1777 /tmp
ip link set lo up
exec </dev/null >/dev/console 2>&1

for module in $(cat /machine/modules); do
    insmod "/machine/$module" || echo "the module $module does not load"
done
chmod 666 /dev/kvm

# Through a pipe, so that the command does not find itself on a terminal.
mkfifo /run/said
stty -F /dev/ttyS1 raw
cat /run/said >/dev/ttyS1 &
reader=$!
sh /machine/command >/run/said 2>&1
status=$?
left=100
while kill -0 $reader 2>/dev/null && [ $left -gt 0 ]; do
    left=$((left - 1))
    sleep 0.1
done
kill $reader 2>/dev/null
printf '\n%s %d\n' "$(cat /machine/token)" "$status" >/dev/ttyS1
sync
poweroff -f
