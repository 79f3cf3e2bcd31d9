#!/bin/sh
# From a script to a release that is better than it, in the town; `make train` runs this.
#
#   examples/town/demo.sh [DIR]     DIR is new; by default runs/town-DATE-TIME
#
# Every step is a public command, which is shown before it is run. Another CONFIG, number of recorded DAYS or SUITE to
# compare on can be given as variables: the tests run a small one.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-runs/town-$(date +%Y%m%d-%H%M%S)}
config=${CONFIG:-$here/town.yaml}
days=${DAYS:-32}
suite=${SUITE:-town}

step() { printf '\n# %s\n' "$1"; }

# Verdicts (exit codes 1 and 2) are told and gone on from; an error ends the demo.
run() {
    printf '$ %s\n' "$*"
    "$@" || { code=$?; [ "$code" -le 2 ] || exit "$code"; }
}

mkdir -p "$(dirname "$dir")"
mkdir "$dir"
cp "$config" "$dir/town.yaml"
printf '$ cd %s\n' "$dir"
cd "$dir"

step "Record what the script does, day after day"
run townlet capture --policy scripted --episodes "$days" --set environment.town.variant=compact --out demonstrations

for seed in 1 2; do
    step "Seed $seed: clone it, and let PPO take the clone over; every stage is judged"
    run townlet train town.yaml --seed $seed --run-dir runs/seed-$seed
    step "Seed $seed: beside the script and the clone, on days that nothing was trained or judged on"
    run townlet evaluate runs/seed-$seed --against scripted --against runs/seed-$seed/stages/001-bc \
        --suite "$suite" --stochastic --out evaluation-$seed.json
done

step "Two policies in a row have passed: promote the second, if it is not worse than the script"
printf '$ townlet promote candidate --config town.yaml\n'
townlet promote candidate --config town.yaml

step "What the champion was made from, and whether every byte of it is right"
run townlet releases lineage champion
run townlet releases verify

cat <<END

# Where everything is, in $dir
demonstrations/         what the script did: townlet view demonstrations
runs/seed-1, -2/        runs, their stages, verdicts and policies: townlet runs show runs/seed-2
evaluation-1, -2.json   every episode of the comparisons
releases/               bundles, evidence and the log: townlet releases
END
