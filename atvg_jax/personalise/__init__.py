"""Adapts both nets to one person: `atvg personalise`."""
