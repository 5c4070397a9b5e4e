#!/bin/sh
# What Node needs of an operating system, for an image that has nothing else: no shell, no package manager, no npm.
#   system-files.sh FROM TO
# FROM is the root of a Debian with Node in /usr/local, of any processor: its files are only copied, none of its programs
# runs. Node brings its own certificate authorities and time zones.
set -eu
from=$1 to=$2

# Every program and library of the images finds what it needs here: test/images checks it.
libraries='libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2 libgcc_s.so.1 libstdc++.so.6'
packages='libc6 libgcc-s1 libstdc++6'
# Node asks for it on some processors; Debian's smallest images don't have it.
if ls "$from"/usr/lib/*-linux-gnu/libatomic.so.1 >/dev/null 2>&1; then
  libraries="$libraries libatomic.so.1"
  packages="$packages libatomic1"
fi

for libc in "$from"/usr/lib/*-linux-gnu/libc.so.6; do triplet=$(basename "$(dirname "$libc")"); done
mkdir -p "$to/usr/local/bin" "$to/usr/lib/$triplet" "$to/etc" "$to/root" "$to/tmp" "$to/var/lib/dpkg/status.d"
chmod 1777 "$to/tmp"
cp "$from/usr/local/bin/node" "$to/usr/local/bin/"
for name in $libraries; do cp -L "$from/usr/lib/$triplet/$name" "$to/usr/lib/$triplet/"; done

# The loader, where programs of this processor look for it.
ln -s usr/lib "$to/lib"
case "$triplet" in
  x86_64-*)
    mkdir "$to/usr/lib64"
    ln -s usr/lib64 "$to/lib64"
    cp -L "$from/usr/lib64/ld-linux-x86-64.so.2" "$to/usr/lib64/" ;;
  aarch64-*) cp -L "$from/usr/lib/ld-linux-aarch64.so.1" "$to/usr/lib/" ;;
  *) echo "for amd64 or arm64, not for $triplet" >&2; exit 1 ;;
esac

printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$to/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$to/etc/group"
echo 'hosts: files dns' >"$to/etc/nsswitch.conf"
cp -L "$from/usr/lib/os-release" "$to/etc/os-release"

# What scanners look for, and the licences.
for package in $packages; do
  awk -v name="$package" 'BEGIN { RS = "" } $1 == "Package:" && $2 == name { print }' "$from/var/lib/dpkg/status" \
    >"$to/var/lib/dpkg/status.d/$package"
  [ -s "$to/var/lib/dpkg/status.d/$package" ] || { echo "$from has no package $package" >&2; exit 1; }
  mkdir -p "$to/usr/share/doc/$package"
  cp -L "$from/usr/share/doc/$package/copyright" "$to/usr/share/doc/$package/"
done
[ ! -e "$from/usr/local/LICENSE" ] || cp "$from/usr/local/LICENSE" "$to/usr/share/doc/node-LICENSE"
