"""Transforms that sit under both models and runtimes, and travel with the artefact as JSON (never pickled)."""
