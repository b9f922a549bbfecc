#!/usr/bin/env bash
# Runs the deployer's promises, and a whole study, with servers in a real Apptainer on a real Slurm cluster of this machine.
#
#   tests/lanes/apptainer.sh         as root; takes the apptainer of the PATH, or gets one into /opt/apptainer
#
# Debian 12 has no Apptainer. Debian sid's wants a newer libc: it gets one of its own, beside the machine's. Where root
# has not all capabilities, as in many virtual machines, it is told not to ask for them.
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN=${BIN:-.venv/bin}
ROOM=/opt/apptainer

get() {
    apt-get install -y --no-install-recommends ca-certificates patchelf squashfs-tools uidmap
    mkdir -p "$ROOM/lists/partial" "$ROOM/packages"
    echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main' \
        >"$ROOM/sources.list"
    local apt=(apt-get -o "Dir::Etc::sourcelist=$ROOM/sources.list" -o Dir::Etc::sourceparts=/nowhere
        -o "Dir::State::lists=$ROOM/lists" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd "$ROOM/packages" && "${apt[@]}" download apptainer libc6 libseccomp2 libsqlite3-0)
    for package in "$ROOM"/packages/lib*.deb; do dpkg-deb -x "$package" "$ROOM"; done
    dpkg-deb -x "$ROOM"/packages/apptainer_*.deb /
    local libraries=$ROOM/usr/lib/x86_64-linux-gnu
    for program in /usr/bin/apptainer /usr/lib/x86_64-linux-gnu/apptainer/bin/starter; do
        patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$libraries" "$program"
    done
    sed -i 's/^root default capabilities = full/root default capabilities = no/' /etc/apptainer/apptainer.conf
}

command -v apptainer >/dev/null || get
apptainer --version
"$BIN/pytest" -q -n 0 tests/integration/test_slurm_apptainer.py \
    tests/integration/test_slurm_study.py::test_a_study_runs_in_containers
