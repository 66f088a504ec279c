#!/bin/sh
# Run a config on a Ray cluster as a job, and follow its log:
#   cluster/submit.sh CONFIG --run-dir URI [KEY=VALUE ...] [OPTIONS OF baldistill run]
# The folder that you stand in travels with the job (without what .gitignore names), and CONFIG is
# a file in it. The same command again, with the same --run-dir, resumes a run that was stopped.
# RAY_API_SERVER_ADDRESS is the cluster's dashboard (http://127.0.0.1:8265 without it, as
# `ray dashboard` and `kubectl port-forward` open it); the token is RAY_AUTH_TOKEN, or the one in
# ~/.ray/auth_token. RAY_AUTH_MODE=disabled is for a cluster without one.
set -eu

fail() {
    echo "error: $1" >&2
    exit 2
}

case ${1:-} in
'' | -*)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
/*) fail "$1 does not travel with the job: stand in its folder and name it from there" ;;
esac
[ -f "$1" ] || fail "config $1 does not exist in $(pwd)"

run_dir=
previous=
for argument in "$@"; do
    case $argument in
    --run-dir=*) run_dir=${argument#--run-dir=} ;;
    *) [ "$previous" = --run-dir ] && run_dir=$argument ;;
    esac
    previous=$argument
done
case $run_dir in
*://* | /*) ;;
'') fail "give --run-dir: a URI (s3://bucket/run) or a folder that all nodes share" ;;
*) fail "--run-dir $run_dir would end with the job: give a URI or an absolute path on a shared disk" ;;
esac
command -v ray > /dev/null || fail "ray is not on PATH: install baldistill with its extra 'jobs'"

RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}
export RAY_AUTH_MODE
exec ray job submit --address "${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}" \
    --working-dir . -- baldistill run "$@"
