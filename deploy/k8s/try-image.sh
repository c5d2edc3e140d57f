#!/bin/sh
# Build the image with whatever builder is there, and run the demo in it: non-root, from the installed wheel, with no file
# of this checkout. `make image` builds; `make try-image` runs too. Other commands: deploy/k8s/try-image.sh distracted doctor
#   BUILDER        docker, podman or buildah; default the first that is there
#   IMAGE          name of the image; default distracted:dev
#   BUILD_OPTIONS  for the builder, e.g. "--network host -v /etc/pip.conf:/etc/pip.conf:ro" behind a package mirror
#   RUN_OPTIONS    of docker or podman for the container; docs/cluster.md has some for a machine that starts none without
set -eu
cd "$(dirname "$0")/../.."

builder=${BUILDER:-$(command -v docker || command -v podman || command -v buildah || true)}
[ -n "$builder" ] || { echo "no image builder here: install docker, podman or buildah (Debian has the last two)" >&2; exit 1; }
image=${IMAGE:-distracted:dev}
case $(basename "$builder") in
    docker) options= ;; # finds the list of what it may see by its name, and keeps layers
    buildah) options="--layers --ignorefile deploy/k8s/Dockerfile.dockerignore" ;;
    *) options="--ignorefile deploy/k8s/Dockerfile.dockerignore" ;;
esac
# shellcheck disable=SC2086  # options are several words
"$builder" build $options ${BUILD_OPTIONS:-} -f deploy/k8s/Dockerfile -t "$image" .
[ "${1:-}" != --build-only ] || exit 0

[ $# -gt 0 ] || set -- distracted demo --data /data/demo
data=$(mktemp -d)
chmod 777 "$data" # the image's user is nobody here
echo "in the image: $* (/data is $data)"
case $(basename "$builder") in
    buildah) # has no containers of its own kind: steps in a chroot, as where nothing else is allowed
        container=$(buildah from "$image")
        trap 'buildah rm "$container" > /dev/null' EXIT
        buildah run --isolation chroot --user 65532:65532 -v "$data:/data" --env DISTRACTED_EXECUTOR=multiprocess \
            "$container" -- "$@"
        ;;
    *) # shellcheck disable=SC2086
        "$builder" run --rm ${RUN_OPTIONS:-} -v "$data:/data" -e DISTRACTED_EXECUTOR=multiprocess "$image" "$@"
        ;;
esac
