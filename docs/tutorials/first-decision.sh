#!/bin/sh
# The tutorial, executed: every command of first-decision.md, with what it prints kept beside this file.
# Run it in an environment with bakeoff[all]: docs/tutorials/first-decision.sh WORK_FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/first-decision
work=${1:?a work folder}
mkdir -p "$work" "$out"
cd "$work"
rm -rf news.csv news.yaml news.study news-bundle

keep() { # keep NAME COMMAND...: run it, keep both streams as a terminal would show them
    name=$1
    shift
    "$@" >"$out/$name.txt" 2>&1 || code=$?
    echo "$name: exit ${code:-0}"
    unset code
}

keep fetch bakeoff fetch bbc-news
cp "$(bakeoff fetch bbc-news 2>/dev/null)/articles.csv" news.csv
keep init bakeoff init news.csv -o news.yaml --name news
cp news.yaml "$out/news-written.yaml"
sed -i \
    -e 's|^    # floor: 0.80 |    floor: 0.90   |' \
    -e 's|^  # latency: {p95: 50ms} |  latency: {p95: 20ms}   |' \
    -e 's|^# candidates: .*|candidates: {include: ["linear.*", "embedding_head.wordllama.*"]}|' \
    -e 's|^preset: standard|preset: quick   |' news.yaml
keep validate bakeoff validate news.yaml
keep plan bakeoff plan news.yaml
bakeoff run news.yaml --out news.study --lang en >"$out/run.txt" 2>progress.txt
{ head -n 9 progress.txt && echo '…' && tail -n 3 progress.txt; } >"$out/progress.txt"
bakeoff run news.yaml --out news.study --lang zh >"$out/run-again.txt" 2>again.txt
keep report bakeoff report news.study --lang en --format md
keep what-if bakeoff decide news.study --lang en --set requirements.latency.p95=0.2ms
keep what-if-zh bakeoff decide news.study --lang zh --set requirements.latency.p95=0.2ms
keep ship bakeoff ship news.study -o news-bundle
keep verify bakeoff verify news-bundle
bakeoff serve news-bundle --port 8080 >"$work/serve.log" 2>&1 &
server=$!
trap 'kill $server' EXIT
for _ in $(seq 50); do
    curl -fs http://127.0.0.1:8080/readyz >/dev/null && break
    sleep 0.2
done
keep predict curl -s -H 'Content-Type: application/json' \
    -d '{"row": {"text": "The striker scored twice in the final."}}' http://127.0.0.1:8080/v1/predict
keep ready curl -s http://127.0.0.1:8080/readyz
keep wrong curl -s -H 'Content-Type: application/json' -d '{"row": {"body": "no such column"}}' http://127.0.0.1:8080/v1/predict
for file in "$out"/*.txt; do # what differs between terminals and homes
    sed -i -e "s|$HOME|~|g" -e 's/\r//g' -e 's/\x1b\[[0-9;]*[A-Za-z]//g' -e 's/ *$//' -e '$a\' "$file"
done
