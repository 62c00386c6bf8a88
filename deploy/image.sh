#!/bin/sh
# Makes the layer of wasmill's image in a folder: image.sh PROGRAM FOLDER. The Dockerfile runs it, and so does `cargo xtask image`, which
# tries the result without a container engine. As root, because the volumes' folders belong to the image's user.
set -eu
program=$1
layer=$2
user=65532
install -D -m 755 "$program" "$layer/usr/local/bin/wasmill"
strip "$layer/usr/local/bin/wasmill"
install -d -m 755 "$layer/etc/wasmill/pipelines"
# A new volume takes its owner from the folder that it is mounted on.
for folder in var/cache/wasmill var/lib/wasmill; do
    install -d -m 755 "$layer/$(dirname "$folder")"
    install -d -m 700 -o $user -g $user "$layer/$folder"
done
