"""Clients that are idle, drip, or never read: what do the others feel, and when are they let go?"""
