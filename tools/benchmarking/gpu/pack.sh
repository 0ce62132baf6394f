#!/usr/bin/env bash
# Pack what a GPU machine without a package index lacks: packages, kernels compiled ahead, recorded clips.
# In the project's root, in an environment in which the project runs:
#   tools/benchmarking/gpu/pack.sh [FOLDER OF MOTION FILES ...]
# Makes .gpu/one and .gpu/two, ignored by git, each small enough for one call. Pack again when a body, mujoco-warp or
# Warp changes: the kernels are those of this checkout. KEEP_CPU=1 keeps the compiler for CPU kernels.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
limit=$((62 << 20)) # bytes that one call carries
mkdir -p "$temp"/{wheels,site,clips} .gpu/kernels
rm -rf .gpu/one .gpu/two
mkdir -p .gpu/one .gpu/two

echo "packages"
platforms=()
for n in 39 38 35 34 31 28 27 24 17; do platforms+=(--platform "manylinux_2_${n}_x86_64"); done
python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp "${platforms[@]}" \
    --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d "$temp/wheels" -r "$here/packages.txt"
for wheel in "$temp"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$temp/site"; done
(
    cd "$temp/site"
    # Training needs no viewers, tests or examples.
    rm -rf mujoco/{experimental,include,introspect,sysid,usd,testdata} mujoco/_render_filament* mujoco/_simulate*
    rm -rf warp/{tests,examples} mujoco_warp/test_data benchmarks scripts sota-*
    [ "${KEEP_CPU:-}" ] || rm -f warp/bin/warp-clang.so
    find . -name '*_test.py' -delete
)
python3 "$here/slim.py" "$temp/site/warp/bin/warp.so"

echo "kernels (minutes the first time)"
WARP_CACHE_PATH=.gpu/kernels python "$here/kernels.py" ${TASKS:-fullbody bimanual+fingers bimanual toy_arm}
cp -r .gpu/kernels "$temp/kernels"
find "$temp/kernels" -name '*.cu' -delete

[ $# = 0 ] || find "$@" -name '*.npz' -exec cp {} "$temp/clips/" \;
mv "$temp/site/warp/bin/warp.so" "$temp/warp.so"
tar -C "$temp" -c site kernels clips | xz -6 -T0 >.gpu/one/site.tar.xz
xz --x86 --lzma2=preset=6 -T0 --stdout "$temp/warp.so" >"$temp/warp.so.xz"
# Divide the library so that both calls carry about the same.
small=$(stat -c %s .gpu/one/site.tar.xz) large=$(stat -c %s "$temp/warp.so.xz")
split -b $(((large - small) / 2)) "$temp/warp.so.xz" "$temp/part."
mv "$temp/part.aa" .gpu/one/warp.aa
cat "$temp"/part.a[b-z] >.gpu/two/warp.ab
tree=$(git ls-files -z --cached --others --exclude-standard | xargs -0 -r du -cb --no-dereference 2>/dev/null | tail -1 | cut -f1)
for call in one two; do
    bytes=$(($(du -sb .gpu/$call | cut -f1) + tree))
    echo "call $call carries $((bytes >> 20)) MiB"
    [ $bytes -lt $limit ] || echo "warning: call $call is larger than $((limit >> 20)) MiB" >&2
done
