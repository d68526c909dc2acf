"""What the benchmarks look at beside throughput: one module for each question, one line of JSON for each answer.

Run one by itself with ``python -m tests.benchmarks.scenarios.cancel --effort quick``.
"""
