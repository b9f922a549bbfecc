#!/usr/bin/env bash
# Runs the deployer's promises, and whole studies, on a real Kubernetes: a cluster of one node on this machine.
#
#   tests/lanes/kubernetes.sh                    as root, on Debian 12; builds Kubernetes first
#   PROGRAMS=/opt/kubernetes tests/lanes/kubernetes.sh [WORD ...]     takes those programs; WORDs are pytest's
#
# No package holds an API server. Debian's source of kubectl is all of Kubernetes 1.20.2: its server programs are built
# from that, by Debian's own Go (about half an hour of CPU, 4 GB of disk). etcd, Docker and socat are Debian's packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN=${BIN:-.venv/bin}
PROGRAMS=${PROGRAMS:-/opt/kubernetes}
SOURCE=k8s.io/kubernetes

build() (
    apt-get install -y --no-install-recommends conntrack docker.io etcd-server golang-go iptables openssl socat
    mkdir -p "$PROGRAMS/lists/partial" "$PROGRAMS/go/src/k8s.io"
    cd "$PROGRAMS"
    echo 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main' \
        >sources.list
    local apt=(apt-get -o "Dir::Etc::sourcelist=$PROGRAMS/sources.list" -o Dir::Etc::sourceparts=/nowhere
        -o "Dir::State::lists=$PROGRAMS/lists" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    "${apt[@]}" source --download-only kubernetes
    tar xf kubernetes_1.20*.orig.tar.gz -C go/src/k8s.io
    mv go/src/k8s.io/kubernetes-* "go/src/$SOURCE"
    cd "go/src/$SOURCE"

    export GOPATH=$PROGRAMS/go GO111MODULE=off GOCACHE=$PROGRAMS/cache CGO_ENABLED=0
    # What upstream's Makefile makes of the sources before it builds: the descriptions of all types.
    go build -o "$PROGRAMS/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    described=$(grep --recursive --files-with-matches --include='*.go' --exclude='*_test.go' '+k8s:openapi-gen=' pkg cmd plugin \
        staging/src/k8s.io | xargs --max-args=1 dirname | sort --unique |
        grep --invert-match --extended-regexp 'sample-|code-generator|apiextensions-apiserver/examples' |
        sed --regexp-extended "s#^staging/src/#$SOURCE/vendor/#; t; s#^#$SOURCE/#" | paste --serial --delimiters=,)
    "$PROGRAMS/openapi-gen" -O zz_generated.openapi -p "$SOURCE/pkg/generated/openapi" --input-dirs "$described" \
        -h hack/boilerplate/boilerplate.generatego.txt --output-base "$GOPATH/src" -r "$PROGRAMS/violations"
    go build -o "$PROGRAMS/" ./cmd/kube-apiserver ./cmd/kube-controller-manager ./cmd/kube-scheduler ./cmd/kubelet
)

[ -x "$PROGRAMS/kubelet" ] || build
"$PROGRAMS/kubelet" --version
[ $# -gt 0 ] || set -- tests/integration/test_kubernetes.py tests/integration/test_kubernetes_here.py
PYTHONPATH=tests "$BIN/python" tests/kubernetes_cluster.py "$PROGRAMS" "$BIN/pytest" -q -n 0 "$@"
