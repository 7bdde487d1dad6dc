"""Measurements: each module is one command that prints figure, target, and met or missed."""
