"""Risk checks, one file each: a measurement on the candidate with likelihood, impact, mitigation and what is left."""
