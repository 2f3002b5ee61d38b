"""Pumps, workers, crashes and lost answers in any order, beside a model of what is promised."""
