"""Compression passes, one file each: artefact in, smaller or faster artefact out; whether it pays is measured, never assumed."""
