"""Ablations: a sweep of trainings, their scores and the report."""
