"""A server under load for a long time while versions come and go: what fails, what grows?"""
