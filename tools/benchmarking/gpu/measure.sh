#!/usr/bin/env bash
# Measure on a GPU machine, most valuable facts first. In the project's root there:
#   bash tools/benchmarking/gpu/measure.sh STEP ...      each step has its own time limit; a failure ends that step only
# Every figure is in $OUT/results.jsonl (one JSON object a line) as soon as it is known, what was printed in $OUT/log.txt.
# DRY=1: a few environments on the CPU, to test the steps. LIMITS="physics=60 learn=200": other limits in seconds.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pack=${GPU_PACK:-$PWD/.gpu}
export GPU_HOME=${GPU_HOME:-/tmp/muscle_torch_gpu} DRY=${DRY:-}
export OUT=${OUT:-$GPU_HOME/out} WARP_CACHE_PATH=$GPU_HOME/kernels XDG_CACHE_HOME=$GPU_HOME/cache
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MUJOCO_GL=disabled
python=${PYTHON:-python3}
task=${TASK:-fullbody}
[ -n "$DRY" ] && task=toy_arm
mkdir -p "$OUT" "$GPU_HOME"
if [ -z "$DRY" ]; then
    # Nothing is installed: packages are unpacked, and the folders that belong inside the package are linked into it.
    export PYTHONPATH=$PWD:$GPU_HOME/site
    for name in envs models cfg tools; do ln -sfn "../$name" "muscle_torch/$name"; done
fi

declare -A limit=(
    [one]=60 [two]=60 [facts]=45 [learner]=100 [kernels]=150 [physics]=130 [profile]=60 [tests]=120 [bench]=130
    [sweep]=130 [bimanual]=80 [default]=80 [compiled]=130 [most]=60 [learn]=230 [curve]=40
)
for pair in ${LIMITS:-}; do limit[${pair%%=*}]=${pair#*=}; done

measure() { "$python" -m muscle_torch.tools.benchmarking.gpu.measure "$@"; }

unpack() { # to standard output; the machine may have no xz
    "$python" -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer, 1 << 20)' "$1"
}

bench() { # name, then the words of the benchmark
    local file=$OUT/bench_$1.json words=("${@:2}")
    [ -n "$DRY" ] && words=(task=toy_arm num_envs=4 steps=4 repeats=1 device=cpu backend=warp)
    "$python" -m muscle_torch.tools.benchmark "${words[@]}" output="$file" && measure note "bench_$1" "$file"
}

learn() { # on recorded clips, until a little before its limit: SIGTERM makes it save and exit
    local words code
    read -ra words <<<"${LEARN:-task=$task preset=release precision=tf32 num_envs=8192 motion=$GPU_HOME/clips}"
    [ -n "$DRY" ] && words=(task=toy_arm num_envs=4 device=cpu backend=warp total_steps=100000)
    rm -rf "$GPU_HOME/runs/gpu"
    timeout -s TERM "$((limit[learn] - 20))" "$python" train.py "${words[@]}" experiment=gpu runs_dir="$GPU_HOME/runs" \
        save_interval=100000 evaluate=false
    code=$?
    [ $code = 124 ] || return $code
}

curve() {
    measure curve "$GPU_HOME/runs/gpu" "$OUT/curve.png"
    tar -C "$GPU_HOME/runs" -czf "$OUT/learn.tar.gz" --exclude='*.pt' gpu
}

tests() {
    "$python" -m pytest -m gpu -o addopts= -q --timeout 60 --maxfail 8 -p no:cacheprovider -rA --tb=short \
        tests/test_physics_gpu.py tests/test_env_gpu.py tests/test_physics_stages.py tests/test_doctor.py \
        >"$OUT/tests.txt" 2>&1
    local code=$?
    tail -45 "$OUT/tests.txt"
    [ $code = 5 ] && [ -n "$DRY" ] && code=0 # no GPU: nothing to run
    return $code
}

one_step() {
    case $1 in
        one) # carried by the first call: packages but half of Warp's library, kernels, clips
            unpack "$pack/one/site.tar.xz" | tar -x -C "$GPU_HOME" && cp "$pack"/one/warp.* "$GPU_HOME" ;;
        two) # carried by the second call: the other half
            cat "$GPU_HOME/warp.aa" "$pack/two/warp.ab" >"$GPU_HOME/warp.xz" &&
                unpack "$GPU_HOME/warp.xz" >"$GPU_HOME/site/warp/bin/warp.so" ;;
        bench) bench "$task" task="$task" preset=release precision=tf32 num_envs=8192 steps=20 repeats=1 ;;
        bimanual) bench bimanual task=bimanual preset=release precision=tf32 num_envs=8192 steps=20 repeats=1 ;;
        default) bench default task="$task" num_envs=4096 steps=16 ppo.num_steps=16 repeats=1 ;;
        learn | curve | tests) "$1" ;;
        facts | learner | kernels | physics | profile | sweep | compiled | most) measure "$1" "$task" ;;
        *) echo "error: no step $1" >&2 && return 2 ;;
    esac
}

if [ "${1:-}" = --run ]; then
    one_step "$2"
    exit
fi
[ $# = 0 ] && { sed -n 2,5p "${BASH_SOURCE[0]}" && echo "# steps: ${!limit[*]}" && exit 2; }
failed=0
for name in "$@"; do
    from=$SECONDS
    echo "=== $name, at most ${limit[$name]:-60} s" | tee -a "$OUT/log.txt"
    timeout -k 5 "${limit[$name]:-60}" bash "${BASH_SOURCE[0]}" --run "$name" 2>&1 | tee -a "$OUT/log.txt"
    code=${PIPESTATUS[0]}
    [ "$code" = 0 ] || failed=1
    echo "{\"step\": \"$name\", \"code\": $code, \"seconds\": $((SECONDS - from))}" | tee -a "$OUT/results.jsonl"
done
echo "=== all: $SECONDS s"
exit $failed
