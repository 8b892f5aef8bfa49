"""Tests of risk checks."""
