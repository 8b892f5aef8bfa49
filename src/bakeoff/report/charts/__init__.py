"""Charts drawn by our own code as SVG.

Does: axes, points, intervals, bars; every position is a percentage, so one drawing fits a desk and a phone without script.
Does not know: which candidate should win; it is handed numbers and words.
"""
