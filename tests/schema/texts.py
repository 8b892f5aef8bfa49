"""Specifications the tests start from."""

from __future__ import annotations

MINIMAL = "name: study\ntask: text-classification\ndata: {file: rows.csv, target: label}\n"
DESIGN = """
name: review-sentiment
task: text-classification
data:
  file: reviews.csv
  input: text
  target: label
  split: {group: null, time: null}
requirements:
  quality: {metric: macro_f1, floor: 0.82}
  latency: {p95: 50ms}
  throughput: {min: 40/s}
  memory: {max: 1GiB}
  size: {max: 300MB}
traffic: {volume: 200k/day, peak: 40/s, growth: 20%/yr, horizon: 12mo}
value: {currency: CNY, per_correct: 0.002, errors: {neg->pos: 0.05}}
costs: {people: 300/h, label: 0.5, hardware: [local]}
risk: {personal_data: mask, data_may_leave: false, licences: [Apache-2.0, MIT]}
candidates: {include: ["*"], exclude: []}
budget: {trials: 200, time: 20m, money: 50}
decision: {confidence: 0.95, indifference: {quality: 0.005, cost: 2%}}
"""
