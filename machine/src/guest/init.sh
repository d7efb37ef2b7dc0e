#!/bin/busybox sh
# First process of the check guest. Command line words:
#   viommu.check=disk|none   read, copy and reread the disk (none: do not)
#   viommu.run=PATH          run a program of the initramfs and print its status
#   viommu.shell=1           an interactive shell on the console at the end
# Every result is one line that starts with "viommu-init:". Few processes are started on purpose.
PATH=/bin:/sbin:/usr/bin:/usr/sbin
export PATH

say() { echo "viommu-init: $*"; }
off() { sync; poweroff -f; reboot -f; while :; do sleep 60; done; }
fail() { say "FAILED $*"; off; }
# A shell that ends as process 1 would be a kernel panic.
trap off EXIT

[ -d /proc/1 ] || mount -t proc proc /proc || fail "mount proc"
mount -t sysfs sysfs /sys || fail "mount sysfs"
mount -t devtmpfs devtmpfs /dev || fail "mount devtmpfs"

CHECK= RUN= SHELL1=
read -r CMDLINE < /proc/cmdline
for word in $CMDLINE; do
  case $word in
    viommu.check=*) CHECK=${word#*=} ;;
    viommu.run=*) RUN=${word#*=} ;;
    viommu.shell=1|interactive) SHELL1=1 ;;
  esac
done

for m in /modules/*.ko; do
  [ -e "$m" ] || continue
  insmod "$m" || fail "insmod ${m##*/}"
done
say "userspace reached"

# Prints into DEV the first disk, which the driver may find only some time after its module is loaded.
find_disk() {
  tries=0
  while [ $tries -lt 100 ]; do
    for DEV in nvme0n1 vda; do
      [ -b /dev/$DEV ] && return 0
    done
    tries=$((tries + 1))
    usleep 100000
  done
  return 1
}

# Prints the sha256 of $1 bytes (in MiB) of the disk from MiB $2.
hash_disk() {
  sum=$(dd if=/dev/$DEV bs=1M count=$1 skip=$2 iflag=direct 2>/tmp/dd | sha256sum) || return 1
  # dd's own status is lost in the pipe: its count of whole blocks is not.
  read -r records _ < /tmp/dd
  [ "$records" = "$1+0" ] || return 1
  SUM=${sum%% *}
}

check_disk() {
  find_disk || fail "no disk"
  hash_disk 16 0 || fail "read $DEV"
  say "read $DEV 16777216 $SUM"
  dd if=/dev/$DEV of=/dev/$DEV bs=1M count=8 skip=16 seek=32 iflag=direct oflag=direct conv=notrunc,fsync 2>/tmp/dd \
    || fail "write $DEV"
  echo 3 > /proc/sys/vm/drop_caches
  hash_disk 8 32 || fail "reread $DEV"
  say "reread $DEV 8388608 $SUM"
}

[ "$CHECK" = disk ] && check_disk
if [ -n "$RUN" ]; then
  "$RUN"
  say "run $RUN status $?"
fi
say "done"
if [ -n "$SHELL1" ]; then
  setsid cttyhack sh
fi
off
